"""How large a dictionary, how many coefficients a sample, how many samples: the budget solver of SPEED."""

from __future__ import annotations

from dataclasses import replace

from fedbits.container import encode, ledger
from fedbits.data.spec import DataSpec
from fedbits.parameterization import EpitomeConfig
from fedbits.plan.base import Plan, start
from fedbits.plan.candidates import Candidates
from fedbits.recipes import Recipe

# Settings that reproduce training images of Fashion-MNIST best at their size, from the leanest to the
# richest. Patches there are whole images; a quarter of it takes about twice as many coefficients.
_SETTINGS = tuple(
    EpitomeConfig(tokens=tokens, width=width, heads=1, blocks=1, nonzeros=nonzeros, bits=3)
    for tokens, width, nonzeros in ((8, 4, 3), (16, 8, 4), (32, 16, 6), (64, 32, 12), (128, 64, 20))
)
_PARAMETER_BYTES = 0.3  # that a token's or a weight's number takes, about
_SHARED = 0.45  # of the budget, at most, goes into what all samples share
_CUTS = (1, 2, 4, 8)  # patches along a side, from the best
_PROBE = 12  # samples per class from which the bytes of many are foreseen


def plan_epitome(candidates: Candidates, recipe: Recipe, budget: int | None) -> Plan:
    """The settings for ``budget``, and as many samples as it then allows.

    Raises:
        BudgetError: not even one sample of each class fits.
    """
    config = recipe.epitome or suited(candidates.data.spec, budget)
    if budget is None or recipe.ipc is not None:
        return Plan(candidates.each(recipe.ipc), config)
    shared, each = _foreseen(candidates, recipe, config)
    limit = budget * (recipe.overfill if recipe.steps else 1.0)
    return Plan(candidates.counts(max(candidates.classes, int((limit - shared) / each))), config)


def suited(spec: DataSpec, budget: int | None) -> EpitomeConfig:
    """The richest settings whose shared part ``budget`` bytes (None: any) can afford, in large patches."""
    _, height, width = spec.grid_shape
    side = min(height, width) if spec.is_grid else width
    for cut in _CUTS:
        for settings in reversed(_SETTINGS):
            config = replace(settings, patch=-(-side // cut), nonzeros=settings.nonzeros * cut)
            if budget is None or _PARAMETER_BYTES * config.form(spec).parameters <= _SHARED * budget:
                return config
    return config


def _foreseen(candidates: Candidates, recipe: Recipe, config: EpitomeConfig) -> tuple[float, float]:
    """Bytes that all samples share, and those of each, from a set of a few."""
    few = candidates.counts(_PROBE * candidates.classes)
    blob = encode(start(candidates, Plan(few, config), recipe))
    bits = ledger(blob).components
    each = sum(bits[part] for part in ("positions", "coefficients")) / 8
    return len(blob) - each, max(each, 1.0) / sum(few)
