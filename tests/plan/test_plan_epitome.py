"""The budget solver of SPEED: a blob within its budget and full, and settings that leave room for samples."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

import pytest
import torch
from making import make_data, make_spec, tiny_recipe

from fedbits.budget import Budget
from fedbits.container import encode, ledger
from fedbits.data import TensorData
from fedbits.distill import distill
from fedbits.errors import BudgetError, ConfigError
from fedbits.fit import fit
from fedbits.parameterization import EpitomeConfig, EpitomeParameterization
from fedbits.plan import Candidates, Plan, evenly, make_plan, start
from fedbits.plan import epitome as solver
from fedbits.recipe import Recipe
from fedbits.selection import select

GRID = make_data((1, 8, 8), [60, 0, 60])
FLAT = make_data((12,), [90, 12, 40], dtype="float32")
REAL = tiny_recipe("speed", steps=0)
SMALL = EpitomeConfig(tokens=8, width=4, nonzeros=3, patch=8, fit_steps=20)


pytestmark = pytest.mark.usefixtures("quick_epitomes")


def candidates(data: TensorData) -> Candidates:
    return Candidates(data, select(data, "random", max(data.class_counts()), 0), 0)


def chosen(data: TensorData, budget: int | None, recipe: Recipe = REAL) -> Plan:
    return make_plan(candidates(data), recipe, budget)


def settings(plan: Plan) -> EpitomeConfig:
    assert isinstance(plan.config, EpitomeConfig)
    return plan.config


def test_settings_of_ones_own_are_kept_and_their_smallest_budget_is_named() -> None:
    recipe = replace(REAL, epitome=SMALL)
    assert chosen(GRID, 500, recipe).config == SMALL.rated(recipe.optimizer.name)
    with pytest.raises(BudgetError, match="the smallest that would do is") as refused:
        distill(GRID, recipe, Budget(200))
    smallest = int(re.findall(r"is (\d+) bytes", str(refused.value))[0])
    assert len(encode(distill(GRID, recipe, Budget(smallest)))) <= smallest
    given = replace(recipe, ipc=2)
    with pytest.raises(
        BudgetError, match=r"4 samples do not fit .*fewer samples \(--ipc\) or an \[epitome\]"
    ):
        distill(GRID, given, Budget(200))


@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 3.0), ("sgd", 1.0)])
def test_codes_move_as_suits_the_optimizer_unless_told(
    optimizer: Literal["adam", "sgd"], rate: float
) -> None:
    optimised = replace(REAL, optimizer=replace(REAL.optimizer, name=optimizer))
    for epitome, expected in ((None, rate), (SMALL, rate), (replace(SMALL, codes_rate=0.5), 0.5)):
        plan = chosen(GRID, 500, replace(optimised, epitome=epitome))
        assert settings(plan).codes_rate == expected


def test_more_bytes_buy_richer_settings_or_more_samples() -> None:
    data = make_data((1, 8, 8), [500, 500])
    plans = [chosen(data, budget) for budget in (400, 1000, 3000)]
    tokens = [settings(plan).tokens for plan in plans]
    assert tokens == sorted(tokens) and tokens[0] < tokens[-1]
    assert all(plan.samples >= 10 for plan in plans)


def test_where_samples_run_out_each_takes_more_coefficients() -> None:
    few = make_data((1, 8, 8), [10, 10])
    lean, rich = (settings(chosen(few, budget)) for budget in (600, 60_000))
    assert rich.nonzeros > lean.nonzeros and rich.tokens > lean.tokens
    assert rich.nonzeros <= rich.tokens * rich.form(few.spec).patches


def test_a_given_number_of_samples_takes_leaner_settings_rather_than_ruin() -> None:
    recipe = replace(REAL, ipc=10)
    for budget in (450, 1000, 2500):
        plan = chosen(GRID, budget, recipe)
        assert plan.counts == (10, 0, 10)
        assert len(encode(start(candidates(GRID), plan, recipe))) <= budget
    tokens = [settings(chosen(GRID, budget, recipe)).tokens for budget in (450, 2500)]
    assert tokens[0] < tokens[1]


def test_without_a_budget_the_dictionary_suits_the_samples() -> None:
    data = make_data((1, 8, 8), [300, 300])
    tokens = [settings(chosen(data, None, replace(REAL, ipc=ipc))).tokens for ipc in (1, 100, 300)]
    assert tokens == [8, 16, 64]


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (64,), (2,), (1, 1, 9)])
def test_settings_of_every_shape(shape: tuple[int, ...]) -> None:
    spec = make_spec(shape)
    ladder = solver.settings(spec)
    assert len(set(ladder)) == len(ladder)
    for config in ladder:
        assert 1 <= config.patch <= max(spec.grid_shape[1:])
        assert config.form(spec).parameters > 0
    assert ladder[0].tokens == 128
    assert ladder[-1].tokens == 8


@pytest.mark.parametrize(
    ("data", "patch", "message"),
    [
        (GRID, 9, "patch of the epitome is 9: samples of made have 8 x 8 pixels, expected at most 8"),
        (FLAT, 28, "is 28: samples of made have 12 numbers, expected at most 12"),
    ],
)
@pytest.mark.parametrize("budget", [None, Budget(2000)])
def test_patches_that_are_too_large(
    data: TensorData, patch: int, message: str, budget: Budget | None
) -> None:
    with pytest.raises(ConfigError, match=message):
        distill(data, replace(REAL, ipc=2, epitome=replace(SMALL, patch=patch)), budget)


def test_a_set_that_is_too_large_loses_samples_and_not_its_codes() -> None:
    found = candidates(GRID)
    starting = start(found, Plan((60, 0, 60), SMALL), REAL)
    size = len(encode(starting))
    bits = ledger(encode(starting)).components
    budget = size - (bits["positions"] + bits["coefficients"]) // 16  # half of the codes
    fitted = fit(starting, starting, found, budget, may_grow=True)
    assert 0.95 * budget <= len(encode(fitted)) <= budget
    assert 40 <= len(fitted) <= 80

    def each(stored: object) -> float:
        assert isinstance(stored, EpitomeParameterization)
        return float(stored.coefficients().count_nonzero()) / len(stored)

    assert each(fitted.parameterization) > 0.85 * each(starting.parameterization)
    kept = torch.equal(fitted.labels, torch.arange(3).repeat_interleave(torch.tensor(fitted.class_counts())))
    assert kept and max(fitted.class_counts()) - fitted.class_counts()[0] <= 1


def test_evenly() -> None:
    assert evenly([5, 0, 2], 6) == (4, 0, 2)
    assert evenly([5, 0, 2], 3) == (2, 0, 1)
    assert evenly([5, 0, 2], 99) == (5, 0, 2)
