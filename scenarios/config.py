"""What a continual run is asked to do, as one value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedbits.budget import Budget
from fedbits.errors import ConfigError, unknown
from scenarios.memory import POLICIES
from scenarios.stream import scenario

GDUMB = "gdumb"  # by DM's protocol; all others by Avalanche's
COMPRESSED = ("er", "der", "avalanche-gdumb")
STOCK = ("stock-gdumb", "stock-replay", "stock-reservoir", "stock-der", "stock-icarl", "stock-er-ace")
STRATEGIES = (GDUMB, *COMPRESSED, *STOCK)
RAW = "raw"  # instead of a recipe: samples as they are

USUAL_RECIPE, USUAL_POLICY = "quadd", "fixed"
USUAL_PROTOCOL = "laptop"
USUAL_EPOCHS, USUAL_BATCH, USUAL_RATE = 1, 32, 0.03


@dataclass(frozen=True)
class RunConfig:
    """One continual run; what is None takes what is usual, where the strategy has such a thing.

    Attributes:
        scenario, experiences: as of :func:`scenarios.stream.scenario`.
        strategy: one of :data:`STRATEGIES`.
        memory: capacity of the replay memory, ``"10KiB"`` or ``"1KiB/class"``.
        recipe, overrides: of compressed memories, how samples become blobs, and what of the recipe is set
            otherwise; ``raw`` keeps GDumb's samples as they are.
        policy: of compressed memories, one of :data:`scenarios.memory.POLICIES`.
        protocol, training_steps: of GDumb, how networks are trained (:mod:`fedbits.evaluate`).
        width: of networks, instead of 64 or the protocol's.
        epochs, batch, learning_rate: of Avalanche's strategies.
        seed: of the order of classes and everything random.
    """

    scenario: str
    strategy: str = GDUMB
    memory: str = "10KiB"
    experiences: int | None = None
    recipe: str | None = None
    overrides: Mapping[str, int] = field(default_factory=dict)
    policy: str | None = None
    protocol: str | None = None
    training_steps: int | None = None
    width: int | None = None
    epochs: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Raise :class:`FedbitsError` where a value does not exist or has no effect."""
        scenario(self.scenario, self.experiences)
        if self.strategy not in STRATEGIES:
            raise ConfigError(unknown("strategy", self.strategy, STRATEGIES))
        if self.policy is not None and self.policy not in POLICIES:
            raise ConfigError(unknown("memory policy", self.policy, POLICIES))
        if Budget.parse(self.memory).unit == "bpp":
            raise ConfigError(f"memory {self.memory!r} depends on its samples: give bytes, such as 10KiB")
        for name, allowed in self._meanings().items():
            value = getattr(self, name)
            if value is not None and value != {} and not allowed:
                raise ConfigError(
                    f"{name.replace('_', '-')} {value!r} has no effect on the strategy {self.strategy!r}"
                    f"{' with raw samples' if self.recipe == RAW else ''}: leave it out"
                )
        if self.recipe == RAW and self.strategy != GDUMB:
            raise ConfigError(f"raw samples are for {GDUMB!r}; at equal bytes, others are {', '.join(STOCK)}")
        for name in ("training_steps", "width", "epochs", "batch", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name.replace('_', '-')} is {value}: expected more than 0")

    def _meanings(self) -> dict[str, bool]:
        """Which of the settings that not all strategies have mean something here."""
        compressed = self.strategy not in STOCK
        gdumb, recipe = self.strategy == GDUMB, self.recipe != RAW
        return {
            "recipe": compressed,
            "overrides": compressed and recipe,
            "policy": compressed and recipe,
            "protocol": gdumb,
            "training_steps": gdumb,
            "epochs": not gdumb,
            "batch": not gdumb,
            "learning_rate": not gdumb,
        }

    @property
    def compressed(self) -> bool:
        """Whether the memory holds blobs."""
        return self.strategy not in STOCK and self.recipe != RAW

    @property
    def default_name(self) -> str:
        """Of the run's folder."""
        parts = [self.scenario, self.strategy]
        parts += [self.recipe or USUAL_RECIPE] if self.strategy not in STOCK else []
        parts += [self.memory, f"seed{self.seed}"]
        return re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts)).strip("_")[-100:]

    def facts(self) -> dict[str, Any]:
        """JSON-able settings, with what is usual where nothing was given."""
        usual = {
            "recipe": USUAL_RECIPE,
            "policy": USUAL_POLICY,
            "protocol": USUAL_PROTOCOL,
            "epochs": USUAL_EPOCHS,
            "batch": USUAL_BATCH,
            "learning_rate": USUAL_RATE,
        }
        meanings = self._meanings()
        facts: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if meanings.get(name, True):
                facts[name] = usual.get(name) if value is None else value
        facts["experiences"] = scenario(self.scenario, self.experiences).experiences
        facts.pop("overrides", None)
        return {**{k: v for k, v in facts.items() if v is not None}, **self.overrides}
