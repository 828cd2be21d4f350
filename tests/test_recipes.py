"""Recipes by name."""

from __future__ import annotations

import pytest

from fedbits import container, recipes
from fedbits.errors import ConfigError


def test_names_and_numbers() -> None:
    assert set(recipes.RECIPES) == {"quadd", "ptq", "random", "herding"}
    assert all(name == recipe.name for name, recipe in recipes.RECIPES.items())
    assert set(container.RECIPE_NUMBERS.values()) <= set(recipes.RECIPES)


def test_given_fields_replace() -> None:
    recipe = recipes.get("quadd", ipc=7, bits=None, steps=0)
    assert (recipe.ipc, recipe.bits, recipe.steps) == (7, recipes.RECIPES["quadd"].bits, 0)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("quad", {}, r"unknown recipe 'quad' \(did you mean 'quadd'\?\): expected one of quadd, ptq"),
        ("xyz", {}, "unknown recipe 'xyz': expected one of"),
        ("quadd", {"colour": 1}, "recipe 'quadd' has no setting 'colour'"),
        ("quadd", {"bits": 0}, "bits is 0: expected 1 to 8"),
        ("quadd", {"bits": 9}, "bits is 9: expected 1 to 8"),
        ("quadd", {"ipc": 0}, "ipc is 0: expected at least one"),
        ("quadd", {"factor": 3}, "factor is 3: expected 1, 2, 4 or 8"),
        ("quadd", {"steps": -1}, "steps is -1: expected 0 or more"),
    ],
)
def test_wrong_settings(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipes.get(name, **settings)
