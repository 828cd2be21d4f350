"""What became of a point, and which point is the best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from fedbits.sweep.grid import Point, budget_text, count


@dataclass(frozen=True)
class Outcome:
    """What a point came to: bytes, samples and validation accuracies in [0, 1]; or why it cannot be."""

    limit: int | None = None  # bytes
    bytes: int | None = None
    samples: int | None = None
    accuracies: tuple[float, ...] = ()
    reason: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Result:
    """A point and its outcome."""

    point: Point
    outcome: Outcome

    @property
    def done(self) -> bool:
        """False where the point cannot work."""
        return self.outcome.reason is None

    @property
    def accuracy(self) -> float:
        """Mean validation accuracy in [0, 1]; 0 where the point cannot work."""
        return mean(self.outcome.accuracies) if self.outcome.accuracies else 0.0

    @property
    def std(self) -> float:
        """Sample standard deviation over networks; 0 for a single one."""
        return stdev(self.outcome.accuracies) if len(self.outcome.accuracies) > 1 else 0.0

    @property
    def spot(self) -> str:
        """The point in words: ``3 bits, half size, 406 samples``."""
        if self.point.recipe.storage == "none":
            return "a network, no samples"
        factor = self.point.factor or 1
        parts = [self.point.form, SIZES[factor]] if factor > 1 else [self.point.form]
        return ", ".join([*parts, count(self.outcome.samples or 0, "sample")])

    def record(self) -> dict[str, Any]:
        """Everything, for JSON."""
        point, outcome = self.point, self.outcome
        return {
            "key": point.key,
            "recipe": point.recipe.name,
            "quantizer": point.quantizer_name,
            "bits": point.bits,
            "factor": point.factor,
            "ipc": point.ipc,
            "share": 1.0 if point.recipe.storage == "none" else point.share,
            "budget": None if point.budget is None else budget_text(point.budget),
            "budget_bytes": outcome.limit,
            "status": "done" if self.done else "impossible",
            "reason": outcome.reason,
            "bytes": outcome.bytes,
            "samples": outcome.samples,
            "accuracy": self.accuracy if self.done else None,
            "std": self.std if self.done else None,
            "accuracies": list(outcome.accuracies),
            "seconds": round(outcome.seconds, 3),
        }

    @classmethod
    def of_record(cls, point: Point, record: dict[str, Any]) -> Result:
        """The inverse of :meth:`record`; raises KeyError or TypeError on anything else."""
        return cls(
            point,
            Outcome(
                record["budget_bytes"],
                record["bytes"],
                record["samples"],
                tuple(float(accuracy) for accuracy in record["accuracies"]),
                record["reason"],
                float(record["seconds"]),
            ),
        )


SIZES = {1: "full size", 2: "half size", 4: "quarter size", 8: "eighth size"}


def ranked(results: Iterable[Result]) -> list[Result]:
    """The most accurate first, of equal ones the smaller; those that cannot work last."""
    return sorted(results, key=lambda one: (not one.done, -one.accuracy, one.outcome.bytes or 0))


def best_by_group(results: Iterable[Result]) -> dict[str, Result]:
    """The best of each budget (or number of samples), in the order of the grid."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        if result.done:
            groups.setdefault(result.point.group, []).append(result)
    return {group: ranked(members)[0] for group, members in groups.items()}
