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

SHARED = 0.55  # of the budget, at most, goes into what all samples share
DOUBT = 1.15  # by which a size may differ from what was foreseen, of a few samples that were hardly fitted
_NEARLY_ALL = 0.75  # of the samples that there are: richer settings are worth the rest
_PROBE = 120  # samples from which sizes of many are foreseen
_MANY = 300  # and from which they are foreseen closely
# Samples for the square root of a byte. Held-out Fashion-MNIST at 10 KiB after 100 steps: epitomes of 4,096
# samples have 73.3 %, of 592 80.7; latents of 630 83.5, of 366 83.4.
_SAMPLES_PER_ROOT = 6.0


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
        """Samples beyond which bytes are better spent on each than on more of them."""
        least, every = sum(self.least), self.candidates.total
        if self.recipe.ipc is not None:
            return least
        return max(least, min(int(_NEARLY_ALL * every), int(_SAMPLES_PER_ROOT * self.limit**0.5)))

    def foreseen(self, config: Config, probe: int = _PROBE) -> Foreseen:
        """From a set of about ``probe`` samples, or :data:`_MANY`."""
        candidates, wanted, probe = self.candidates, sum(self.least), min(probe, _MANY)
        few = wanted if self.recipe.ipc is not None else max(wanted, probe)
        counts = candidates.counts(min(few, max(probe, candidates.classes)))
        hurried = replace(config, fit_steps=min(config.fit_steps, self.probe_steps))
        starting = start(candidates, Plan(counts, hurried), self.recipe)
        blob, stored = encode(starting), starting.parameterization
        bits = ledger(blob).components
        each = sum(bits[part] for part in stored.own_parts) / 8
        form = sum(bits[part] for part in stored.shared_parts) / 8
        return Foreseen(form, len(blob) - form - each, max(each, 1.0) / sum(counts))

    def affords(self, config: Config, foreseen: Foreseen) -> bool:
        """Whether ``config`` leaves a share of the budget for samples, or enough for all that are wanted."""
        fits = foreseen.size(self.candidates.classes) <= self.limit / DOUBT
        if self.recipe.ipc is None and fits and foreseen.form <= SHARED * self.limit:
            return True
        size = foreseen.size(self.enough)
        if self.enough > sum(self.least) or not self.limit < size * DOUBT < DOUBT**2 * self.limit:
            return size <= self.limit
        return self.size(Plan(self.least, config)) <= self.limit

    def closely(self, config: Config, foreseen: Foreseen) -> Foreseen:
        """Again, from as many samples as ``foreseen`` allows: many share their statistics, few do not."""
        many = min(self.most(foreseen), self.candidates.total)
        return self.foreseen(config, many) if many > _PROBE else foreseen

    def most(self, foreseen: Foreseen) -> int:
        """As many samples as ``limit`` allows, though there may not be so many.

        Those of a recipe that overfills are expected to become smaller.
        """
        overfill = self.recipe.overfill if self.recipe.steps else 1.0
        allowed = int((overfill * self.limit - foreseen.shared) / foreseen.each)
        return max(self.candidates.classes, allowed)

    def given(self, config: Config, budget: int) -> Plan:
        """As many samples as fit with settings that a person chose.

        Raises:
            BudgetError: with the smallest budget that would do.
        """
        if self.recipe.ipc is not None:
            return Plan(self.least, config)
        foreseen = self.foreseen(config)
        if foreseen.size(self.candidates.classes) * DOUBT <= self.limit:
            foreseen = self.closely(config, foreseen)
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
