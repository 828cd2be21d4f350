"""How large a dictionary, how many coefficients a sample, how many samples: the budget solver of SPEED."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError
from fedbits.parameterization import EpitomeConfig
from fedbits.plan.base import Plan
from fedbits.plan.candidates import Candidates
from fedbits.plan.solver import DOUBT, SHARED, Foreseen, Solver
from fedbits.recipe import Recipe

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
_SAMPLES_PER_TOKEN = 8  # where no budget says how large a dictionary may be


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
    solver = Solver[EpitomeConfig](candidates, recipe, limit)
    if recipe.epitome is not None:
        return solver.given(recipe.epitome, budget)
    for config in _promising(solver):
        foreseen = solver.foreseen(config)
        if solver.affords(config, foreseen):
            return _most(solver, config, foreseen)
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


def _promising(solver: Solver[EpitomeConfig]) -> Iterator[EpitomeConfig]:
    """Settings, from the richest on, that might do by a rough estimate."""
    spec = solver.candidates.data.spec
    for config in settings(spec):
        shared = shared_bytes(config, spec) / DOUBT
        everything = shared + _COEFFICIENT_BYTES * config.nonzeros * solver.enough
        shares = solver.recipe.ipc is None and shared <= SHARED * solver.limit
        if shares or everything <= solver.limit:
            yield config


def _most(solver: Solver[EpitomeConfig], config: EpitomeConfig, foreseen: Foreseen) -> Plan:
    """As many samples as the limit allows; where there are no more, more coefficients of each."""
    if solver.recipe.ipc is not None:
        return Plan(solver.least, config)
    total, every = solver.most(foreseen), solver.candidates.total
    if total > every:
        form = config.form(solver.candidates.data.spec)
        richer = config.nonzeros * total // every
        config = replace(config, nonzeros=min(richer, form.tokens * form.patches))
    return Plan(solver.candidates.counts(total), config)
