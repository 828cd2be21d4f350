"""How many samples, at how many bits, at which resolution: the choice that a budget leaves open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fedbits.container import encode
from fedbits.data.tensors import TensorData
from fedbits.distilled_set import DistilledSet
from fedbits.errors import BudgetError
from fedbits.labels import SoftLabels
from fedbits.parameterization import (
    FloatParameterization,
    Parameterization,
    PixelConfig,
    PixelParameterization,
)
from fedbits.recipes import FLOAT_BITS, Recipe

# Storage forms from the richest to the leanest, each with the samples per class from which on it is worth
# more than the next one: from trials on splits of the training data of Fashion-MNIST and digits.
_FORMS: tuple[tuple[PixelConfig, int], ...] = (
    (PixelConfig(8, 1), 2000),
    (PixelConfig(6, 1), 1000),
    (PixelConfig(4, 1), 400),
    (PixelConfig(3, 1), 150),
    (PixelConfig(2, 1), 60),
    (PixelConfig(3, 2), 80),
    (PixelConfig(2, 2), 10),
    (PixelConfig(1, 2), 10),
    (PixelConfig(2, 4), 4),
    (PixelConfig(1, 4), 0),
)
_FEWEST = 2  # samples per class from which on two bits are worth more than one, at one resolution
_PROBE = 4  # samples per class from which the size of many is foreseen
_LEARNING = 3.0  # a few samples take at most this many times the bytes, each, that many do
_QUICK_EXCESS = 1.3  # quick coding takes at most about this many times the bytes
CLOSE = 0.995  # share of a limit at which the search for the most samples ends
_SMALLEST_STORED_SIDE = 7  # of a downsampled one: digits stored at 4×4 lost 20 points beside 8×8


@dataclass(frozen=True)
class Plan:
    """What is stored: ``counts`` samples of each class in one storage form."""

    counts: tuple[int, ...]
    config: PixelConfig

    @property
    def samples(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class Candidates:
    """Real samples a set may start from, best first within each class."""

    data: TensorData
    chosen: list[Tensor]

    def counts(self, total: int) -> tuple[int, ...]:
        """``total`` samples spread evenly: every class gets one more in turn until it has no more."""
        available = torch.tensor([len(index) for index in self.chosen])
        level = torch.zeros_like(available)
        left = min(total, int(available.sum()))
        while left > 0:
            open_classes = level < available
            share = max(1, left // int(open_classes.sum()))
            step = torch.minimum(available - level, torch.full_like(available, share)) * open_classes
            if int(step.sum()) > left:  # fewer than one each: the first classes get them
                step = step * (torch.cumsum(step, 0) <= left)
            level, left = level + step, left - int(step.sum())
        return tuple(level.tolist())

    def samples(self, counts: tuple[int, ...]) -> Tensor:
        """The first ``counts`` samples of each class, normalised, class by class."""
        index = torch.cat([order[:count] for order, count in zip(self.chosen, counts, strict=True)])
        return self.data.batch(index.to(self.data.labels.device)).samples.cpu()

    @property
    def total(self) -> int:
        return sum(len(index) for index in self.chosen)

    @property
    def classes(self) -> int:
        """Classes that have samples."""
        return sum(len(index) > 0 for index in self.chosen)


def start(candidates: Candidates, plan: Plan, recipe: Recipe) -> DistilledSet:
    """The set of ``plan`` before any optimisation: real samples, and labels that say no more than classes."""
    spec, samples = candidates.data.spec, candidates.samples(plan.counts)
    parameterization: Parameterization
    if plan.config.bits == FLOAT_BITS:
        parameterization = FloatParameterization(spec, samples)
    else:
        parameterization = PixelParameterization.from_samples(samples, spec, plan.config)
    distilled = DistilledSet(spec, parameterization, list(plan.counts), recipe.name)
    if recipe.labels == "soft":
        distilled.soft_labels = SoftLabels.certain(distilled.labels, spec.classes)
    return distilled


def make_plan(candidates: Candidates, recipe: Recipe, budget: int | None) -> Plan:
    """Choose what ``recipe`` leaves open so that the starting set takes about ``budget`` × overfill bytes.

    Raises:
        BudgetError: not even one sample of each class fits.
    """
    forms = _forms(candidates, recipe)
    if budget is None:
        return _explicit(candidates, recipe, _as_asked(recipe, PixelConfig(3, 1)))
    if recipe.ipc is not None:
        return _fitting_form(candidates, recipe, forms, budget)
    limit = int(budget * (recipe.overfill if recipe.steps else 1.0))
    for config, enough in forms:
        worth_it = max(min(enough * candidates.classes, candidates.total), candidates.classes)
        if _hopeless(candidates, recipe, config, worth_it, limit):
            continue
        everything = worth_it == candidates.total  # no more samples can fill what a rough size leaves over
        if _size(candidates, recipe, config, worth_it, quick=not everything) <= limit:
            return _largest(candidates, recipe, config, worth_it, limit)
    leanest = forms[-1][0]
    smallest = _size(candidates, recipe, leanest, candidates.classes, quick=False)
    if smallest > budget:
        raise _too_small(candidates, budget, smallest)
    return _largest(candidates, recipe, leanest, candidates.classes, limit)


def _hopeless(candidates: Candidates, recipe: Recipe, config: PixelConfig, total: int, limit: int) -> bool:
    """Whether a few samples already show that ``total`` take far more than ``limit`` bytes."""
    few = min(total, _PROBE * candidates.classes)
    return _size(candidates, recipe, config, few) * total / few > _LEARNING * limit


def _size(candidates: Candidates, recipe: Recipe, config: PixelConfig, total: int, quick: bool = True) -> int:
    """Bytes of a starting set of ``total`` samples; by ``quick`` coding somewhat more than it will take."""
    return len(encode(start(candidates, Plan(candidates.counts(total), config), recipe), quick))


def _largest(candidates: Candidates, recipe: Recipe, config: PixelConfig, least: int, limit: int) -> Plan:
    """The most samples, from ``least`` on, whose starting set takes at most ``limit`` bytes."""
    total = largest_within(
        lambda total: _size(candidates, recipe, config, total), least, candidates.total, limit
    )
    return Plan(candidates.counts(total), config)


def _explicit(candidates: Candidates, recipe: Recipe, config: PixelConfig) -> Plan:
    ipc = recipe.ipc or 10
    return Plan(tuple(min(ipc, len(index)) for index in candidates.chosen), config)


def _fitting_form(
    candidates: Candidates, recipe: Recipe, forms: list[tuple[PixelConfig, int]], budget: int
) -> Plan:
    """The richest form in which the given number of samples fits; the leanest if none does."""
    plans = [_explicit(candidates, recipe, config) for config, _ in forms]
    for plan in plans:
        starting = start(candidates, plan, recipe)
        size = len(encode(starting, quick=True))
        if size <= budget or (size <= _QUICK_EXCESS * budget and len(encode(starting)) <= budget):
            return plan
    return plans[-1]


def _forms(candidates: Candidates, recipe: Recipe) -> list[tuple[PixelConfig, int]]:
    """The storage forms open to ``recipe`` for samples of this shape."""
    if recipe.bits == FLOAT_BITS:
        return [(PixelConfig(FLOAT_BITS), 0)]
    spec = candidates.data.spec
    _, height, width = spec.grid_shape

    def fits(config: PixelConfig) -> bool:
        shrunk = min(height, width) // config.factor
        return config.factor == 1 or (spec.is_grid and shrunk >= _SMALLEST_STORED_SIDE)

    fitting = [(form, enough) for form, enough in _FORMS if fits(form)]
    if all(form.factor == 1 for form, _ in fitting):  # no resolution to trade: bits take its place
        fitting = [*fitting[:-1], (fitting[-1][0], _FEWEST), (PixelConfig(1, 1), 0)]
    forms = [(_as_asked(recipe, form), enough) for form, enough in fitting]
    return list({config: (config, enough) for config, enough in forms}.values())


def _as_asked(recipe: Recipe, form: PixelConfig) -> PixelConfig:
    """What ``recipe`` says of storage, and the rest from ``form``."""
    bits, factor = recipe.bits or form.bits, recipe.factor or form.factor
    return PixelConfig(bits, factor, recipe.quantizer, recipe.transform)


def largest_within(size: Callable[[int], int], low: int, high: int, limit: int) -> int:
    """The largest number in [low, high] whose ``size`` is at most ``limit``; ``low`` is known to fit.

    Sizes grow about linearly, so each trial is where the line through the last two says the limit is. A
    number that takes :data:`CLOSE` of the limit is as good as the largest: trials of many samples take long.
    """
    known = size(low)
    slope = max(known / low, 1e-6)
    while low < high and known < CLOSE * limit:
        trial = min(high, low + max(1, int((limit - known) / slope)))
        taken = size(trial)
        slope = max((taken - known) / (trial - low), 1e-6)
        if taken <= limit:
            low, known = trial, taken
        else:
            high = trial - 1
    return low


def _too_small(candidates: Candidates, budget: int, smallest: int) -> BudgetError:
    """The error that names the smallest budget that would do."""
    return BudgetError(
        f"budget of {budget:,} bytes is too small for one sample of each of {candidates.classes} classes of "
        f"{candidates.data.spec.name}: the smallest that would do is {smallest:,} bytes"
    )
