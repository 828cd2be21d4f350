"""Point by point: distil, encode, decode, train on what was decoded, judge on what was held out."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fedbits import checkpoint as checkpoints
from fedbits import container, evaluate
from fedbits.data.holdout import split
from fedbits.data.tensors import TensorData
from fedbits.distill import distill
from fedbits.distilled_set import DistilledSet
from fedbits.errors import BudgetError, ConfigError, DataError, FedbitsError
from fedbits.progress import SILENT, Progress, Task
from fedbits.rng import derive_seed
from fedbits.sweep.grid import Point, SweepConfig
from fedbits.sweep.result import Outcome, Result, best_by_group, ranked
from fedbits.sweep.store import Store


@dataclass(frozen=True)
class Sweep:
    """A sweep that is over: what was asked, and a result for each of its points, in the grid's order."""

    config: SweepConfig
    data: str
    training: int  # samples that were distilled
    held_out: int  # samples that judged
    results: tuple[Result, ...]

    @property
    def best(self) -> dict[str, Result]:
        """The best point of each budget, or of each number of samples where there was no budget."""
        return best_by_group(self.results)

    @property
    def winner(self) -> Result | None:
        """The best of all; None where no point can work."""
        first = ranked(self.results)[0]
        return first if first.done else None


@dataclass(frozen=True)
class Bench:
    """What every point is measured with."""

    training: TensorData
    held_out: TensorData
    config: SweepConfig
    store: Store

    def measure(self, point: Point, progress: Progress = SILENT) -> Result:
        """Distil and judge one point; what cannot work is a result, too."""
        started = time.monotonic()
        try:
            outcome = self._outcome(point, progress)
        except (BudgetError, ConfigError, DataError) as error:
            outcome = Outcome(reason=str(error))
        return Result(point, replace(outcome, seconds=round(time.monotonic() - started, 3)))

    def _outcome(self, point: Point, progress: Progress) -> Outcome:
        if (point.factor or 1) > 1 and not self.training.spec.is_grid:
            raise ConfigError(f"factor is {point.factor}: flat samples have no sides to shrink, give 1")
        blob = container.encode(self._distil(point, progress))
        received = container.decode(blob)
        present = sum(samples > 0 for samples in self.training.class_counts())
        limit = None if point.budget is None else point.budget.bytes(received.spec, present, len(received))
        return Outcome(limit, len(blob), len(received), self._judged(received, progress))

    def _judged(self, received: DistilledSet, progress: Progress) -> tuple[float, ...]:
        """Accuracies of fresh networks on what was held out; or that of a network that came alone."""
        config = self.config
        if received.network is not None and not len(received):
            network = received.network.on(torch.device(config.device))
            return (evaluate.accuracy(network, self.held_out),)
        judged = evaluate.evaluate(
            received,
            self.held_out,
            config.protocol,
            repeats=config.repeats,
            seed=derive_seed(config.seed, "sweep"),
            device=config.device,
            progress=progress,
        )
        return judged.accuracies

    def _distil(self, point: Point, progress: Progress) -> DistilledSet:
        """The point's set, from a checkpoint where a fitting one was left behind."""
        recipe, checkpoint = point.complete(), self.store.checkpoint(point)

        def make(resume: bool) -> DistilledSet:
            return distill(
                self.training,
                recipe,
                point.budget,
                seed=self.config.seed,
                device=self.config.device,
                progress=progress,
                checkpoint=checkpoint,
                resume=resume,
            )

        if checkpoint.is_file():
            try:
                return make(resume=True)
            except ConfigError:  # it was left by another version, say
                checkpoint.unlink(missing_ok=True)
        return make(resume=False)


def run(
    train: TensorData, config: SweepConfig, folder: Path, *, jobs: int = 1, progress: Progress = SILENT
) -> Sweep:
    """Measure every point of ``config`` on a split of ``train``, which is all that is looked at.

    Each result is kept in ``folder`` as soon as it is there: the same call goes on after an interruption, and
    one with a larger grid adds to it.

    Args:
        jobs: points that are measured at the same time, each in a process of its own. (The numbers of threads
            differ from those of a single job, and with them, perhaps, the last digits.)

    Raises:
        ConfigError: ``folder`` holds something else, or a sweep under other conditions.
        DataError: the split leaves nothing to distil or to judge by.
    """
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}: expected at least one")
    training, held_out = split(train, config.validation, derive_seed(config.seed, "validation"))
    if not len(training) or not len(held_out):
        raise DataError(
            f"{len(train):,} samples of {train.spec.name} are too few to hold some out to judge by"
        )
    store = Store.open(
        folder,
        {"data": train.spec.name, "fingerprint": checkpoints.fingerprint(train), **config.conditions()},
    )
    points = config.points()
    results = {point: found for point in points if (found := store.find(point))}
    missing = [point for point in points if point not in results]
    bench = Bench(training, held_out, config, store)
    with progress.task("sweep", len(points), len(results)) as task:
        for result in _measured(bench, missing, jobs, progress, task):
            store.keep(result)
            results[result.point] = result
            task.advance(note=f"best {100 * max(one.accuracy for one in results.values()):.1f} %")
    ordered = tuple(results[point] for point in points)
    return Sweep(config, train.spec.name, len(training), len(held_out), ordered)


# ---------------------------------------------------------------------------------------- several at a time

_bench: Bench | None = None  # of a worker process


def _measured(
    bench: Bench, points: Sequence[Point], jobs: int, progress: Progress, task: Task
) -> Iterator[Result]:
    if min(jobs, len(points)) <= 1:
        for point in points:
            task.advance(0, note=f"{point.series}, {point.form}, {point.group}")
            yield bench.measure(point, progress)
        return
    threads = max(1, torch.get_num_threads() // jobs)
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(jobs, len(points)),
        multiprocessing.get_context("spawn"),
        _begin,
        (
            pickle.dumps(bench),
            threads,
        ),  # as bytes: tensors would travel through shared memory, which may be small
    )
    try:
        for future in as_completed([pool.submit(_measure, point) for point in points]):
            yield future.result()
        pool.shutdown()
    except BrokenProcessPool as error:
        raise FedbitsError(
            "a worker process was ended, for lack of memory perhaps: go on by the same command, fewer --jobs"
        ) from error
    except BaseException:  # Ctrl-C above all: nobody waits for points that are half done
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise


def _begin(bench: bytes, threads: int) -> None:
    global _bench
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # on Ctrl-C a worker ends without a word
    torch.set_num_threads(threads)
    _bench = pickle.loads(bench)


def _measure(point: Point) -> Result:
    assert _bench is not None
    return _bench.measure(point)
