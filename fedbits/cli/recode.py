"""``fedbits recode``: the same samples in other bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedbits.cli.blobs import decode_file
from fedbits.cli.common import BlobArgument, JsonOption, check_output, guard, print_json, size_text

EXAMPLES = """Examples:

  fedbits recode set.fbits --out single.fbits --per-class

A set whose classes have streams of their own takes more bytes; in return, fedbits decode --classes reads some
of them without the rest. Without --per-class, all classes share what is learnt of them again."""


def register(app: typer.Typer) -> None:
    app.command("recode", epilog=EXAMPLES)(recode)


def recode(
    blob: BlobArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.", show_default=False)],
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Give each class a stream of its own.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a set anew, by the coder that now takes the fewest bytes; its samples stay the same."""
    with guard():
        distilled = decode_file(blob)
        check_output(out, blob)
        from fedbits.container import encode
        from fedbits.files import write_atomic

        written = encode(distilled, per_class=per_class)
        write_atomic(out, written)
        before = blob.stat().st_size
        if as_json:
            print_json({"out": out, "bytes": len(written), "bytes_before": before, "per_class": per_class})
        else:
            typer.echo(f"{out}: {size_text(len(written))}, {size_text(before)} before")
