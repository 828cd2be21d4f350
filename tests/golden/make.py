"""Write the golden blobs (one a coder, and one of a stream a class), and the SHA-256 of each one's samples.

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


def made(name: str) -> tuple[DistilledSet, int, bool]:
    """A set, its coder, and whether each class is coded by itself."""
    if name == "class-streams":  # and with a normalisation of two bytes a channel
        data = make_data((2, 6, 5), [6, 0, 5, 1])
        spec = replace(data.spec, mean=(0.3125, -0.9375), std=(0.25, 0.0234375))
        return make_set(replace(data, spec=spec), 6, 3, 2), 2, True
    shape, bits, factor = FORMS[name]
    number = next(number for number, (coder, _) in CODERS.items() if coder == name)
    return make_set(make_data(shape, [6, 3, 5]), 6, bits, factor), number, False


def main() -> None:
    known = FOLDER / "sha256.json"
    digests = json.loads(known.read_text()) if known.exists() else {}
    for name in [*(coder for coder, _ in CODERS.values()), "class-streams"]:
        path = FOLDER / f"v1-{name.replace(' ', '-')}.fbits"
        if path.name not in digests:
            distilled, number, per_class = made(name)
            stored = "fedbits.parameterization"
            with (
                mock.patch(f"{stored}.pixel.smallest_coder", lambda *_, n=number: (n, 0.0)),
                mock.patch(f"{stored}.pixel.too_large_to_mix", lambda *_, n=number: n == OWN),
                mock.patch(f"{stored}.entropy._LEAST_SYMBOLS", 0),
            ):
                path.write_bytes(container.encode(distilled, per_class=per_class))
            digests[path.name] = digest(distilled)
    known.write_text(json.dumps(digests, indent=1) + "\n")


if __name__ == "__main__":
    main()
