"""Write the golden blobs, and the SHA-256 of each one's samples (and soft labels).

There is one of each coder, one of a stream a class, and one of each other way to store samples.

Run it only to add a blob: ``python tests/golden/make.py``. Those that are there stay.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from making import make_data, make_set  # noqa: E402
from random_latents import in_random_latents  # noqa: E402
from storing import as_floats, even, in_bands, in_epitome, on_grid, powers, taught  # noqa: E402

from fedbits import container  # noqa: E402
from fedbits.coding.grid import CODERS, OWN  # noqa: E402
from fedbits.distilled_set import DistilledSet  # noqa: E402

# By coder: the shape of a sample, bits, factor.
FORMS = {
    "raw": ((1, 6, 5), 5, 1),
    "order-0": ((12,), 2, 1),
    "neighbours": ((3, 9, 7), 2, 1),
    "median-edge": ((2, 12, 10), 6, 2),
    "mixed": ((3, 8, 7), 4, 1),
    "network": ((3, 7, 6), 5, 1),
    "indices": ((40,), 4, 1),
    "sparse": ((2, 9, 7), 3, 1),
    "own network": ((1, 8, 9), 4, 1),
}


def digest(distilled: DistilledSet) -> str:
    """SHA-256 of the samples as little-endian float32, and of the labels' counts."""
    samples = distilled.samples.numpy().astype("<f4").tobytes()
    return hashlib.sha256(samples + bytes(distilled.class_counts())).hexdigest()


COUNTS = [6, 3, 5]
# By name: a set, and its coder.
OTHERS = {
    "powers": lambda: (on_grid(make_data((3, 6, 5), COUNTS), powers(5, [0.1, 0, -0.3], [2**-7] * 3), 6), 2),
    "powers-halved": lambda: (on_grid(make_data((2, 7, 6), COUNTS), powers(8, [0], [2**-9]), 6, 2), 3),
    "one-pair": lambda: (on_grid(make_data((3, 6, 5), COUNTS), even(3, [-1.5], [0.4]), 6), 2),
    "floats": lambda: (as_floats(make_data((2, 3, 4), COUNTS, dtype="float32"), 6), 0),
    "dct": lambda: (
        in_bands(
            make_data((2, 9, 7), COUNTS), even(4, [-7, -6], [1, 0.9]), even(4, [-1, -1.1], [0.15] * 2), 5, 6
        ),
        4,
    ),
    "dct-halved-powers": lambda: (
        in_bands(make_data((3, 9, 14), COUNTS), powers(6, [0], [0.125]), powers(6, [0], [2**-6]), 3, 6, 2),
        1,
    ),
    "taught": lambda: (taught(make_set(make_data((1, 6, 5), COUNTS), 6, 2)), 2),
}

# By name: an epitome, its coder, and whether each class is coded by itself.
EPITOMES = {
    "epitome": lambda: (  # patches stick out
        in_epitome(
            make_data((2, 9, 7), COUNTS), 6, tokens=5, width=6, heads=2, blocks=1, nonzeros=4, patch=4, bits=4
        ),
        7,
        False,
    ),
    "epitome-flat": lambda: (
        in_epitome(
            make_data((21,), COUNTS, dtype="float32"), 6, tokens=4, width=4, blocks=2, nonzeros=3, patch=5
        ),
        2,
        False,
    ),
    "epitome-linear": lambda: (
        in_epitome(
            make_data((1, 8, 8), [6, 0, 5, 1]),
            6,
            tokens=4,
            width=6,
            heads=3,
            blocks=0,
            nonzeros=3,
            patch=3,
            bits=8,
        ),
        6,
        True,
    ),
}


# By name: latents, a coder that there is not, and whether each class is coded by itself.
LATENTS = {
    "latent": lambda: (  # a dense pyramid, with grids that stick out
        in_random_latents(
            make_data((3, 9, 7), COUNTS),
            6,
            numbers=3,
            scales=(4, 2),
            hidden=4,
            convolutions=1,
            entropy_hidden=5,
        ),
        0,
        False,
    ),
    "latent-stacked": lambda: (
        in_random_latents(
            make_data((2, 7, 6), COUNTS),
            6,
            size=12.0,
            numbers=0,
            scales=(4, 3, 2),
            group=2,
            synthesis="stacked",
            upsampling="learned",
            hidden=4,
            convolutions=2,
            context=24,
            entropy_hidden=5,
            entropy_layers=2,
            components=3,
            precision=0.1,
        ),
        0,
        False,
    ),
    "latent-flat": lambda: (
        in_random_latents(
            make_data((21,), [6, 0, 5, 1], dtype="float32"),
            6,
            numbers=0,
            scales=(5, 2, 2),
            group="class",
            hidden=3,
            convolutions=1,
            class_means=False,
            context=8,
            coarser=False,
            entropy_hidden=4,
            components=1,
        ),
        0,
        True,
    ),
}


def made(name: str) -> tuple[DistilledSet, int, bool]:
    """A set, its coder, and whether each class is coded by itself."""
    if name == "class-streams":  # and with a normalisation of two bytes a channel
        data = make_data((2, 6, 5), [6, 0, 5, 1])
        spec = replace(data.spec, mean=(0.3125, -0.9375), std=(0.25, 0.0234375))
        return make_set(replace(data, spec=spec), 6, 3, 2), 2, True
    if name in EPITOMES:
        return EPITOMES[name]()
    if name in LATENTS:
        return LATENTS[name]()
    if name in OTHERS:
        return *OTHERS[name](), False
    shape, bits, factor = FORMS[name]
    number = next(number for number, (coder, _) in CODERS.items() if coder == name)
    return make_set(make_data(shape, [6, 3, 5]), 6, bits, factor), number, False


def main() -> None:
    known, labels = FOLDER / "sha256.json", FOLDER / "labels.json"
    digests = json.loads(known.read_text()) if known.exists() else {}
    learnt = json.loads(labels.read_text()) if labels.exists() else {}
    for name in [*(coder for coder, _ in CODERS.values()), "class-streams", *OTHERS, *EPITOMES, *LATENTS]:
        path = FOLDER / f"v1-{name.replace(' ', '-')}.fbits"
        if path.name not in digests:
            distilled, number, per_class = made(name)
            stored = "fedbits.parameterization"
            with (
                mock.patch(f"{stored}.pixel.smallest_coder", lambda *_, n=number: (n, 0.0)),
                mock.patch(f"{stored}.pixel.too_large_to_mix", lambda *_, n=number: n == OWN),
                mock.patch(f"{stored}.entropy._LEAST_SYMBOLS", 0),
                mock.patch(f"{stored}.epitome.stream.smallest", lambda *_, n=number: (n, 0.0)),
            ):
                path.write_bytes(container.encode(distilled, per_class=per_class))
            digests[path.name] = digest(distilled)
            if distilled.soft_labels is not None:
                sha256 = hashlib.sha256(distilled.soft_labels.to_bytes()).hexdigest()
                learnt[path.name] = {"sha256": sha256, "learning_rate": distilled.learning_rate}
    known.write_text(json.dumps(digests, indent=1) + "\n")
    labels.write_text(json.dumps(learnt, indent=1) + "\n")


if __name__ == "__main__":
    main()
