"""Which latents, how many bits each is worth, how many samples: the budget solver of RUO."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from fedbits.data.spec import DataSpec
from fedbits.parameterization import LatentConfig, LatentParameterization
from fedbits.parameterization.latent.form import MOST_FACTOR
from fedbits.plan.base import Plan
from fedbits.plan.candidates import Candidates
from fedbits.plan.solver import DOUBT, Foreseen, Solver
from fedbits.recipe import Recipe


@dataclass(frozen=True)
class _Setting:
    """Settings from so many bytes of a whole blob on.

    Attributes:
        least: bytes.
        numbers, hidden: see :class:`LatentConfig`.
        grids: of ever finer ones.
        beta: of samples of 28 × 28 numbers.
    """

    least: int
    numbers: int
    grids: int
    hidden: int
    beta: float

    def config(self, spec: DataSpec) -> LatentConfig:
        """For samples of ``spec``."""
        scales = tuple(_coarsest(spec) >> finer for finer in range(self.grids))
        entropy_hidden = _ENTROPY_HIDDEN if self.grids else _LEAST_ENTROPY_HIDDEN
        return LatentConfig(
            numbers=self.numbers,
            scales=tuple(factor for factor in scales if factor > 1),
            hidden=self.hidden,
            entropy_hidden=entropy_hidden,
            beta=self.beta * spec.elements / _USUAL_ELEMENTS,
            fit_steps=_FIT_STEPS,
        )


# From the richest to the leanest.
_SETTINGS = (
    _Setting(90_000, 48, 2, 12, 0.5),
    _Setting(28_000, 32, 2, 8, 0.85),
    _Setting(14_000, 32, 2, 8, 0.85),
    _Setting(7_000, 32, 2, 8, 0.85),
    _Setting(2_500, 24, 1, 6, 2.0),
    _Setting(0, 16, 1, 2, 1.5),  # held-out digits at 1 KiB: 96.9 %; 96.4 of 8 numbers at 3.0
)
_UNBOUNDED = 2  # the place there of settings for when no budget says how many bytes there are
_FIT_STEPS, _PROBE_STEPS = 200, 150  # of all samples, and of the few from which sizes are foreseen
_ENTROPY_HIDDEN, _LEAST_ENTROPY_HIDDEN = 16, 8
# The squared error that a bit is worth grows with numbers: more of them tell the same of a picture.
_USUAL_ELEMENTS = 28 * 28
_COARSEST_SIDE = 8  # of a grid, at most
_LEAST_BITS = 0.5  # of a number that stands for a sample as a whole
_RICHER, _RICHEST = 2.0, 6  # by how much less a bit is worth from trial to trial, and how often
_FEW = 100  # samples, of which there is no set to spare: that they fit is made sure of
_POORER = 8.0  # by how much more a bit may be worth than in the leanest settings


def plan_latent(candidates: Candidates, recipe: Recipe, budget: int | None) -> Plan:
    """The settings for ``budget``, and as many samples as it then allows.

    Richer ones where enough samples fit, or as many as the recipe wants; where more than enough would fit,
    each takes more bits.

    Raises:
        BudgetError: not even one sample of each class fits.
        ConfigError: samples are too large for the latents that the recipe wants.
    """
    spec = candidates.data.spec
    if recipe.latent is not None:
        recipe.latent.form(spec)
    if budget is None:
        return Plan(candidates.each(recipe.ipc), recipe.latent or settings(spec)[_UNBOUNDED])
    solver = Solver[LatentConfig](candidates, recipe, float(budget), _PROBE_STEPS)
    if recipe.latent is not None:
        return solver.given(recipe.latent, budget)
    for setting in _promising(solver):
        config = setting.config(spec)
        foreseen = solver.foreseen(config)
        wealthy = setting.least > budget  # but samples may be too few to fill a leaner one
        if solver.affords(config, foreseen) and not (wealthy and foreseen.size(solver.enough) > budget):
            plan = _most(solver, config, foreseen)
            sure = recipe.ipc is None and plan.samples > _FEW
            if sure or solver.size(plan) <= budget:
                return plan
    leanest = settings(spec)[-1]
    return solver.leanest([leanest, replace(leanest, beta=_POORER * leanest.beta)], budget)


def settings(spec: DataSpec) -> list[LatentConfig]:
    """All for samples of ``spec``, from the richest to the leanest."""
    return [one.config(spec) for one in _SETTINGS]


def start_latents(
    samples: Tensor, labels: Tensor, spec: DataSpec, config: LatentConfig, seed: int
) -> LatentParameterization:
    """``samples`` of classes ``labels`` as latents."""
    return LatentParameterization.from_samples(samples, labels, spec, config, seed)


def _coarsest(spec: DataSpec) -> int:
    """The least power of two that leaves a side of at most :data:`_COARSEST_SIDE`."""
    side, factor = max(spec.grid_shape[1:]), 1
    while -(-side // factor) > _COARSEST_SIDE and factor < MOST_FACTOR:
        factor *= 2
    return factor


def _promising(solver: Solver[LatentConfig]) -> Iterator[_Setting]:
    """Settings, from the richest on, that might do by a rough estimate."""
    for setting in _SETTINGS:
        everything = _LEAST_BITS / 8 * setting.numbers * solver.enough
        bytes_allow = solver.recipe.ipc is None and setting.least <= solver.limit
        if bytes_allow or everything <= solver.limit:
            yield setting


def _most(solver: Solver[LatentConfig], config: LatentConfig, foreseen: Foreseen) -> Plan:
    """As many samples as the limit allows; where no more are wanted, more bits of each."""
    if solver.recipe.ipc is not None:
        return Plan(solver.least, _richer(solver, config))
    most = solver.most(solver.closely(config, foreseen))
    if most > solver.enough:
        config = _richer(solver, config)
        most = solver.most(solver.foreseen(config, solver.enough))
    return Plan(solver.candidates.counts(most), config)


def _richer(solver: Solver[LatentConfig], config: LatentConfig) -> LatentConfig:
    """``config`` with the least worth of a bit at which enough samples fit, about."""
    for _ in range(_RICHEST):
        finer = replace(config, beta=config.beta / _RICHER)
        if solver.foreseen(finer, solver.enough).size(solver.enough) * DOUBT > solver.limit:
            break
        config = finer
    return config
