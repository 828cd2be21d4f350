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
    "fedbits simulate --data digits --budget 4KiB,0=16KiB --rounds 2 --name two-rounds --json\n\n"
    "The run's folder (runs/NAME) keeps every blob, report.html, report.json and log.txt."
)


def register(app: typer.Typer) -> None:
    """Add ``simulate`` to the ``fedbits`` command."""
    app.command("simulate", epilog=EPILOG)(simulate)


def simulate(
    data: common.DataOption = "digits",
    nodes: Annotated[int, typer.Option("--nodes", min=1, max=10_000, help="Number of nodes.")] = 5,
    partition: Annotated[
        str, typer.Option("--partition", help="Who owns what: iid, dirichlet:ALPHA or classes:K.")
    ] = "dirichlet:0.3",
    budget: Annotated[
        str,
        typer.Option(
            "--budget",
            help="What a node may send in a round: 10KiB, 1KiB/class, 0.5bpp; "
            "others for some nodes after commas: 10KiB,0=2KiB.",
        ),
    ] = "10KiB",
    recipe: Annotated[
        str, typer.Option("--recipe", help="How nodes distil: quadd, ptq, random or herding.")
    ] = "quadd",
    steps: Annotated[
        int | None, typer.Option("--steps", min=0, help="Distillation steps [default: the recipe's].")
    ] = None,
    ipc: Annotated[
        int | None, typer.Option("--ipc", min=1, help="Samples per class [default: from the budget].")
    ] = None,
    bits: Annotated[
        int | None, typer.Option("--bits", min=1, max=8, help="Bits a value [default: from the budget].")
    ] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Exchanges; later ones distil against the global model.")
    ] = 1,
    protocol: Annotated[
        str, typer.Option("--protocol", help="How the server trains: laptop or dsa.")
    ] = "laptop",
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="Networks trained for the final accuracy.")
    ] = 3,
    yardstick: Annotated[
        Literal["fedavg", "none"],
        typer.Option("--yardstick", help="Run FedAvg beside it until it is as accurate."),
    ] = "none",
    yardstick_rounds: Annotated[
        int, typer.Option("--yardstick-rounds", min=1, help="Rounds after which FedAvg gives up.")
    ] = 50,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds in which a node must reply, in each round.")
    ] = 3600.0,
    out: Annotated[Path, typer.Option("--out", help="Folder of runs; the run's own is made in it.")] = Path(
        "runs"
    ),
    name: Annotated[
        str, typer.Option("--name", help="Name of the run [default: from data, recipe and seed].")
    ] = "",
    data_root: common.DataRootOption = None,
    download: common.DownloadOption = False,
    seed: common.SeedOption = 0,
    device: common.DeviceOption = "auto",
    json: common.JsonOption = False,
) -> None:
    """Nodes distil their data, send real blobs through Flower, and a server trains on what arrives."""
    with common.guard("what had arrived by then is in the run's folder"):
        from nodes.config import RunConfig

        config = RunConfig(
            data=data,
            data_root=str(data_root or ""),
            download=download,
            nodes=nodes,
            partition=partition,
            budget=budget,
            recipe=recipe,
            overrides=_given(steps=steps, ipc=ipc, bits=bits),
            rounds=rounds,
            protocol=protocol,
            repeats=repeats,
            seed=seed,
            device=device,
            yardstick=yardstick,
            yardstick_rounds=yardstick_rounds,
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
            common.print_table(f"{report['folder']}", report_rows(report))
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


def report_rows(report: dict[str, Any]) -> dict[str, str]:
    head, yardstick = report["headline"], report["yardstick"]
    rows = {}
    if head["accuracy"] is not None:
        rows["accuracy"] = f"{head['accuracy']:.2%} ± {head['std']:.2%} ({len(head['accuracies'])} networks)"
    nodes = f"{head['nodes_in_union']} of {len(report['nodes'])} nodes"
    rows["sent by all nodes"] = f"{common.size_text(head['uplink_bytes'])}, from {nodes}"
    if yardstick is not None and head["fedavg_ratio"] is not None:
        size = common.size_text(head["fedavg_uplink_bytes"])
        if head["fedavg_reached"]:
            rows["FedAvg"] = f"{size} until as accurate (round {yardstick['reached_in_round']})"
            rows["ratio"] = f"{head['fedavg_ratio']:,.1f} times fewer bytes than FedAvg"
        else:
            best = max(entry["accuracy"] for entry in yardstick["rounds"])
            rows["FedAvg"] = (
                f"{size} in {len(yardstick['rounds'])} rounds, at best {best:.2%}: not as accurate"
            )
            rows["ratio"] = f"more than {head['fedavg_ratio']:,.1f} times fewer bytes than FedAvg"
    rows["time"] = common.clock_text(sum(report["seconds"].values()))
    rows["report"] = f"{report['folder']}/report.html"
    return rows
