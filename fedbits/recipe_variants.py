"""The same recipe with another quantiser, or with its bytes split otherwise between samples and a network."""

from __future__ import annotations

from dataclasses import replace

from fedbits import recipes
from fedbits.errors import ConfigError
from fedbits.recipe import Recipe

ALONE = "network"  # the recipe of a network and no samples


def requantized(recipe: Recipe, name: str | None) -> Recipe:
    """``recipe`` with the quantiser ``name`` instead of its own, whose other settings stay; None: as it is.

    Raises:
        ConfigError: no such quantiser, or ``recipe`` stores no pixels.
    """
    if name is None:
        return recipe
    quantizer = replace(recipe.quantizer, name=name)
    if recipe.storage != "pixel":
        raise ConfigError(
            f"quantizer is {name!r}: it shapes pixels, but the storage is {recipe.storage!r}; leave it out"
        )
    return replace(recipe, quantizer=quantizer)


def shared(recipe: Recipe, share: float | None) -> Recipe:
    """``recipe`` with ``share`` of its bytes for a network that labels; None: as it is.

    0 is samples alone, 1 a network alone; between them, views of the samples have the network's labels.

    Raises:
        ConfigError: ``share`` is out of range, or ``recipe`` has labels by a teacher.
    """
    if share is None:
        return recipe
    if not 0 <= share <= 1:
        raise ConfigError(f"share is {share}: expected 0 (samples alone) to 1 (a network alone)")
    if share == 1:
        return recipe if recipe.storage == "none" else recipes.get(ALONE)
    if recipe.storage == "none":
        raise ConfigError(f"share is {share}: recipe {recipe.name!r} has no samples, its network takes all")
    if share == 0:
        return replace(recipe, labels="hard", labeller=None) if recipe.labels == "network" else recipe
    return replace(recipe, labels="network", labeller=replace(recipe.labelling, share=share))
