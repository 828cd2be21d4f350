"""``fedbits simulate``: a federated run on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fedbits.cli import common

EPILOG = (
    "Examples:\n\n"
    "fedbits simulate --data digits --nodes 5 --partition dirichlet:0.3 --yardstick fedavg\n\n"
    "fedbits simulate --data fashion_mnist --nodes 10 --partition dirichlet:0.1 --budget 10KiB\n\n"
    "fedbits simulate --data beams --nodes 4 --partition site --budget 32KiB\n\n"
    "fedbits simulate --data digits --budget 4KiB,0=16KiB --rounds 2 --name two-rounds --json\n\n"
    "fedbits simulate --role cl_learner --data digits --rounds 5 --memory 1KiB --yardstick fedavg\n\n"
    "The run's folder (runs/NAME) keeps every blob, report.html, report.json and log.txt."
)


def register(app: typer.Typer) -> None:
    """Add ``simulate`` to the ``fedbits`` command."""
    app.command("simulate", epilog=EPILOG)(simulate)


RoleOption = Annotated[
    Literal["edge_node", "cl_learner"],
    typer.Option(
        "--role",
        help="What nodes do: edge_node distils its data and sends the set; cl_learner learns class after "
        "class, keeps a memory, and sends what is new in it.",
    ),
]
NodesOption = Annotated[int, typer.Option("--nodes", min=1, max=10_000, help="Number of nodes.")]
PartitionOption = Annotated[
    str, typer.Option("--partition", help="Who owns what: iid, dirichlet:ALPHA, classes:K or site.")
]
BudgetOption = Annotated[
    str,
    typer.Option(
        "--budget",
        help="What an edge_node may send in a round: 10KiB, 1KiB/class, 0.5bpp; "
        "others for some nodes after commas: 10KiB,0=2KiB.",
    ),
]
MemoryOption = Annotated[
    str,
    typer.Option(
        "--memory",
        help="What a cl_learner's replay memory holds: 8KiB, 1KiB/class; others as with --budget.",
    ),
]
PolicyOption = Annotated[
    Literal["fixed", "progressive", "redistil"],
    typer.Option(
        "--policy",
        help="How it shares its bytes: a fixed quota for each class, or all among what has been seen, "
        "for which older sets are cut (progressive) or distilled again (redistil).",
    ),
]
ClassOrderOption = Annotated[
    Literal["own", "same"],
    typer.Option(
        "--class-order", help="Classes arrive at cl_learners in each node's own order, or in the same."
    ),
]
RecipeOption = Annotated[
    str, typer.Option("--recipe", help="How nodes distil: quadd, ptq, random or herding.")
]
StepsOption = Annotated[
    int | None, typer.Option("--steps", min=0, help="Distillation steps [default: the recipe's].")
]
IpcOption = Annotated[
    int | None, typer.Option("--ipc", min=1, help="Samples per class [default: from the budget].")
]
BitsOption = Annotated[
    int | None, typer.Option("--bits", min=1, max=8, help="Bits a value [default: from the budget].")
]
RoundsOption = Annotated[
    int | None,
    typer.Option(
        "--rounds",
        min=1,
        help="Exchanges: of edge_nodes later ones distil against the global model, of cl_learners each "
        "is an experience  [default: 1; of cl_learners 5]",
        show_default=False,
    ),
]
ProtocolOption = Annotated[str, typer.Option("--protocol", help="How the server trains: laptop or dsa.")]
TrainingStepsOption = Annotated[
    int | None,
    typer.Option("--training-steps", min=1, help="Batches instead of the protocol's.", show_default=False),
]
RepeatsOption = Annotated[
    int, typer.Option("--repeats", min=1, help="Networks trained for the final accuracy.")
]
YardstickOption = Annotated[
    Literal["fedavg", "none"],
    typer.Option("--yardstick", help="Run FedAvg beside it until it is as accurate."),
]
YardstickRoundsOption = Annotated[
    int | None,
    typer.Option(
        "--yardstick-rounds",
        min=1,
        help="Rounds after which FedAvg gives up; of cl_learners, its rounds in each experience  "
        "[default: 50; of cl_learners 5]",
        show_default=False,
    ),
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", help="Seconds in which a node must reply, in each round.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of runs; the run's own is made in it.")]
NameOption = Annotated[
    str, typer.Option("--name", help="Name of the run [default: from data, recipe and seed].")
]


def simulate(
    role: RoleOption = "edge_node",
    data: common.DataOption = "digits",
    nodes: NodesOption = 5,
    partition: PartitionOption = "dirichlet:0.3",
    budget: BudgetOption = "10KiB",
    memory: MemoryOption = "8KiB",
    policy: PolicyOption = "fixed",
    class_order: ClassOrderOption = "own",
    recipe: RecipeOption = "quadd",
    steps: StepsOption = None,
    ipc: IpcOption = None,
    bits: BitsOption = None,
    rounds: RoundsOption = None,
    protocol: ProtocolOption = "laptop",
    training_steps: TrainingStepsOption = None,
    repeats: RepeatsOption = 3,
    yardstick: YardstickOption = "none",
    yardstick_rounds: YardstickRoundsOption = None,
    timeout: TimeoutOption = 3600.0,
    out: OutOption = Path("runs"),
    name: NameOption = "",
    data_root: common.DataRootOption = None,
    download: common.DownloadOption = False,
    seed: common.SeedOption = 0,
    device: common.DeviceOption = "auto",
    json: common.JsonOption = False,
) -> None:
    """Nodes distil their data, send real blobs through Flower, and a server trains on what arrives."""
    with common.guard("what had arrived by then is in the run's folder"):
        from nodes import roles
        from nodes.config import RunConfig

        learners = role == roles.CL_LEARNER
        config = RunConfig(
            role=role,
            data=data,
            data_root=str(data_root or ""),
            download=download,
            nodes=nodes,
            partition=partition,
            budget=budget,
            memory=memory,
            policy=policy,
            class_order=class_order,
            recipe=recipe,
            overrides=_given(steps=steps, ipc=ipc, bits=bits),
            rounds=rounds or (5 if learners else 1),
            protocol=protocol,
            protocol_overrides=_given(steps=training_steps),
            repeats=repeats,
            seed=seed,
            device=device,
            yardstick=yardstick,
            yardstick_rounds=yardstick_rounds or (5 if learners else 50),
            out=str(out),
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
            common.print_table(f"{report['folder']}", roles.get(config.role).rows(report))
    if report["headline"]["accuracy"] is None:
        raise typer.Exit(1)


def _given(**values: int | None) -> dict[str, int]:
    return {key: value for key, value in values.items() if value is not None}


def warn(report: dict[str, Any]) -> None:
    """One line for each node that failed in a round."""
    for node in report["nodes"]:
        for entry in node["rounds"]:
            if entry["code"] != "ok":
                where = f"node {node['node']}, round {entry['round']}"
                common.say(f"{where}: {entry['code']}: {entry['meaning']}; the run went on without it")
    if report["headline"]["accuracy"] is None:
        common.say(f"no node delivered a set that could be used; {report['folder']}/log.txt says more")
