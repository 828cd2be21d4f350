"""The ``fedbits`` command: one module a subcommand, and those that other packages bring."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from fedbits import __version__
from fedbits.cli import bench, data, decode, distill, evaluate, inspect, labels, recipe, recode, show, sweep
from fedbits.cli.common import OneSentenceGroup
from fedbits.errors import ConfigError
from fedbits.memory import keep_freed_memory

COMMANDS = "fedbits.commands"  # each entry point is a function register(app)

app = typer.Typer(
    name="fedbits",
    cls=OneSentenceGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Distil data into the smallest bitstream that still trains a good model.",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fedbits {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


def load_plugins(target: typer.Typer) -> None:
    """Add the commands of other packages; one that cannot be imported says so only when it is called."""
    for entry in metadata.entry_points(group=COMMANDS):
        try:
            entry.load()(target)
        except ImportError as error:
            _add_broken(target, entry.name, error)


def _add_broken(target: typer.Typer, name: str, error: ImportError) -> None:
    reason = str(error)

    @target.command(
        name, help=f"Not available here: {reason}.", context_settings={"ignore_unknown_options": True}
    )
    def broken(arguments: Annotated[list[str] | None, typer.Argument(hidden=True)] = None) -> None:
        raise ConfigError(f"'fedbits {name}' is not available here ({reason}): install what it needs")


for command in (distill, inspect, show, decode, recode, evaluate, labels, recipe, sweep, data, bench):
    command.register(app)


def main() -> None:
    """The console entry point."""
    keep_freed_memory()
    load_plugins(app)
    app()
