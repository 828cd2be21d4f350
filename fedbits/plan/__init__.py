"""What a budget leaves open: how many samples are stored, and in which form."""

from fedbits.plan.base import Plan, start
from fedbits.plan.candidates import Candidates, evenly
from fedbits.plan.epitome import plan_epitome
from fedbits.plan.latent import plan_latent
from fedbits.plan.pixel import plan_pixels
from fedbits.plan.within import CLOSE, largest_within
from fedbits.recipe import Recipe

__all__ = ["CLOSE", "Candidates", "Plan", "evenly", "largest_within", "make_plan", "start"]


def make_plan(candidates: Candidates, recipe: Recipe, budget: int | None) -> Plan:
    """Choose what ``recipe`` leaves open so that the starting set takes about ``budget`` × overfill bytes.

    Raises:
        BudgetError: not even one sample of each class fits.
    """
    plan = {"pixel": plan_pixels, "epitome": plan_epitome, "latent": plan_latent}[recipe.storage]
    return plan(candidates, recipe, budget)
