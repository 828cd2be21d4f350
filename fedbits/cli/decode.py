"""``fedbits decode``: a blob's samples as plain arrays, for any other program."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer

from fedbits.cli.blobs import decode_file, refuse_alone
from fedbits.cli.common import BlobArgument, JsonOption, check_output, guard, print_json
from fedbits.errors import ConfigError

EXAMPLES = """Examples:

  fedbits decode set.fbits

  fedbits decode set.fbits --out set.npz

  fedbits decode set.fbits --classes 3,5

The file can be loaded with numpy.load, and named as a data set: --data npz:set.npz"""


def register(app: typer.Typer) -> None:
    app.command("decode", epilog=EXAMPLES)(decode)


def decode(
    blob: BlobArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write; BLOB with .npz when left out.", show_default=False),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Numbers of the classes to decode, as in 3,5; all when left out.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a blob's samples (as the data is stored: uint8 or float32) and labels to an .npz file.

    Soft labels, where the blob has them, are in its array ``probabilities``, a row for each sample.
    """
    with guard():
        out = out or blob.with_suffix(".npz")
        distilled = decode_file(blob, None if classes is None else _numbers(classes))
        refuse_alone(
            blob, distilled, "there is nothing to write; 'fedbits evaluate' tests the network itself"
        )
        check_output(out, blob)
        import numpy as np

        from fedbits.files import write_atomic

        samples, labels = distilled.raw().numpy(), distilled.labels.numpy()
        arrays = BytesIO()
        more = {} if distilled.soft_labels is None else {"probabilities": distilled.targets.numpy()}
        np.savez_compressed(arrays, samples=samples, labels=labels, **more)  # type: ignore[arg-type]
        write_atomic(out, arrays.getvalue())
        if as_json:
            print_json({"out": out, "shape": samples.shape, "dtype": str(samples.dtype)})
        else:
            shape = " x ".join(str(side) for side in samples.shape)
            typer.echo(f"{out}: samples {shape} {samples.dtype}, labels {len(labels)}")


def _numbers(text: str) -> set[int]:
    try:
        return {int(number) for number in text.split(",")}
    except ValueError as error:
        raise ConfigError(f"--classes {text!r} cannot be read: write numbers of classes like 3,5") from error
