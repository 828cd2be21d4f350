"""What every quantiser owes the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from fedbits.errors import ConfigError, unknown
from fedbits.quantization.grid import Grid, half

Scope = Literal["channel", "tensor"]
Start = Literal["range", "least_squares"]


@dataclass(frozen=True)
class QuantizerConfig:
    """How values become symbols.

    Attributes:
        name: in :data:`QUANTIZERS`. ``uniform`` (straight-through), ``fsq`` (companded, half noise and half
            hard rounding), ``ddq`` (soft cells), ``apot`` (additive powers of two), ``post`` (not in the
            loop, only afterwards).
        scope: one grid for each ``channel``, or one for the whole ``tensor``.
        tail: share of the values at each end that a range leaves out (``apot``: of magnitudes).
        standardised: of ``apot``: levels follow each channel's mean and deviation (not for tabular data).
        temperature: of ``ddq``: kΔ at the start and at the end; a cell is nearly linear at 1, a stair at 20.
        learning_rate: of what the quantiser learns, as a multiple of that of the samples.
        start: where a uniform grid starts, or is laid in the end (``post``): over the ``range`` of the
            samples, or where its squared error is least (``least_squares``: at few bits, tails are clipped).
        warmup: share of the steps in which samples take shape before they are quantised; the grid is then
            laid anew over what has become of them. (``fsq`` and ``post`` have none.)
    """

    name: str = "uniform"
    scope: Scope = "channel"
    tail: float = 0.001
    standardised: bool = True
    temperature: tuple[float, float] = (2.0, 12.0)
    learning_rate: float = 0.01
    start: Start = "range"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a name is unknown or a value out of range."""
        if self.name not in QUANTIZERS:
            raise ConfigError(unknown("quantizer", self.name, QUANTIZERS))
        if self.scope not in get_args(Scope):
            scopes = " or ".join(get_args(Scope))
            raise ConfigError(f"scope of the quantizer is {self.scope!r}: expected {scopes}")
        if self.start not in get_args(Start):
            starts = " or ".join(get_args(Start))
            raise ConfigError(f"start of the quantizer is {self.start!r}: expected {starts}")
        if not 0 <= self.tail < 0.5:
            raise ConfigError(f"tail of the quantizer is {self.tail}: expected at least 0 and less than 0.5")
        if not 0 <= self.warmup < 1:
            raise ConfigError(
                f"warmup of the quantizer is {self.warmup}: expected at least 0 and less than 1"
            )
        if len(self.temperature) != 2 or not all(0 < kd < float("inf") for kd in self.temperature):
            raise ConfigError(f"temperature of the quantizer is {self.temperature}: expected two above 0")
        if self.learning_rate < 0:
            raise ConfigError(f"learning rate of the quantizer is {self.learning_rate}: expected 0 or more")


@dataclass(frozen=True)
class Moment:
    """Where a run is: step ``step`` of ``steps``, in the random streams of ``seed``."""

    step: int
    steps: int
    seed: int

    @property
    def progress(self) -> float:
        """The share of the run that is over, in [0, 1]."""
        return min(1.0, self.step / max(1, self.steps - 1))


def round_straight_through(values: Tensor) -> Tensor:
    """Rounded in the forward pass, the identity in the backward pass."""
    return values.detach().round() + (values - values.detach())


def half_straight_through(values: Tensor) -> Tensor:
    """``values`` as float16 has them; the identity in the backward pass."""
    return half(values).to(values.dtype) + (values - values.detach())


class Quantizer(nn.Module, ABC):
    """Maps ``[n, channels, ...]`` to at most 2^``bits`` values, with a surrogate gradient.

    What a receiver needs is its :class:`Grid`; everything else lives in training only.
    """

    in_loop = True  # whether training sees quantised values

    @property
    def priced(self) -> bool:
        """Whether training may weigh the bits that values take, or would take if they were quantised now."""
        return self.in_loop

    def __init__(self, bits: int) -> None:
        super().__init__()
        if not 1 <= bits <= 8:
            raise ConfigError(f"a quantizer of {bits} bits: expected 1 to 8")
        self.bits = bits

    @property
    def levels(self) -> int:
        return 1 << self.bits

    @abstractmethod
    def grid(self) -> Grid:
        """The levels as they stand."""

    @abstractmethod
    def forward(self, values: Tensor) -> Tensor:
        """What training sees of ``values``: their levels, or a relaxation of them."""

    @abstractmethod
    def position(self, values: Tensor) -> Tensor:
        """Where ``values`` lie between the levels, in [0, levels-1]; rounding it gives the symbols."""

    def begin(self, moment: Moment, values: Tensor) -> None:
        """Look at all ``values`` before a training step: statistics, temperatures, noise."""

    def settle(self, values: Tensor) -> None:
        """Look at the final ``values`` once, when training is over."""

    def stored(self, samples: Tensor) -> Tensor:
        """Values that stand for ``samples``: the samples themselves, unless the quantiser compands."""
        return samples

    def penalty(self, values: Tensor) -> Tensor:
        """Squared distance between ``values`` and what training sees of them (BCDC §3.2), summed.

        What training sees is a constant to the gradient, so that values move towards it. (BCDC differentiates
        its smooth Q_V as well. But Q_V is the identity in the middle of a cell, too, and so the middle is a
        minimum of the distance: that gradient draws values in the inner quarter of a cell, or more while it
        is cool, to where they are furthest from any level.)
        """
        return (values - self(values).detach()).square().sum()

    def symbols(self, values: Tensor) -> Tensor:
        """Integer symbols in [0, levels-1] of ``values``."""
        with torch.no_grad():
            return self.position(values).round().long()


class FixedQuantizer(Quantizer):
    """A received grid, which learns nothing; straight-through."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid.bits)
        self._grid = grid

    def grid(self) -> Grid:
        return self._grid

    def forward(self, values: Tensor) -> Tensor:
        levels = self._grid.lookup(self._grid.symbols(values)).to(values.dtype)
        return levels + (values - values.detach())

    def position(self, values: Tensor) -> Tensor:
        return self._grid.position(values)

    def symbols(self, values: Tensor) -> Tensor:
        return self._grid.symbols(values)


# By the name that recipes give them; each is fitted to samples ``[n, channels, ...]`` as they will be stored.
QUANTIZERS: dict[str, Callable[[int, Tensor, QuantizerConfig], Quantizer]] = {}
