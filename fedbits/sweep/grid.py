"""What a sweep tries, and under which conditions."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from fedbits.budget import Budget
from fedbits.errors import ConfigError
from fedbits.evaluate import PROTOCOLS, Protocol
from fedbits.recipe import FLOAT_BITS, Recipe
from fedbits.recipe_variants import requantized, shared

FLOATS = f"float{FLOAT_BITS}"
FLOAT_WORDS = "32-bit floats"
# What has no bits of its own choosing, in words.
STORAGES = {"epitome": "sparse codes", "latent": "latents", "none": "a network", "pixel": "planned bits"}


def budget_text(budget: Budget) -> str:
    """A budget as a person writes it; :meth:`Budget.parse` reads it."""
    amount, unit = budget.amount, budget.unit
    if unit not in ("bytes", "bytes/class"):
        return f"{amount:g}bpp" if unit == "bpp" else f"{amount:g}bits/class"
    size, name = amount, "B"
    for larger in ("KiB", "MiB"):
        if size % 1024 == 0:
            size, name = size / 1024, larger
    return f"{size:.10g}{name}" + ("/class" if unit == "bytes/class" else "")


def count(number: int, noun: str) -> str:
    """``1 bit``, ``1,406 samples``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


@dataclass(frozen=True)
class Point:
    """One composition to try: ``recipe`` with a quantiser, bits and factor (None: its own), and perhaps ipc.

    A recipe that stores no pixels has no quantiser, bits and factor: all three are None. ``share`` of the
    bytes is for a network that labels (None: as the recipe has it).
    """

    recipe: Recipe
    quantizer: str | None
    bits: int | None
    factor: int | None
    ipc: int | None
    budget: Budget | None
    share: float | None = None

    def complete(self) -> Recipe:
        """The recipe with everything in it; raises :class:`ConfigError` where it cannot be."""
        whole = requantized(self.recipe, self.quantizer)
        bits, factor = self.bits or whole.bits, self.factor or whole.factor
        return shared(replace(whole, ipc=self.ipc, bits=bits, factor=factor), self.share)

    @property
    def quantizer_name(self) -> str:
        if self.recipe.storage != "pixel":
            return STORAGES[self.recipe.storage]
        if (self.bits or self.recipe.bits) == FLOAT_BITS:
            return FLOATS
        return self.quantizer or self.recipe.quantizer.name

    @property
    def form(self) -> str:
        """What values are, in words."""
        bits = self.bits or self.recipe.bits
        if bits is None:
            return STORAGES[self.recipe.storage]
        return FLOAT_WORDS if bits == FLOAT_BITS else count(bits, "bit")

    @property
    def series(self) -> str:
        """What points that differ in nothing but their numbers share: recipe, quantiser and the split."""
        if self.recipe.storage == "none":
            return f"{self.recipe.name} alone"
        split = f", {100 * self.share:g} % network" if self.share else ""
        return f"{self.recipe.name}, {self.quantizer_name}{split}"

    @property
    def group(self) -> str:
        """Among whom the best is chosen: points of one budget, or of as many samples where there is none."""
        return f"{self.ipc} a class" if self.budget is None else budget_text(self.budget)

    @property
    def key(self) -> str:
        """A name for files: what people look for, and a digest of all that shapes the point."""
        parts = [self.recipe.name, self.quantizer_name]
        parts += [f"{self.bits}bit", f"f{self.factor}"] if self.bits else []
        parts += [f"ipc{self.ipc}"] if self.ipc else []
        parts += [budget_text(self.budget)] if self.budget else []
        parts += [] if self.share is None else [f"share{self.share:g}"]
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:10]
        return re.sub(r"[^A-Za-z0-9.-]+", "_", "-".join([*parts, digest]))


@dataclass(frozen=True)
class SweepConfig:
    """A grid, and how its points are judged.

    Attributes:
        recipes: to start from; each point replaces its quantiser, bits, factor and ipc; of one that stores no
            pixels, which has only the last of these, ipc alone.
        quantizers: names; empty leaves each recipe its own.
        bits: a value, 1 to 8, or 32 for float32 numbers, which are stored whole (at factor 1, unquantised);
            empty leaves them to each recipe, and to the planner.
        factors: by which each side is stored smaller: 1, 2, 4, 8; empty as ``bits``.
        shares: of the bytes, for a network that labels views of the samples: 0 is samples alone, 1 the
            network alone; empty leaves each recipe as it is.
        ipcs: samples of each class; empty takes as many as a budget allows.
        budgets: of the blobs; empty compares at the same number of samples instead.
        steps: of optimisation, for recipes that have any; None leaves them their own.
        validation: the share of the training data, stratified, that is held out to judge by.
        repeats: networks that judge a point, by ``protocol``.
        seed: of the split, the distillations and the networks: the same for all points.

    Raises:
        ConfigError: something is empty, unknown or out of range.
    """

    recipes: tuple[Recipe, ...]
    quantizers: tuple[str, ...] = ()
    bits: tuple[int, ...] = (1, 2, 3, 4)
    factors: tuple[int, ...] = (1,)
    shares: tuple[float, ...] = ()
    ipcs: tuple[int, ...] = ()
    budgets: tuple[Budget, ...] = ()
    steps: int | None = None
    validation: float = 0.1
    repeats: int = 1
    protocol: Protocol = PROTOCOLS["laptop"]
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.recipes:
            raise ConfigError("a sweep without recipes has nothing to try: give at least one")
        if not self.budgets and not self.ipcs:
            raise ConfigError("a sweep needs budgets (the same memory) or ipc (the same images): give one")
        if not self.ipcs and any(budget.unit == "bpp" for budget in self.budgets):
            raise ConfigError("a budget in bpp needs the number of samples: give ipc as well")
        names = [recipe.name for recipe in self.recipes]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"two recipes are called {twice!r}: give each a name of its own")
        if not 0 < self.validation < 1:
            raise ConfigError(f"validation is {self.validation}: expected a share between 0 and 1, say 0.1")
        if self.repeats < 1:
            raise ConfigError(f"repeats is {self.repeats}: expected at least one network")
        self._check_values()

    def _check_values(self) -> None:
        """Each value by itself must be possible with each recipe; whether they are together, we shall see."""
        fields = {"bits": self.bits, "factor": self.factors, "ipc": self.ipcs, "steps": (self.steps,)}
        for recipe in self.recipes:
            free = replace(recipe, storage="pixel", epitome=None, latent=None, bits=None, factor=None)
            for quantizer in self.quantizers:
                requantized(free, quantizer)
            for share in self.shares:
                shared(free, share)
            for field, values in fields.items():
                for value in values:
                    replace(free, **{} if value is None else {field: value})  # type: ignore[arg-type]

    def points(self) -> tuple[Point, ...]:
        """All to try, each once: budget by budget, recipe by recipe."""
        grid = product(
            self.budgets or (None,),
            self.recipes,
            self.quantizers or (None,),
            self.ipcs or (None,),
            self.factors or (None,),
            self.bits or (None,),
            self.shares or (None,),
        )
        return tuple(dict.fromkeys(self._point(*chosen) for chosen in grid))

    def _point(
        self,
        budget: Budget | None,
        recipe: Recipe,
        quantizer: str | None,
        ipc: int | None,
        factor: int | None,
        bits: int | None,
        share: float | None,
    ) -> Point:
        """What of the choices means anything to ``recipe``."""
        if share == 1 or recipe.storage == "none":
            return Point(shared(recipe, 1), None, None, None, None, budget)
        if self.steps is not None and recipe.steps:
            recipe = replace(recipe, steps=self.steps)
        if recipe.storage in ("epitome", "latent"):
            return Point(recipe, None, None, None, ipc, budget, share)
        if bits == FLOAT_BITS:
            return Point(recipe, None, bits, 1, ipc, budget, share)
        return Point(recipe, quantizer, bits, factor, ipc, budget, share)

    def conditions(self) -> dict[str, Any]:
        """What must be the same for two points to be comparable, for JSON."""
        return {
            "validation": self.validation,
            "steps": self.steps,
            "repeats": self.repeats,
            "protocol": asdict(self.protocol),
            "seed": self.seed,
            "device": self.device,
        }
