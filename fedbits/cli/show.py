"""``fedbits show``: the samples of a blob as a picture."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer

from fedbits.cli.blobs import decode_file, refuse_alone
from fedbits.cli.common import BlobArgument, JsonOption, check_output, guard, print_json
from fedbits.errors import ConfigError

EXAMPLES = """Examples:

  fedbits show set.fbits

  fedbits show set.fbits --out sheet.png --per-class 10

  fedbits show epitomes.fbits --allocation"""


def register(app: typer.Typer) -> None:
    app.command("show", epilog=EXAMPLES)(show)


def show(
    blob: BlobArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="PNG file to write; BLOB with .png when left out.", show_default=False
        ),
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(min=1, help="Samples of each class; all when left out.", show_default=False)
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Pixels to a pixel; chosen when left out.", show_default=False),
    ] = None,
    allocation: Annotated[
        bool,
        typer.Option("--allocation", help="Beside each sample, where its coefficients are (epitomes)."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Draw a blob's samples as a PNG sheet, classes in rows."""
    with guard():
        out = out or blob.with_suffix(".png")
        distilled = decode_file(blob)
        refuse_alone(blob, distilled, "there is nothing to draw; 'fedbits inspect' says what it is")
        maps = distilled.parameterization.allocation() if allocation else None
        if allocation and maps is None:
            kind = distilled.parameterization.describe()["parameterization"]
            raise ConfigError(
                f"{blob} stores its samples as {kind}, all places alike: --allocation expects epitomes"
            )
        check_output(out, blob)
        from fedbits.files import write_atomic
        from fedbits.sheet import draw

        sheet = draw(distilled, per_class, scale, maps)
        png = BytesIO()
        sheet.save(png, format="PNG", optimize=True)
        write_atomic(out, png.getvalue())
        if as_json:
            print_json({"out": out, "width": sheet.width, "height": sheet.height, "samples": len(distilled)})
        else:
            typer.echo(f"{out}: {sheet.width} x {sheet.height} pixels")
