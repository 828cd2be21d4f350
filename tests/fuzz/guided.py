"""The coverage-guided fuzzer: atheris (libFuzzer), with mutations that know the format.

    python tests/fuzz/guided.py -max_total_time=600 [FLAG ...] [FOLDER ...]

Flags are libFuzzer's; new inputs go to the first folder (by default ``runs/fuzz/corpus``), the first that
breaks something to ``runs/fuzz/``. With ``--inputs``, ``--seed`` and ``--path`` it is a process of a
campaign, as worker.py: it counts inputs, keeps those that break something, and goes on. Needs the extra
``fuzz``.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from math import inf
from pathlib import Path
from typing import NoReturn

import atheris
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

with atheris.instrument_imports(include=["fedbits"], exclude=["fedbits.wire"]):
    from fuzz import target
from fuzz.mutate import LARGEST, edited, mutate  # noqa: E402
from fuzz.tally import Tally  # noqa: E402
from fuzz.worker import Done, Worker, prepare  # noqa: E402


def mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """Bytes without structure are changed by libFuzzer, which knows what they were compared with."""
    rng = random.Random(seed)

    def edit(old: bytes) -> bytes:
        return atheris.Mutate(old, max_size) if rng.random() < 0.7 else edited(old, rng)

    return mutate(data, rng, edit, max_size)


class Counted:
    """Checks inputs until the worker has enough, and then ends the process: libFuzzer itself never stops."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def __call__(self, data: bytes) -> None:
        try:
            self._worker.check(data)
        except Done:
            _leave()


def _leave() -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--path", type=Path)
    args, words = parser.parse_known_args()
    torch.set_num_threads(1)
    if all(word.startswith("-") for word in words):
        words.append(str(ROOT / "runs/fuzz/corpus"))
    folders = [Path(word) for word in words if not word.startswith("-")]
    for folder in (ROOT / "runs/fuzz", folders[0]):
        folder.mkdir(parents=True, exist_ok=True)
    flags = [
        f"-max_len={LARGEST}",
        "-timeout=20",  # of wall time, for a reader that hangs
        "-rss_limit_mb=0",  # memory is measured for each input
        "-entropic_scale_per_exec_time=1",
        "-mutate_depth=2",  # by default five changes: mostly, one of them breaks what the others need
        f"-artifact_prefix={ROOT}/runs/fuzz/",
    ]
    check = Tally(most_seconds=inf).check
    if args.path is not None:
        worker = Worker(args.path, args.inputs, args.seed)
        prepare()
        check = Counted(worker)
        flags.append(f"-seed={worker.seed}")
    atheris.Setup([sys.argv[0], *flags, *words, str(target.CORPUS)], check, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
