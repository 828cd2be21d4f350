"""The budget solver of RUO: a blob within its budget and full, in latents that suit it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from making import TINY_LATENT, make_data, make_spec, tiny_recipe

from fedbits.budget import Budget
from fedbits.container import encode, ledger
from fedbits.data import TensorData
from fedbits.distill import distill
from fedbits.errors import BudgetError, ConfigError
from fedbits.fit import fit
from fedbits.parameterization import LatentConfig
from fedbits.plan import Candidates, Plan, make_plan, start
from fedbits.plan import latent as solver
from fedbits.recipe import Recipe
from fedbits.selection import select

GRID = make_data((1, 8, 8), [60, 0, 60])
REAL = tiny_recipe("ruo", steps=0)
SMALL = LatentConfig(**TINY_LATENT)


pytestmark = pytest.mark.usefixtures("quick_latents")


def candidates(data: TensorData) -> Candidates:
    return Candidates(data, select(data, "random", max(data.class_counts()), 0), 0)


def chosen(data: TensorData, budget: int | None, recipe: Recipe = REAL) -> Plan:
    return make_plan(candidates(data), recipe, budget)


def settings(plan: Plan) -> LatentConfig:
    assert isinstance(plan.config, LatentConfig)
    return plan.config


def test_settings_of_ones_own_are_kept_and_their_smallest_budget_is_named() -> None:
    recipe = replace(REAL, latent=SMALL)
    assert chosen(GRID, 500, recipe).config == SMALL
    with pytest.raises(BudgetError, match="the smallest that would do is") as refused:
        distill(GRID, recipe, Budget(60))
    smallest = int(re.findall(r"is (\d+) bytes", str(refused.value))[0])
    assert len(encode(distill(GRID, recipe, Budget(smallest)))) <= smallest
    with pytest.raises(BudgetError, match=r"4 samples do not fit .*fewer samples \(--ipc\) or \[latent\]"):
        distill(GRID, replace(recipe, ipc=2), Budget(60))


def test_more_bytes_buy_richer_settings() -> None:
    data = make_data((1, 8, 8), [500, 500])
    plans = [chosen(data, budget) for budget in (600, 2600, 60_000)]
    numbers = [settings(plan).numbers for plan in plans]
    betas = [settings(plan).beta for plan in plans]
    assert numbers == sorted(numbers) and numbers[0] < numbers[-1]
    assert betas[0] > betas[-1]
    assert all(plan.samples >= 10 for plan in plans)


def test_where_samples_run_out_each_takes_more_bits() -> None:
    few = make_data((1, 8, 8), [10, 10])
    lean, rich = (settings(chosen(few, budget)) for budget in (700, 60_000))
    assert rich.beta < lean.beta and rich.beta < solver.settings(few.spec)[0].beta


def test_a_given_number_of_samples_takes_leaner_settings_rather_than_ruin() -> None:
    recipe = replace(REAL, ipc=10)
    for budget in (600, 2500):
        plan = chosen(GRID, budget, recipe)
        assert plan.counts == (10, 0, 10)
        assert len(encode(start(candidates(GRID), plan, recipe))) <= 1.15 * budget
        assert len(encode(distill(GRID, recipe, Budget(budget)))) <= budget


def test_without_a_budget_the_settings_are_middling() -> None:
    plan = chosen(GRID, None, replace(REAL, ipc=3))
    assert plan.counts == (3, 0, 3) and settings(plan) == solver.settings(GRID.spec)[2]
    assert chosen(GRID, None, replace(REAL, latent=SMALL)).config == SMALL


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 224, 160), (64,), (2,), (1, 1, 9), (5000,)]
)
def test_settings_of_every_shape(shape: tuple[int, ...]) -> None:
    spec = make_spec(shape)
    ladder = solver.settings(spec)
    assert [one.numbers for one in ladder] == sorted((one.numbers for one in ladder), reverse=True)
    for config in ladder:
        form = config.form(spec)
        assert form.parameters > 0 and max(form.at(form.factors[1])) <= max(8, max(shape) // 256 + 1)
        assert all(factor <= max(shape) for factor in config.scales)


def test_maps_that_are_too_large() -> None:
    with pytest.raises(ConfigError, match="scales of the latents leave maps with a side of 300"):
        distill(make_data((300,), [9, 9]), replace(REAL, ipc=2, latent=SMALL), None)


def test_a_set_that_is_too_large_loses_samples_and_not_its_latents() -> None:
    found, config = candidates(GRID), replace(SMALL, numbers=12, beta=0.02)
    starting = start(found, Plan((60, 0, 60), config), REAL)
    size = len(encode(starting))
    budget = size - ledger(encode(starting)).components["latents"] // 16  # half of the latents
    fitted = fit(starting, starting, found, budget, may_grow=True)
    assert 0.95 * budget <= len(encode(fitted)) <= budget
    assert 50 <= len(fitted) <= 80
    assert max(fitted.class_counts()) - fitted.class_counts()[0] <= 1
