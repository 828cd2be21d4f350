"""One process of a campaign: makes inputs of one kind, has them checked, and keeps what it counted.

    python tests/fuzz/worker.py --kind=hypothesis --inputs=10000 --seed=0 --path=runs/fuzz/try

Kinds: ``plain`` (mutations; an input that went a new way is mutated further), ``pure`` (the same with
protobuf's pure-Python implementation, which the environment chooses) and ``hypothesis``. ``guided`` has a
script of its own, guided.py. A process that finds its tally at ``path`` goes on from it, with other inputs.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.journal import Journal

SAVED_EVERY = 2.0  # seconds
ADDRESS_SPACE = 2048  # megabytes by which that of the process may grow
# How often seeds are mutated: what is wrong mostly stays wrong, and what asks for much takes long.
WEIGHTS = {"hostile": 0.05, "large": 0.05, "golden": 0.2, "file": 0.1, "wire": 0.1, "value": 0.25}
FOUND_WEIGHT = 0.2  # of inputs that went a new way: most of them are wrong, some ask for much
_EXAMPLES = 1000  # of one run of Hypothesis, which remembers all of them


class Done(BaseException):
    """Enough inputs, or asked to stop; not an Exception, for Hypothesis lets only others through."""


def prepare() -> None:
    """Bound the memory of this process, which does nothing else."""
    import torch

    from fuzz.memory import bound

    torch.set_num_threads(1)
    bound(ADDRESS_SPACE)
    gc.collect()
    gc.freeze()  # the modules: collections during an input then look at the input only


class Worker:
    """Counts inputs until there are enough; ``path`` names its files: .json, .seen, .journal."""

    def __init__(self, path: Path, inputs: int, seed: int) -> None:
        from fuzz.tally import Tally

        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._inputs = path.with_suffix(".json"), inputs
        self._journal = Journal(path.with_suffix(".journal"))
        self.tally = Tally.load(self._path, keep=path.parent / "found")
        self.tally.starts += 1
        self.seed = zlib.crc32(f"{seed} {path.name} {self.tally.starts}".encode())
        self._saved, self._clock = time.monotonic(), time.monotonic()

    def check(self, data: bytes) -> bool:
        """Check an input; whether it went a new way. Raises :class:`Done`, and nothing else."""
        self._journal.begin(data)
        new = self.tally.check(data)
        self._journal.end(self.tally.inputs)
        now = time.monotonic()
        finished = self.tally.inputs >= self._inputs or self._journal.stopping
        if finished or now - self._saved > SAVED_EVERY:
            self.tally.seconds += now - self._clock
            self._saved = self._clock = now
            self.tally.save(self._path)
        if finished:
            raise Done
        return new


def mutations(worker: Worker) -> None:
    """Mutations without guidance but one: an input that went a new way joins the pool."""
    from fuzz.mutate import mutate
    from fuzz.target import CORPUS

    paths = sorted(CORPUS.iterdir())
    pool = [path.read_bytes() for path in paths]
    weights = [WEIGHTS.get(path.name.split("-")[0], 1.0) for path in paths]
    rng = random.Random(worker.seed)
    while True:
        for seed in rng.choices(pool, weights, k=100):
            data = mutate(seed, rng)
            if worker.check(data):
                pool.append(data)
                weights.append(FOUND_WEIGHT)


def examples(worker: Worker) -> None:
    """Hypothesis, in short runs with seeds of their own."""
    import hypothesis

    from fuzz.strategies import blobs

    strategy = blobs()
    only = hypothesis.settings(
        max_examples=_EXAMPLES,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )

    def one(data: bytes) -> None:
        worker.check(data)

    rng = random.Random(worker.seed)
    while True:
        hypothesis.seed(rng.getrandbits(64))(only(hypothesis.given(strategy)(one)))()


KINDS = {"plain": mutations, "pure": mutations, "hypothesis": examples}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--path", type=Path, required=True)
    args = parser.parse_args()
    worker = Worker(args.path, args.inputs, args.seed)
    prepare()
    with suppress(Done):
        KINDS[args.kind](worker)


if __name__ == "__main__":
    main()
