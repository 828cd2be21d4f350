"""Write the golden blobs: one a coder, and the SHA-256 of the samples that each gives for ever.

Run it only to add a blob: ``python tests/golden/make.py``. Those that are there stay.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from unittest import mock

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from making import make_data, make_set  # noqa: E402

from fedbits import container  # noqa: E402
from fedbits.coding import CODERS  # noqa: E402
from fedbits.distilled_set import DistilledSet  # noqa: E402

# By coder: the shape of a sample, bits, factor.
FORMS = {
    "raw": ((1, 6, 5), 5, 1),
    "order-0": ((12,), 2, 1),
    "neighbours": ((3, 9, 7), 2, 1),
    "median-edge": ((2, 12, 10), 6, 2),
    "mixed": ((3, 8, 7), 4, 1),
}


def digest(distilled: DistilledSet) -> str:
    """SHA-256 of the samples as little-endian float32, and of the labels' counts."""
    samples = distilled.samples.numpy().astype("<f4").tobytes()
    return hashlib.sha256(samples + bytes(distilled.class_counts())).hexdigest()


def main() -> None:
    known = FOLDER / "sha256.json"
    digests = json.loads(known.read_text()) if known.exists() else {}
    for number, (name, _) in CODERS.items():
        path = FOLDER / f"v1-{name}.fbits"
        if path.name not in digests:
            shape, bits, factor = FORMS[name]
            distilled = make_set(make_data(shape, [6, 3, 5]), 6, bits, factor)
            with mock.patch("fedbits.parameterization.pixel.smallest_coder", lambda *_, n=number: (n, 0.0)):
                path.write_bytes(container.encode(distilled))
            digests[path.name] = digest(distilled)
    known.write_text(json.dumps(digests, indent=1) + "\n")


if __name__ == "__main__":
    main()
