"""What the budget solvers of SPEED and RUO promise: a budget that is kept, and one that would do is named."""

from __future__ import annotations

import re

import pytest
import torch
from making import make_data, tiny_recipe

from fedbits.budget import Budget
from fedbits.container import decode, encode, ledger
from fedbits.distill import distill
from fedbits.errors import BudgetError
from fedbits.parameterization import EpitomeConfig, LatentConfig
from fedbits.plan import Candidates, Plan, make_plan
from fedbits.recipe import Recipe
from fedbits.selection import select

SETS = {
    "grid": make_data((1, 8, 8), [60, 0, 60]),
    "flat": make_data((12,), [90, 12, 40], dtype="float32"),
    "rgb": make_data((3, 9, 7), [60, 60]),
    "one each": make_data((1, 8, 8), [1, 1, 1]),
    "tiny": make_data((1, 1, 2), [30, 4]),
}

pytestmark = pytest.mark.usefixtures("quick_latents", "quick_epitomes")


@pytest.mark.parametrize(("recipe", "budget"), [("speed", 540), ("speed", 900), ("ruo", 600), ("ruo", 1500)])
@pytest.mark.parametrize("name", SETS)
def test_a_blob_keeps_to_its_budget_and_fills_it(name: str, recipe: str, budget: int) -> None:
    data = SETS[name]
    distilled = distill(data, tiny_recipe(recipe), Budget(budget))
    blob = encode(distilled)
    assert len(blob) <= budget
    assert len(blob) >= 0.95 * budget or len(distilled) == len(data)
    counts = distilled.class_counts()
    assert all((count > 0) == (real > 0) for count, real in zip(counts, data.class_counts(), strict=True))
    assert ledger(blob).total_bits == 8 * len(blob)
    assert torch.equal(decode(blob).raw(), distilled.raw())


@pytest.mark.parametrize("ipc", [None, 3])
@pytest.mark.parametrize("name", ["grid", "flat"])
@pytest.mark.parametrize("recipe", ["speed", "ruo"])
def test_the_smallest_budget_that_is_named_works(recipe: str, name: str, ipc: int | None) -> None:
    tiny = tiny_recipe(recipe, ipc=ipc)
    with pytest.raises(BudgetError, match="the smallest that would do is") as refused:
        distill(SETS[name], tiny, Budget(100))
    named = re.search(r"would do is ([\d,]+) bytes", str(refused.value))
    assert named is not None
    smallest = int(named[1].replace(",", ""))
    assert len(encode(distill(SETS[name], tiny, Budget(smallest)))) <= smallest
    with pytest.raises(BudgetError):
        distill(SETS[name], tiny, Budget(smallest // 2))


def planned(recipe: Recipe, budget: int) -> Plan:
    data = make_data((1, 8, 8), [500, 500])
    return make_plan(Candidates(data, select(data, "random", 500, 0), 0), recipe, budget)


def quality(plan: Plan) -> float:
    if isinstance(plan.config, EpitomeConfig):
        return plan.config.nonzeros
    assert isinstance(plan.config, LatentConfig)
    return 1 / plan.config.beta


@pytest.mark.parametrize("recipe", ["speed", "ruo"])
def test_beyond_enough_samples_bytes_go_into_each(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, budget = tiny_recipe(recipe, steps=0), 4000
    many = planned(real, budget)
    monkeypatch.setattr("fedbits.plan.solver._SAMPLES_PER_ROOT", 1.0)
    few = planned(real, budget)
    assert 1.0 * budget**0.5 <= few.samples < 0.8 * many.samples
    assert quality(few) > quality(many)


@pytest.mark.parametrize("recipe", ["speed", "ruo"])
def test_samples_that_training_will_make_smaller_are_more(recipe: str) -> None:
    """Where there are not so many that each would take more bytes instead."""
    plans = [planned(tiny_recipe(recipe, overfill=overfill), 2500) for overfill in (1.0, 1.3)]
    assert plans[0].config == plans[1].config
    assert 1.1 * plans[0].samples < plans[1].samples < 2 * plans[0].samples
