"""``fedbits simulate``: a federated run on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedbits.cli import common
from nodes import options

EPILOG = (
    "Examples:\n\n"
    "fedbits simulate --data digits --nodes 5 --partition dirichlet:0.3 --yardstick fedavg\n\n"
    "fedbits simulate --data fashion_mnist --nodes 10 --partition dirichlet:0.1 --budget 10KiB\n\n"
    "fedbits simulate --role base_station --data beams --nodes 4 --budget 32KiB\n\n"
    "fedbits simulate --data digits --budget 4KiB,0=16KiB --rounds 2 --name two-rounds --json\n\n"
    "fedbits simulate --role cl_learner --data digits --rounds 5 --memory 1KiB --yardstick fedavg\n\n"
    "The run's folder (runs/NAME) keeps every blob, report.html, report.json and log.txt."
)


def register(app: typer.Typer) -> None:
    """Add ``simulate`` to the ``fedbits`` command."""
    app.command("simulate", epilog=EPILOG)(simulate)


NodesOption = Annotated[int, typer.Option("--nodes", min=1, max=10_000, help="Number of nodes.")]
PartitionOption = Annotated[
    str | None,
    typer.Option(
        "--partition",
        help="Who owns what: iid, dirichlet:ALPHA, classes:K or site  "
        "[default: dirichlet:0.3; of base_stations site]",
        show_default=False,
    ),
]


def simulate(
    role: options.RoleOption = "edge_node",
    data: common.DataOption = "digits",
    nodes: NodesOption = 5,
    partition: PartitionOption = None,
    budget: options.BudgetOption = "10KiB",
    memory: options.MemoryOption = "8KiB",
    policy: options.PolicyOption = "fixed",
    class_order: options.ClassOrderOption = "own",
    recipe: options.RecipeOption = "quadd",
    steps: options.StepsOption = None,
    ipc: options.IpcOption = None,
    bits: options.BitsOption = None,
    rounds: options.RoundsOption = None,
    protocol: options.ProtocolOption = "laptop",
    training_steps: options.TrainingStepsOption = None,
    repeats: options.RepeatsOption = 3,
    share: options.ShareOption = 0.0,
    pooled: options.PooledOption = False,
    yardstick: options.YardstickOption = "none",
    yardstick_rounds: options.YardstickRoundsOption = None,
    timeout: options.TimeoutOption = 3600.0,
    exchange: options.ExchangeOption = "",
    join: options.JoinOption = False,
    out: options.OutOption = Path("runs"),
    name: options.NameOption = "",
    data_root: common.DataRootOption = None,
    download: common.DownloadOption = False,
    seed: common.SeedOption = 0,
    device: common.DeviceOption = "auto",
    json: common.JsonOption = False,
) -> None:
    """Nodes distil their data, send real blobs through Flower, and a server trains on what arrives."""
    with common.guard("what had arrived by then is in the run's folder"):
        from nodes import roles

        config = options.run_config(
            role,
            data=data,
            data_root=data_root,
            download=download,
            nodes=nodes,
            partition=partition or ("site" if role == roles.BASE_STATION else "dirichlet:0.3"),
            budget=budget,
            memory=memory,
            policy=policy,
            class_order=class_order,
            recipe=recipe,
            steps=steps,
            ipc=ipc,
            bits=bits,
            rounds=rounds,
            protocol=protocol,
            training_steps=training_steps,
            repeats=repeats,
            seed=seed,
            device=device,
            share=share,
            pooled=pooled,
            yardstick=yardstick,
            yardstick_rounds=yardstick_rounds,
            exchange=exchange,
            join=join,
            out=out,
            name=name,
            timeout=timeout,
        )
        from nodes.simulate import run

        with common.terminal_progress() as progress:
            report = run(config, progress)
        warn(report)
        if json:
            common.print_json(report)
        else:
            common.print_table(f"{report['folder']}", roles.get(role).rows(report))
    if report["headline"]["accuracy"] is None:
        raise typer.Exit(1)


def warn(report: dict[str, Any]) -> None:
    """One line for each node that failed in a round."""
    for node in report["nodes"]:
        for entry in node["rounds"]:
            if entry["code"] != "ok":
                where = f"node {node['node']}, round {entry['round']}"
                common.say(f"{where}: {entry['code']}: {entry['meaning']}; the run went on without it")
    if report["headline"]["accuracy"] is None:
        common.say(f"no node delivered a set that could be used; {report['folder']}/log.txt says more")
