"""``fedbits deploy``: a server and nodes on several hosts, and runs on them."""

from __future__ import annotations

import typer

from nodes.deploy import cli_hosts, cli_runs


def register(app: typer.Typer) -> None:
    """Add ``deploy`` and its commands to the ``fedbits`` command."""
    group = typer.Typer(no_args_is_help=True, help="A server and nodes on several hosts, and runs on them.")
    cli_hosts.register(group)
    cli_runs.register(group)
    app.add_typer(group, name="deploy")
