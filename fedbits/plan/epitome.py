"""How large a dictionary, how many coefficients a sample, how many samples: the budget solver of SPEED."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fedbits.container import encode, ledger
from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError
from fedbits.parameterization import EpitomeConfig
from fedbits.plan.base import Plan, start
from fedbits.plan.candidates import Candidates
from fedbits.plan.within import largest_within
from fedbits.recipes import Recipe

# Settings that reproduce training images of Fashion-MNIST best at their size, from the leanest to the
# richest. Patches there are whole images; a quarter of it takes about twice as many coefficients.
_SETTINGS = tuple(
    EpitomeConfig(tokens=tokens, width=width, heads=1, blocks=1, nonzeros=nonzeros, bits=3)
    for tokens, width, nonzeros in ((8, 4, 3), (16, 8, 4), (32, 16, 6), (64, 32, 12), (128, 64, 20))
)
_CUTS = (1, 2, 4, 8)  # patches along a side, from the best
_SMALLEST_PATCH = 4  # of a cut sample: a smaller one saves next to nothing beside tokens and network
# Bytes that a number of tokens or blocks, and one of what makes patches, takes; the latter's cosine
# transform has mostly zeros where patches are large.
_TOKEN_BYTES, _PATCH_BYTES, _PATCH_BYTES_LEAST, _LARGE_PATCH = 0.5, 0.5, 0.28, 196
_COEFFICIENT_BYTES = 0.5  # that a coefficient and its place take at least
_SHARED = 0.5  # of the budget, at most, goes into tokens and network
_DOUBT = 1.15  # by which a size may differ from what was foreseen, of a few samples that were hardly fitted
_NEARLY_ALL = 0.75  # of the samples that there are: richer settings are worth the rest
_SAMPLES_PER_TOKEN = 8  # where no budget says how large a dictionary may be
_PROBE, _PROBE_STEPS = 120, 80  # samples, and steps of fitting them, from which sizes of many are foreseen


def plan_epitome(candidates: Candidates, recipe: Recipe, budget: int | None) -> Plan:
    """The settings for ``budget``, and as many samples as it then allows.

    The richest settings are taken whose shared part leaves enough of the budget; richer ones where nearly all
    samples that there are fit, or as many as the recipe wants. Should samples run out, each takes more
    coefficients.

    Raises:
        BudgetError: not even one sample of each class fits, or not as many as the recipe wants.
        ConfigError: the recipe's patches are larger than samples.
    """
    if recipe.epitome is not None:
        _check_patch(recipe.epitome, candidates.data.spec)
    if budget is None:
        counts = candidates.each(recipe.ipc)
        return Plan(counts, recipe.epitome or _suited_to(candidates.data.spec, sum(counts)))
    limit = budget * (recipe.overfill if recipe.steps else 1.0)
    solver = _Solver(candidates, recipe, limit)
    if recipe.epitome is not None:
        if recipe.ipc is not None:
            return Plan(solver.least, recipe.epitome)
        foreseen = solver.foreseen(recipe.epitome)
        if foreseen.size(candidates.classes) * _DOUBT <= limit:
            return solver.most(recipe.epitome, foreseen)
        return solver.leanest([recipe.epitome], budget)
    for config in solver.promising():
        foreseen = solver.foreseen(config)
        if solver.affords(config, foreseen):
            return solver.most(config, foreseen)
    return solver.leanest(settings(candidates.data.spec)[len(_SETTINGS) - 1 :: len(_SETTINGS)], budget)


def settings(spec: DataSpec) -> list[EpitomeConfig]:
    """All for samples of ``spec``, from the richest to the leanest of the largest patches, and so on."""
    _, height, width = spec.grid_shape
    side = min(height, width) if spec.is_grid else width
    cuts = [cut for cut in _CUTS if cut == 1 or side // cut >= _SMALLEST_PATCH]
    return [
        replace(one, patch=min(-(-side // cut), 256), nonzeros=one.nonzeros * cut)
        for cut in cuts
        for one in reversed(_SETTINGS)
    ]


def shared_bytes(config: EpitomeConfig, spec: DataSpec) -> float:
    """What tokens and network take, about."""
    form = config.form(spec)
    patches = form.patch_elements * (config.width + 1)
    large = form.transformed and math.prod(form.cut) >= _LARGE_PATCH
    return (form.parameters - patches) * _TOKEN_BYTES + patches * (
        _PATCH_BYTES_LEAST if large else _PATCH_BYTES
    )


def _check_patch(config: EpitomeConfig, spec: DataSpec) -> None:
    _, height, width = spec.grid_shape
    if config.patch > max(height, width):
        sides = f"{height} x {width} pixels" if spec.is_grid else f"{width} numbers"
        raise ConfigError(
            f"patch of the epitome is {config.patch}: samples of {spec.name} have {sides}, "
            f"expected at most {max(height, width)}"
        )


def _suited_to(spec: DataSpec, samples: int) -> EpitomeConfig:
    """Settings in large patches for so many ``samples``, whatever bytes they take."""
    whole = settings(spec)[: len(_SETTINGS)]
    return next((one for one in whole if _SAMPLES_PER_TOKEN * one.tokens <= samples), whole[-1])


@dataclass(frozen=True)
class _Foreseen:
    """Bytes of tokens and network, of whatever else all samples share, and of each."""

    dictionary: float
    besides: float
    each: float

    @property
    def shared(self) -> float:
        return self.dictionary + self.besides

    def size(self, samples: int) -> float:
        return self.shared + self.each * samples


@dataclass(frozen=True)
class _Solver:
    """What ``limit`` bytes allow.

    A sample's bytes are foreseen from a set of a few, fitted in a hurry: where it comes to every byte, the
    set itself is made.
    """

    candidates: Candidates
    recipe: Recipe
    limit: float

    @property
    def least(self) -> tuple[int, ...]:
        """Samples of each class, at least."""
        ipc = self.recipe.ipc
        return self.candidates.counts(self.candidates.classes) if ipc is None else self.candidates.each(ipc)

    @property
    def _enough(self) -> int:
        """Samples of which no more are wanted."""
        least, every = sum(self.least), self.candidates.total
        return least if self.recipe.ipc is not None else max(least, int(_NEARLY_ALL * every))

    def promising(self) -> Iterator[EpitomeConfig]:
        """Settings, from the richest on, that might do by a rough estimate."""
        spec = self.candidates.data.spec
        for config in settings(spec):
            shared = shared_bytes(config, spec) / _DOUBT
            everything = shared + _COEFFICIENT_BYTES * config.nonzeros * self._enough
            shares = self.recipe.ipc is None and shared <= _SHARED * self.limit
            if shares or everything <= self.limit:
                yield config

    def foreseen(self, config: EpitomeConfig) -> _Foreseen:
        candidates, wanted = self.candidates, sum(self.least)
        few = wanted if self.recipe.ipc is not None else max(wanted, _PROBE)
        counts = candidates.counts(min(few, max(_PROBE, candidates.classes)))
        hurried = replace(config, fit_steps=min(config.fit_steps, _PROBE_STEPS))
        blob = encode(start(candidates, Plan(counts, hurried), self.recipe))
        bits = ledger(blob).components
        each = sum(bits[part] for part in ("positions", "coefficients")) / 8
        dictionary = sum(bits[part] for part in ("tokens", "network")) / 8
        return _Foreseen(dictionary, len(blob) - dictionary - each, max(each, 1.0) / sum(counts))

    def affords(self, config: EpitomeConfig, foreseen: _Foreseen) -> bool:
        """Whether ``config`` leaves enough for samples: half of the budget, or for all that are wanted."""
        fits = foreseen.size(self.candidates.classes) <= self.limit / _DOUBT
        if self.recipe.ipc is None and fits and foreseen.dictionary <= _SHARED * self.limit:
            return True
        size = foreseen.size(self._enough)
        if self._enough > sum(self.least) or not self.limit < size * _DOUBT < _DOUBT**2 * self.limit:
            return size <= self.limit
        return self._size(Plan(self.least, config)) <= self.limit

    def most(self, config: EpitomeConfig, foreseen: _Foreseen) -> Plan:
        """As many samples as ``limit`` allows; where there are no more, more coefficients of each."""
        if self.recipe.ipc is not None:
            return Plan(self.least, config)
        total = max(self.candidates.classes, int((self.limit - foreseen.shared) / foreseen.each))
        if total > self.candidates.total and self.recipe.epitome is None:
            form = config.form(self.candidates.data.spec)
            richer = config.nonzeros * total // self.candidates.total
            config = replace(config, nonzeros=min(richer, form.tokens * form.patches))
        return Plan(self.candidates.counts(total), config)

    def leanest(self, some: list[EpitomeConfig], budget: int) -> Plan:
        """The leanest of ``some`` settings, whatever share of ``limit`` is left for samples.

        Raises:
            BudgetError: with the smallest budget that would do.
        """
        sizes = {config: self._size(Plan(self.least, config)) for config in some}
        config = min(some, key=lambda one: sizes[one])
        if sizes[config] > budget:
            raise self.candidates.too_small(budget, sizes[config], self.recipe.ipc)
        if self.recipe.ipc is not None:
            return Plan(self.least, config)

        def size(total: int) -> int:
            return self._size(Plan(self.candidates.counts(total), config))

        low, high = self.candidates.classes, self.candidates.total
        return Plan(self.candidates.counts(largest_within(size, low, high, int(self.limit))), config)

    def _size(self, plan: Plan) -> int:
        return len(encode(start(self.candidates, plan, self.recipe)))
