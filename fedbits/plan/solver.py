"""How many samples fit where all share a part of the blob: what the budget solvers of such forms share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from fedbits.container import encode, ledger
from fedbits.parameterization import EpitomeConfig, LatentConfig
from fedbits.plan.base import Plan, start
from fedbits.plan.candidates import Candidates
from fedbits.plan.within import largest_within
from fedbits.recipe import Recipe

Config = TypeVar("Config", EpitomeConfig, LatentConfig)

SHARED = 0.5  # of the budget, at most, goes into what all samples share
DOUBT = 1.15  # by which a size may differ from what was foreseen, of a few samples that were hardly fitted
_NEARLY_ALL = 0.75  # of the samples that there are: richer settings are worth the rest
_PROBE = 120  # samples from which sizes of many are foreseen


@dataclass(frozen=True)
class Foreseen:
    """Bytes of what all samples share by their form, of whatever else they share, and of each."""

    form: float
    besides: float
    each: float

    @property
    def shared(self) -> float:
        return self.form + self.besides

    def size(self, samples: int) -> float:
        return self.shared + self.each * samples


@dataclass(frozen=True)
class Solver(Generic[Config]):
    """What ``limit`` bytes allow.

    A sample's bytes are foreseen from a set of a few, fitted in a hurry: where it comes to every byte, the
    set itself is made.
    """

    candidates: Candidates
    recipe: Recipe
    limit: float
    probe_steps: int = 80  # of fitting the few from which sizes of many are foreseen

    @property
    def least(self) -> tuple[int, ...]:
        """Samples of each class, at least."""
        ipc = self.recipe.ipc
        return self.candidates.counts(self.candidates.classes) if ipc is None else self.candidates.each(ipc)

    @property
    def enough(self) -> int:
        """Samples of which no more are wanted."""
        least, every = sum(self.least), self.candidates.total
        return least if self.recipe.ipc is not None else max(least, int(_NEARLY_ALL * every))

    def foreseen(self, config: Config) -> Foreseen:
        candidates, wanted = self.candidates, sum(self.least)
        few = wanted if self.recipe.ipc is not None else max(wanted, _PROBE)
        counts = candidates.counts(min(few, max(_PROBE, candidates.classes)))
        hurried = replace(config, fit_steps=min(config.fit_steps, self.probe_steps))
        starting = start(candidates, Plan(counts, hurried), self.recipe)
        blob, stored = encode(starting), starting.parameterization
        bits = ledger(blob).components
        each = sum(bits[part] for part in stored.own_parts) / 8
        form = sum(bits[part] for part in stored.shared_parts) / 8
        return Foreseen(form, len(blob) - form - each, max(each, 1.0) / sum(counts))

    def affords(self, config: Config, foreseen: Foreseen) -> bool:
        """Whether ``config`` leaves enough for samples: half of the budget, or for all that are wanted."""
        fits = foreseen.size(self.candidates.classes) <= self.limit / DOUBT
        if self.recipe.ipc is None and fits and foreseen.form <= SHARED * self.limit:
            return True
        size = foreseen.size(self.enough)
        if self.enough > sum(self.least) or not self.limit < size * DOUBT < DOUBT**2 * self.limit:
            return size <= self.limit
        return self.size(Plan(self.least, config)) <= self.limit

    def most(self, foreseen: Foreseen) -> int:
        """As many samples as ``limit`` allows, though there may not be so many."""
        return max(self.candidates.classes, int((self.limit - foreseen.shared) / foreseen.each))

    def given(self, config: Config, budget: int) -> Plan:
        """As many samples as fit with settings that a person chose.

        Raises:
            BudgetError: with the smallest budget that would do.
        """
        if self.recipe.ipc is not None:
            return Plan(self.least, config)
        foreseen = self.foreseen(config)
        if foreseen.size(self.candidates.classes) * DOUBT <= self.limit:
            return Plan(self.candidates.counts(self.most(foreseen)), config)
        return self.leanest([config], budget)

    def leanest(self, some: Sequence[Config], budget: int) -> Plan:
        """The leanest of ``some`` settings, whatever share of ``limit`` is left for samples.

        Raises:
            BudgetError: with the smallest budget that would do.
        """
        sizes = [self.size(Plan(self.least, config)) for config in some]
        smallest = min(sizes)
        config = some[sizes.index(smallest)]
        if smallest > budget:
            raise self.candidates.too_small(budget, smallest, self.recipe.ipc)
        if self.recipe.ipc is not None:
            return Plan(self.least, config)

        def size(total: int) -> int:
            return self.size(Plan(self.candidates.counts(total), config))

        low, high = self.candidates.classes, self.candidates.total
        return Plan(self.candidates.counts(largest_within(size, low, high, int(self.limit))), config)

    def size(self, plan: Plan) -> int:
        """Bytes of the set that ``plan`` starts from."""
        return len(encode(start(self.candidates, plan, self.recipe)))
