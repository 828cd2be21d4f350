"""``fedbits inspect``: what a blob says of itself, and where its bits go."""

from __future__ import annotations

import typer

from fedbits.cli.blobs import fact_rows, inspect_file, print_ledger
from fedbits.cli.common import BlobArgument, JsonOption, guard, print_json, print_table

EXAMPLES = """Examples:

  fedbits inspect set.fbits

  fedbits inspect set.fbits --json"""


def register(app: typer.Typer) -> None:
    app.command("inspect", epilog=EXAMPLES)(inspect)


def inspect(blob: BlobArgument, as_json: JsonOption = False) -> None:
    """Print what a blob holds and where its bits go; its checksum is verified."""
    with guard():
        facts = inspect_file(blob)
        if as_json:
            print_json(facts)
            return
        rows = {**fact_rows(facts), "format": f"version {facts['version']}", "SHA-256": facts["sha256"]}
        print_table(str(blob), rows)
        print_ledger(facts["ledger"])
