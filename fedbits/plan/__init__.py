"""What a budget leaves open: how many samples are stored, and in which form."""

from fedbits.errors import ConfigError, unknown
from fedbits.plan.base import STORAGES, Plan, Storage, start
from fedbits.plan.candidates import Candidates, evenly
from fedbits.plan.epitome import plan_epitome, start_epitome
from fedbits.plan.latent import plan_latent, start_latents
from fedbits.plan.pixel import plan_pixels, start_pixels
from fedbits.plan.within import CLOSE, largest_within
from fedbits.recipe import Recipe

__all__ = [
    "CLOSE",
    "STORAGES",
    "Candidates",
    "Plan",
    "Storage",
    "evenly",
    "largest_within",
    "make_plan",
    "start",
]

STORAGES |= {
    "pixel": Storage(plan_pixels, start_pixels),
    "epitome": Storage(plan_epitome, start_epitome),
    "latent": Storage(plan_latent, start_latents),
}


def make_plan(candidates: Candidates, recipe: Recipe, budget: int | None) -> Plan:
    """Choose what ``recipe`` leaves open so that the starting set takes about ``budget`` × overfill bytes.

    Raises:
        BudgetError: not even one sample of each class fits.
        ConfigError: there is no such storage.
    """
    if recipe.storage not in STORAGES:
        raise ConfigError(unknown("storage", recipe.storage, STORAGES))
    return STORAGES[recipe.storage].plan(candidates, recipe, budget)
