"""Named compositions: everything that shapes a distilled set, as a dataclass to print and edit."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields, replace
from typing import Literal

from fedbits.errors import ConfigError
from fedbits.matching.distribution import DistributionConfig
from fedbits.matching.pool import PoolConfig

Selection = Literal["random", "herding"]


@dataclass(frozen=True)
class Recipe:
    """How to make a synthetic set.

    Attributes:
        name, summary: for people; the name travels in the blob.
        selection: which real samples the set starts from.
        steps: optimisation steps; 0 keeps the real samples.
        quantised: quantise in the loop (QuADD); otherwise only afterwards (post-training quantisation).
        objective: what the optimisation matches.
        learning_rate: of the samples, in units of normalised samples (Adam).
        overfill: samples are chosen to take this many times the budget at the start; optimisation makes
            them richer, and the rate term of the loss keeps them to the budget.
        ipc, bits, factor: samples per class, bits a value and downsampling; None leaves the choice to the
            planner (:mod:`fedbits.plan`).
    """

    name: str
    summary: str
    selection: Selection = "random"
    steps: int = 0
    quantised: bool = True
    objective: DistributionConfig = DistributionConfig()  # noqa: RUF009 - frozen
    learning_rate: float = 0.02
    overfill: float = 1.0
    ipc: int | None = None
    bits: int | None = None
    factor: int | None = None


_MATCHING = DistributionConfig(width=64, statistic="characteristic", pool=PoolConfig())

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "quadd",
            "distribution matching with a uniform quantiser inside the loop",
            steps=1500,
            objective=_MATCHING,
            overfill=0.95,
        ),
        Recipe(
            "ptq",
            "the same, but quantised only after the optimisation (post-training quantisation)",
            steps=1500,
            objective=_MATCHING,
            quantised=False,
            overfill=0.95,
        ),
        Recipe("random", "random real samples through the same codec"),
        Recipe("herding", "real samples whose mean feature follows that of their class", selection="herding"),
    )
}


def get(name: str, **overrides: object) -> Recipe:
    """The recipe ``name`` with the given fields replaced (those that are None are left as they are).

    Raises:
        ConfigError: no such recipe or field, or a value out of range.
    """
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, 1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigError(f"unknown recipe {name!r}{hint}: expected one of {', '.join(RECIPES)}")
    given = {key: value for key, value in overrides.items() if value is not None}
    unknown = set(given) - {field.name for field in fields(Recipe)}
    if unknown:
        raise ConfigError(f"recipe {name!r} has no setting {sorted(unknown)[0]!r}")
    recipe = replace(RECIPES[name], **given)  # type: ignore[arg-type]
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    if recipe.bits is not None and not 1 <= recipe.bits <= 8:
        raise ConfigError(f"bits is {recipe.bits}: expected 1 to 8")
    if recipe.ipc is not None and recipe.ipc < 1:
        raise ConfigError(f"ipc is {recipe.ipc}: expected at least one sample per class")
    if recipe.factor is not None and recipe.factor not in (1, 2, 4, 8):
        raise ConfigError(f"factor is {recipe.factor}: expected 1, 2, 4 or 8")
    if recipe.steps < 0:
        raise ConfigError(f"steps is {recipe.steps}: expected 0 or more")
