"""Recipes by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fedbits import container, recipes
from fedbits.errors import ConfigError
from fedbits.matching import DistributionConfig
from fedbits.matching.pool import PoolConfig
from fedbits.recipe import OptimizerConfig


def test_names_and_numbers() -> None:
    assert {"quadd", "bcdc", "ptq", "random", "herding"} <= set(recipes.RECIPES)
    assert {"dm", "dc", "dsa", "mtt", "datm"} <= set(recipes.RECIPES)
    assert all(name == recipe.name for name, recipe in recipes.RECIPES.items())
    assert set(container.RECIPE_NUMBERS.values()) <= set(recipes.RECIPES)


def test_given_fields_replace() -> None:
    recipe = recipes.get("quadd", ipc=7, bits=None, steps=0)
    assert (recipe.ipc, recipe.bits, recipe.steps) == (7, recipes.RECIPES["quadd"].bits, 0)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("quad", {}, r"unknown recipe 'quad' \(did you mean 'quadd'\?\): expected one of quadd, bcdc"),
        ("xyz", {}, "unknown recipe 'xyz': expected one of"),
        ("quadd", {"colour": 1}, "recipe 'quadd' has no setting 'colour'"),
        ("quadd", {"bits": 0}, "bits is 0: expected 1 to 8"),
        ("quadd", {"bits": 9}, "bits is 9: expected 1 to 8"),
        ("quadd", {"ipc": 0}, "ipc is 0: expected at least one"),
        ("quadd", {"factor": 3}, "factor is 3: expected 1, 2, 4 or 8"),
        ("quadd", {"steps": -1}, "steps is -1: expected 0 or more"),
        ("quadd", {"penalty": -0.1}, "penalty is -0.1: expected 0 or more"),
        ("quadd", {"overfill": 0.0}, "overfill is 0.0: expected more than 0"),
        ("quadd", {"selection": "best"}, "unknown selection 'best': expected one of random, herding"),
        ("quadd", {"labels": "fuzzy"}, "labels is 'fuzzy': expected hard, soft, views or network"),
        ("dm", {"factor": 2}, "factor is 2: float32 numbers are stored at full size, give 1"),
    ],
)
def test_wrong_settings(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipes.get(name, **settings)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptimizerConfig("lbfgs"), "optimizer is 'lbfgs': expected adam or sgd"),  # type: ignore[arg-type]
        (lambda: OptimizerConfig(learning_rate=-1.0), "learning_rate is -1.0: expected 0 or more"),
        (lambda: OptimizerConfig(labels_rate=float("nan")), "labels_rate is nan: expected 0 or more"),
        (
            lambda: OptimizerConfig(momentum=1.0),
            "momentum is 1.0: expected 0 or more, and less than 1",
        ),
        (lambda: DistributionConfig(width=0), "width is 0: expected at least 1"),
        (lambda: DistributionConfig(statistic="mode"), "statistic is 'mode': expected mean or"),  # type: ignore[arg-type]
        (lambda: PoolConfig(networks=0), "the pool has 0 networks and batches of 128"),
        (lambda: PoolConfig(stages=()), r"stages of the pool are \[\]: expected steps of 0 or more"),
        (lambda: PoolConfig(learning_rate=0.0), "learning_rate of the pool is 0.0: expected more than 0"),
    ],
)
def test_settings_out_of_range(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
