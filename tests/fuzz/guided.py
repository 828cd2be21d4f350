"""The coverage-guided fuzzer: atheris (libFuzzer), with mutations that know the format.

    python tests/fuzz/guided.py -max_total_time=600 [FLAG ...] [FOLDER ...]

Flags are libFuzzer's; new inputs go to the first folder (by default ``runs/fuzz/corpus``), those that break
something to ``runs/fuzz/``. ``--tally=PATH`` keeps a JSON file of what was seen. An input over a second of
CPU time in one reader, or over the limit on memory, counts as broken. Needs the extra ``fuzz``.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import atheris
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

with atheris.instrument_imports(include=["fedbits"], exclude=["fedbits.wire"]):
    from fuzz import target
from fuzz.mutate import LARGEST, edited, mutate  # noqa: E402

_KEPT_EVERY = 2.0  # seconds between two writings of the tally; libFuzzer ends the process without a word


class Guided:
    """One process of the fuzzer."""

    def __init__(self, tally: Path | None) -> None:
        self._tally, self._path, self._written = target.Tally(), tally, time.monotonic()

    def check(self, data: bytes) -> None:
        self._tally.check(data)
        if self._path is not None and time.monotonic() - self._written > _KEPT_EVERY:
            self._path.write_text(json.dumps(self._tally.report()))
            self._written = time.monotonic()

    @staticmethod
    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        """Bytes without structure are changed by libFuzzer, which knows what they were compared with."""
        rng = random.Random(seed)

        def edit(old: bytes) -> bytes:
            return atheris.Mutate(old, max_size) if rng.random() < 0.7 else edited(old, rng)

        return mutate(data, rng, edit, max_size)


def main() -> None:
    torch.set_num_threads(1)
    words = [word for word in sys.argv[1:] if not word.startswith("--tally=")]
    tallies = [Path(word.removeprefix("--tally=")) for word in sys.argv[1:] if word.startswith("--tally=")]
    if all(word.startswith("-") for word in words):
        words.append(str(ROOT / "runs/fuzz/corpus"))
    folders = [Path(word) for word in words if not word.startswith("-")]
    for folder in (ROOT / "runs/fuzz", folders[0]):
        folder.mkdir(parents=True, exist_ok=True)
    flags = [
        f"-max_len={LARGEST}",
        "-timeout=20",  # of wall time, for a reader that hangs; that of CPU time is the tally's
        f"-rss_limit_mb={int(target.peak_megabytes()) + 2 * target.MEGABYTES}",
        "-entropic_scale_per_exec_time=1",
        f"-artifact_prefix={ROOT}/runs/fuzz/",
    ]
    guided = Guided(tallies[0] if tallies else None)
    atheris.Setup(
        [sys.argv[0], *flags, *words, str(target.CORPUS)], guided.check, custom_mutator=guided.mutate
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
