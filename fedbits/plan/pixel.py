"""How many samples, at how many bits, at which resolution: the choice that a budget leaves to pixels."""

from __future__ import annotations

from torch import Tensor

from fedbits.container import encode
from fedbits.data.spec import DataSpec
from fedbits.parameterization import (
    FloatParameterization,
    Parameterization,
    PixelConfig,
    PixelParameterization,
)
from fedbits.plan.base import Plan, start
from fedbits.plan.candidates import Candidates
from fedbits.plan.within import largest_within
from fedbits.recipe import FLOAT_BITS, Recipe

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
_SMALLEST_STORED_SIDE = 7  # of a downsampled one: digits stored at 4×4 lost 20 points beside 8×8


def plan_pixels(candidates: Candidates, recipe: Recipe, budget: int | None) -> Plan:
    """Choose what ``recipe`` leaves open so that the starting set takes about ``budget`` × overfill bytes.

    Raises:
        BudgetError: not even one sample of each class fits.
    """
    forms = _forms(candidates, recipe)
    if budget is None:
        return Plan(candidates.each(recipe.ipc), _as_asked(recipe, PixelConfig(3, 1)))
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
        raise candidates.too_small(budget, smallest)
    return _largest(candidates, recipe, leanest, candidates.classes, limit)


def start_pixels(
    samples: Tensor, labels: Tensor, spec: DataSpec, config: PixelConfig, seed: int
) -> Parameterization:
    """``samples`` as quantised values, or as float32 numbers; neither classes nor chance matter."""
    if config.bits == FLOAT_BITS:
        return FloatParameterization(spec, samples)
    return PixelParameterization.from_samples(samples, spec, config)


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


def _fitting_form(
    candidates: Candidates, recipe: Recipe, forms: list[tuple[PixelConfig, int]], budget: int
) -> Plan:
    """The richest form in which the given number of samples fits; the leanest if none does."""
    plans = [Plan(candidates.each(recipe.ipc), config) for config, _ in forms]
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
