"""How large a dictionary, how many coefficients a sample, how many samples: the budget solver of SPEED."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError
from fedbits.parameterization import EpitomeConfig, EpitomeParameterization
from fedbits.parameterization.epitome.form import MOST_PATCH
from fedbits.plan.base import Plan
from fedbits.plan.candidates import Candidates
from fedbits.plan.solver import DOUBT, SHARED, Foreseen, Solver
from fedbits.recipe import Recipe

# Settings that reproduce training images of Fashion-MNIST best at their size, from the leanest to the
# richest, in patches that are whole images. Of 10 KiB, after 100 steps, held out: 80.7 % by 64 tokens in
# quarters of images, as many coefficients; 78.6 % by 32 in whole ones. After 400 steps, 84.9 % without a
# block, 84.1 with one, which takes a fifth of the bytes.
_SETTINGS = tuple(
    EpitomeConfig(tokens=tokens, width=width, heads=1, blocks=blocks, nonzeros=nonzeros, bits=3)
    for tokens, width, blocks, nonzeros in (
        (8, 4, 0, 3),
        (16, 8, 0, 4),
        (32, 16, 0, 6),
        (64, 32, 0, 12),
        (128, 64, 1, 20),
    )
)
_CUTS = (1, 2, 4, 8)  # patches along a side
_SMALLEST_PATCH = 4  # of a cut sample: a smaller one saves next to nothing beside tokens and network
# Bytes that a number of tokens or blocks, and one of what makes patches, takes; the latter's cosine
# transform has mostly zeros where patches are large.
_TOKEN_BYTES, _PATCH_BYTES, _PATCH_BYTES_LEAST, _LARGE_PATCH = 0.5, 0.5, 0.28, 196
_COEFFICIENT_BYTES = 0.5  # that a coefficient and its place take at least
_SAMPLES_PER_TOKEN = 8  # where no budget says how large a dictionary may be


def plan_epitome(candidates: Candidates, recipe: Recipe, budget: int | None) -> Plan:
    """The settings for ``budget``, and as many samples as it then allows.

    Of the settings whose shared part leaves enough of the budget, those are taken that share most; others
    that share more where enough samples fit, or as many as the recipe wants. Where more than enough would
    fit, each takes more coefficients.

    Raises:
        BudgetError: not even one sample of each class fits, or not as many as the recipe wants.
        ConfigError: the recipe's patches are larger than samples.
    """
    if recipe.epitome is not None:
        _check_patch(recipe.epitome, candidates.data.spec)
    plan = _planned(candidates, recipe, budget)
    assert isinstance(plan.config, EpitomeConfig)
    return replace(plan, config=plan.config.rated(recipe.optimizer.name))


def start_epitome(
    samples: Tensor, labels: Tensor, spec: DataSpec, config: EpitomeConfig, seed: int
) -> EpitomeParameterization:
    """``samples`` as sparse codes; classes do not matter."""
    return EpitomeParameterization.from_samples(samples, spec, config, seed)


def _planned(candidates: Candidates, recipe: Recipe, budget: int | None) -> Plan:
    """That of a recipe's own settings, or of the most suitable ones."""
    if budget is None:
        counts = candidates.each(recipe.ipc)
        return Plan(counts, recipe.epitome or _suited_to(candidates.data.spec, sum(counts)))
    solver = Solver[EpitomeConfig](candidates, recipe, float(budget))
    if recipe.epitome is not None:
        return solver.given(recipe.epitome, budget)
    for config in _promising(solver):
        foreseen = solver.foreseen(config)
        if solver.affords(config, foreseen):
            return _most(solver, config, foreseen)
    spec = candidates.data.spec
    return solver.leanest([_of_cut(spec, cut)[-1] for cut in _cuts(spec)], budget)


def settings(spec: DataSpec) -> list[EpitomeConfig]:
    """All for samples of ``spec``: the largest dictionaries first, each in the largest patches first."""
    every = [one for cut in _cuts(spec) for one in _of_cut(spec, cut)]
    return sorted(every, key=lambda one: (-one.tokens, -one.patch))


def _cuts(spec: DataSpec) -> list[int]:
    return [cut for cut in _CUTS if cut == 1 or _side(spec) // cut >= _SMALLEST_PATCH]


def _of_cut(spec: DataSpec, cut: int) -> list[EpitomeConfig]:
    """Settings in patches that go ``cut`` times into a side, from the richest to the leanest."""
    patch, more = min(-(-_side(spec) // cut), MOST_PATCH), max(1, cut // 2)
    return [replace(one, patch=patch, nonzeros=one.nonzeros * more) for one in reversed(_SETTINGS)]


def _side(spec: DataSpec) -> int:
    """The shorter one of a picture; of flat samples, all numbers."""
    _, height, width = spec.grid_shape
    return min(height, width) if spec.is_grid else width


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
    whole = _of_cut(spec, 1)
    return next((one for one in whole if _SAMPLES_PER_TOKEN * one.tokens <= samples), whole[-1])


def _promising(solver: Solver[EpitomeConfig]) -> Iterator[EpitomeConfig]:
    """Settings, from those that share most on, that might do by a rough estimate."""
    spec = solver.candidates.data.spec
    for config in settings(spec):
        shared = shared_bytes(config, spec) / DOUBT
        everything = shared + _COEFFICIENT_BYTES * config.nonzeros * solver.enough
        shares = solver.recipe.ipc is None and shared <= SHARED * solver.limit
        if shares or everything <= solver.limit:
            yield config


def _most(solver: Solver[EpitomeConfig], config: EpitomeConfig, foreseen: Foreseen) -> Plan:
    """As many samples as the limit allows; where no more are wanted, more coefficients of each."""
    if solver.recipe.ipc is not None:
        return Plan(solver.least, config)
    most = solver.most(solver.closely(config, foreseen))
    if most > solver.enough:
        form = config.form(solver.candidates.data.spec)
        richer = config.nonzeros * most // solver.enough
        config = replace(config, nonzeros=min(richer, form.tokens * form.patches))
        most = solver.most(solver.foreseen(config, solver.enough))
    return Plan(solver.candidates.counts(most), config)
