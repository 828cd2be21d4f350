"""``fedbits deploy run``, ``status``, ``logs`` and ``stop``: runs, from the server's host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fedbits.cli import common

if TYPE_CHECKING:
    from nodes.deploy.control import Control

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The server's folder: keys/server.")]
RunArgument = Annotated[int, typer.Argument(metavar="RUN", help="The run's number.", show_default=False)]

RUN_EXAMPLES = (
    "Examples:\n\n"
    "fedbits deploy run keys/server --data fashion_mnist --recipe quadd --budget 10KiB\n\n"
    "fedbits deploy run keys/server --data digits --budget 2KiB --rounds 2 --timeout 600 --json\n\n"
    "--data is what the server tests on; nodes have data of their own of the same form. Ctrl-C leaves the "
    "run going; 'fedbits deploy stop' ends it."
)


def register(group: typer.Typer) -> None:
    group.command("run", epilog=RUN_EXAMPLES)(run)
    group.command("status", epilog="Example:\n\nfedbits deploy status keys/server --json")(status)
    group.command("logs", epilog="Example:\n\nfedbits deploy logs keys/server 8128 --follow")(logs)
    group.command("stop", epilog="Example:\n\nfedbits deploy stop keys/server 8128")(stop)


NodesOption = Annotated[
    int | None,
    typer.Option("--nodes", min=1, help="Nodes to wait for [default: those with a key]."),
]
BudgetOption = Annotated[
    str,
    typer.Option("--budget", help="What a node may send in a round; for some others: 10KiB,0=2KiB."),
]
RecipeOption = Annotated[str, typer.Option("--recipe", help="How nodes distil.")]
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
    int, typer.Option("--rounds", min=1, help="Exchanges; later ones distil against the global model.")
]
ProtocolOption = Annotated[str, typer.Option("--protocol", help="How the server trains: laptop or dsa.")]
RepeatsOption = Annotated[
    int, typer.Option("--repeats", min=1, help="Networks trained for the final accuracy.")
]
YardstickOption = Annotated[
    Literal["fedavg", "none"], typer.Option("--yardstick", help="Run FedAvg beside it.")
]
YardstickRoundsOption = Annotated[
    int, typer.Option("--yardstick-rounds", min=1, help="Rounds after which FedAvg gives up.")
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", help="Seconds in which a node must reply, in each round.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of runs; the run's own is made in it.")]
NameOption = Annotated[
    str, typer.Option("--name", help="Name of the run [default: from data, recipe and seed].")
]
DetachOption = Annotated[bool, typer.Option("--detach", help="Do not wait for the run to end.")]


def run(
    folder: FolderArgument,
    data: common.DataOption = "digits",
    data_root: common.DataRootOption = None,
    download: common.DownloadOption = False,
    nodes: NodesOption = None,
    budget: BudgetOption = "10KiB",
    recipe: RecipeOption = "quadd",
    steps: StepsOption = None,
    ipc: IpcOption = None,
    bits: BitsOption = None,
    rounds: RoundsOption = 1,
    protocol: ProtocolOption = "laptop",
    repeats: RepeatsOption = 3,
    yardstick: YardstickOption = "none",
    yardstick_rounds: YardstickRoundsOption = 50,
    timeout: TimeoutOption = 3600.0,
    out: OutOption = Path("runs"),
    name: NameOption = "",
    seed: common.SeedOption = 0,
    device: common.DeviceOption = "auto",
    detach: DetachOption = False,
    json: common.JsonOption = False,
) -> None:
    """Start a run on the nodes, follow it, and show its report: that of 'fedbits simulate'."""
    with common.guard(lambda: _going_on(folder)):
        from nodes.config import RunConfig

        control = _control(folder)
        overrides = {"steps": steps, "ipc": ipc, "bits": bits}
        config = RunConfig(
            data=data,
            data_root=str(data_root.absolute()) if data_root else "",
            download=download,
            nodes=nodes or len(control.folder.public_keys()) or 1,
            budget=budget,
            recipe=recipe,
            overrides={key: value for key, value in overrides.items() if value is not None},
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
        report = _run(control, config, detach)
        if detach:
            _print(report, json)
            return
        _show_report(report, json)
    if report["headline"]["accuracy"] is None:
        raise typer.Exit(common.FAILED)


def status(folder: FolderArgument, json: common.JsonOption = False) -> None:
    """List nodes and runs."""
    with common.guard():
        from nodes.deploy.overview import overview

        _print(overview(_control(folder)), json)


def logs(
    folder: FolderArgument,
    run: RunArgument,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the run ends.")] = False,
) -> None:
    """Print the log of a run."""
    with common.guard("the run goes on"):
        control = _control(folder)
        control.run(run)
        raise typer.Exit(control.follow(run, sys.stdout, whole=follow).wait())


def stop(folder: FolderArgument, run: RunArgument) -> None:
    """End a run; what has arrived stays in its folder."""
    with common.guard():
        _control(folder).stop(run)
        common.say(f"run {run} is being stopped")


# ---------------------------------------------------------------------------------------------------- parts


def _control(folder: Path) -> Control:
    from nodes.deploy.control import Control
    from nodes.deploy.folders import ServerFolder

    return Control(ServerFolder.read(folder))


def _run(control: Control, config: Any, detach: bool) -> dict[str, Any]:
    """The report of the run, or with ``detach`` which one it is."""
    from nodes.deploy.extra import needing_the_extra
    from nodes.simulate import default_name, prepare_environment

    prepare_environment()
    with needing_the_extra():
        from nodes.deploy.following import follow, read_report, submit

        number, run_folder = submit(control, config, default_name(config))
    common.say(f"run {number}, in {run_folder.path}")
    if detach:
        return {"run": str(number), "folder": str(run_folder.path)}
    return read_report(run_folder, follow(control, number))


def _going_on(folder: Path) -> str:
    return f"a run that was started goes on; 'fedbits deploy status {folder}' lists it, 'stop' ends it"


def _show_report(report: dict[str, Any], json: bool) -> None:
    from nodes import roles
    from nodes.cli import warn

    warn(report)
    if json:
        common.print_json(report)
    else:
        common.print_table(f"{report['folder']}", roles.get(report["config"]["role"]).rows(report))


def _print(facts: dict[str, Any], json: bool) -> None:
    if json:
        common.print_json(facts)
        return
    for title, value in facts.items():
        if not isinstance(value, list):
            typer.echo(f"{title}: {value}")
        for entry in value if isinstance(value, list) else []:
            typer.echo(f"{title[:-1]} " + "  ".join(str(part) for part in entry.values() if part != ""))
