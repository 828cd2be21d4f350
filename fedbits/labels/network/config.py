"""How a network is made that labels views: what it may take, how long it is trained, what it sees."""

from __future__ import annotations

from dataclasses import dataclass

from fedbits.errors import ConfigError
from fedbits.labels.network.form import WIDEST
from fedbits.labels.view_labels import check_temperature
from fedbits.labels.views import Mix, ViewsConfig

UNLIMITED = (1 << 32) - 1  # epochs, until views come again


@dataclass(frozen=True)
class LabellerConfig:
    """A network in the blob, as part of a recipe.

    Attributes:
        share: of the budget that the network takes beside samples, in (0, 1); alone it takes all.
        temperature: of its labels, a multiple of 1/16, up to 64.
        width: of the network; 0 takes the widest whose weights have ``bits`` each.
        bits: of a weight, on average, by which a width is chosen; training then fills the bytes there are.
        steps: batches that it is trained on; 0 takes as many as :data:`WORK` pays for.
        batch, learning_rate: of its training (Adam, the rate falling to 0 as a cosine).
        least_area, rotation, flipped, mix: of views; see :class:`fedbits.labels.ViewsConfig`. The network is
            trained on such views of real samples, and labels such views of the set. A small network labels
            blends of whole samples better than it does crops and turns.
    """

    share: float = 0.4
    temperature: float = 1.0
    width: int = 0
    bits: float = 4.0
    steps: int = 0
    batch: int = 128
    learning_rate: float = 0.03
    least_area: float = 1.0
    rotation: int = 0
    flipped: bool = False
    mix: Mix = "mixup"

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        if not 0 < self.share < 1:
            raise ConfigError(f"the share of the network is {self.share}: expected more than 0, less than 1")
        check_temperature(self.temperature)
        if not 0 <= self.width <= WIDEST:
            raise ConfigError(f"the width of the network is {self.width}: expected 0 to {WIDEST}")
        if not 1 <= self.bits <= 16:
            raise ConfigError(f"bits of the network's weights are {self.bits}: expected 1 to 16")
        if self.steps < 0:
            raise ConfigError(f"steps of the network are {self.steps}: expected 0 or more")
        if self.batch < 1:
            raise ConfigError(f"batch of the network is {self.batch}: expected 1 or more")
        if not 0 < self.learning_rate < 1:
            raise ConfigError(f"learning_rate of the network is {self.learning_rate}: expected 0 to 1")
        self.views(0)

    def views(self, seed: int) -> ViewsConfig:
        """The views that the network labels, drawn from ``seed``; they do not come again."""
        return ViewsConfig(UNLIMITED, seed, self.least_area, self.rotation, self.flipped, self.mix)
