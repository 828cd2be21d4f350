"""``fedbits deploy run``, ``status``, ``logs`` and ``stop``: runs, from the server's host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedbits.cli import common
from nodes import options

if TYPE_CHECKING:
    from nodes.deploy.control import Control

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The server's folder: keys/server.")]
RunArgument = Annotated[int, typer.Argument(metavar="RUN", help="The run's number.", show_default=False)]

RUN_EXAMPLES = (
    "Examples:\n\n"
    "fedbits deploy run keys/server --data fashion_mnist --recipe quadd --budget 10KiB\n\n"
    "fedbits deploy run keys/server --data digits --budget 2KiB --rounds 2 --timeout 600 --json\n\n"
    "fedbits deploy run keys/server --role base_station --data beams --budget 32KiB\n\n"
    "fedbits deploy run keys/server --role cl_learner --data digits --rounds 5 --memory 1KiB\n\n"
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
DetachOption = Annotated[bool, typer.Option("--detach", help="Do not wait for the run to end.")]


def run(
    folder: FolderArgument,
    role: options.RoleOption = "edge_node",
    data: common.DataOption = "digits",
    data_root: common.DataRootOption = None,
    download: common.DownloadOption = False,
    nodes: NodesOption = None,
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
    seed: common.SeedOption = 0,
    device: common.DeviceOption = "auto",
    detach: DetachOption = False,
    json: common.JsonOption = False,
) -> None:
    """Start a run on the nodes, follow it, and show its report: that of 'fedbits simulate'."""
    with common.guard(lambda: _going_on(folder)):
        control = _control(folder)
        config = options.run_config(
            role,
            data=data,
            data_root=data_root,
            download=download,
            nodes=nodes or len(control.folder.public_keys()) or 1,
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
