"""What a receiver knows of a quantiser: the value of every symbol, exactly."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from fedbits.errors import CorruptError
from fedbits.quantization.powers import additive_powers

SMALLEST_STEP = 2.0**-14  # the smallest normal float16
_SMALLEST_RATIO = 2.0**-18  # of step to origin: below it, float32 values could no longer be told apart
_LARGEST_HALF = 65504.0


def half(values: Tensor) -> Tensor:
    """As side information travels: float16, or the float16 that comes nearest to what is beyond its range."""
    return values.detach().clamp(-_LARGEST_HALF, _LARGEST_HALF).to(torch.float16)


def smallest_step(origin: Tensor) -> Tensor:
    """The least step that a grid with these ``origin`` may have."""
    return (origin.detach().abs() * _SMALLEST_RATIO).clamp(min=SMALLEST_STEP)


def _even(bits: int) -> tuple[int, ...]:
    return tuple(range(1 << bits))


# How levels are spaced, in steps from the origin. Numbers are part of the wire format.
SPACINGS: dict[int, tuple[str, Callable[[int], tuple[int, ...]]]] = {
    0: ("uniform", _even),
    1: ("powers", additive_powers),
}
UNIFORM, POWERS = 0, 1


@cache
def multiples(spacing: int, bits: int) -> Tensor:
    """Float64 ``[2^bits]``, ascending integers: symbol s stands for ``origin + step · multiples[s]``."""
    return torch.tensor(SPACINGS[spacing][1](bits), dtype=torch.float64)


@cache
def _cells(spacing: int, bits: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Tables that find levels without a search, which takes ten times as long: each step of training does.

    Of the different :func:`multiples` they are ``[levels]`` themselves; then, for each step ``[cells]`` from
    the lowest level to the highest: the position of the level at or below it, that level, and the inverse of
    the gap to the next.
    """
    levels = multiples(spacing, bits).unique_consecutive()
    steps = torch.arange(float(levels[0]), float(levels[-1]) + 1, dtype=torch.float64)
    below = torch.bucketize(steps, levels, right=True) - 1
    gaps = torch.cat([levels.diff(), torch.ones(1, dtype=torch.float64)])
    tables = (levels, below.double(), levels[below], 1 / gaps[below])
    return tuple(table.to(device, dtype) for table in tables)


def _taken(table: Tensor, index: Tensor) -> Tensor:
    return table.index_select(0, index.flatten()).view(index.shape)


class Grid:
    """``origin + step · m(symbol)``, one (origin, step) for all values, or one for each channel.

    Both are float16, m an integer below 2¹⁰: every level is a multiple of 2⁻²⁴ below 2²⁷, so sums of levels
    with dyadic weights are exact in float64, and every machine decodes the same samples.
    """

    def __init__(self, bits: int, origin: Tensor, step: Tensor, spacing: int = UNIFORM) -> None:
        """``origin`` and ``step`` ``[1]`` or ``[channels]``, rounded to float16 here; steps are positive."""
        self.bits, self.spacing = bits, spacing
        self.origin = half(origin)
        self.step = half(torch.maximum(step.detach(), smallest_step(origin)))

    @property
    def levels(self) -> int:
        return 1 << self.bits

    def _columns(self, like: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        shape = (1, -1) + (1,) * (like.dim() - 2)
        origin, step = (side.to(like.device, dtype).view(shape) for side in (self.origin, self.step))
        return origin, step

    def lookup(self, symbols: Tensor) -> Tensor:
        """Exact float64 values of integer ``symbols`` ``[n, channels, ...]``."""
        origin, step = self._columns(symbols, torch.float64)
        if self.spacing == UNIFORM:
            return origin + step * symbols.double()
        return origin + step * multiples(self.spacing, self.bits).to(symbols.device)[symbols.long()]

    def position(self, values: Tensor) -> Tensor:
        """Where ``values`` ``[n, channels, ...]`` lie between the levels, in [0, levels-1]."""
        origin, step = self._columns(values, torch.float32)
        return between((values - origin) / step, self.spacing, self.bits)

    def symbols(self, values: Tensor) -> Tensor:
        """Integer symbols in [0, levels-1] of the levels nearest to ``values`` ``[n, channels, ...]``."""
        with torch.no_grad():
            return self.position(values).round().long()

    def side_information(self) -> bytes:
        """float16 pairs (origin, step)."""
        return torch.stack([self.origin, self.step], dim=1).cpu().numpy().astype("<f2").tobytes()

    @classmethod
    def from_side_information(cls, bits: int, side: bytes, channels: int, spacing: int = UNIFORM) -> Grid:
        """The inverse of :meth:`side_information`.

        Raises:
            CorruptError: neither one nor ``channels`` finite pairs with positive steps, an unknown spacing,
                or bits outside 1..8.
        """
        if not 1 <= bits <= 8 or len(side) not in (4, 4 * channels) or spacing not in SPACINGS:
            raise CorruptError(
                f"a grid of {bits} bits, spacing {spacing} and {len(side)} bytes does not fit {channels} "
                "channels"
            )
        stored = np.frombuffer(side, dtype="<f2").reshape(-1, 2)
        pairs = torch.from_numpy(np.where(np.isfinite(stored), stored, 0).astype(np.float32))
        origin, step = pairs[:, 0], pairs[:, 1]
        if not np.isfinite(stored).all() or bool((step < smallest_step(origin)).any()):
            raise CorruptError("the quantisation grid is not finite with steps of a usable size")
        return cls(bits, origin, step, spacing)


def between(steps: Tensor, spacing: int, bits: int) -> Tensor:
    """Where values, in ``steps`` from the origin, lie between the levels: in symbols, piecewise linear.

    Rounding gives the symbol of the nearest level. Differentiable.
    """
    if spacing == UNIFORM:
        return steps.clamp(0, (1 << bits) - 1)
    _, below, low, inverse = _cells(spacing, bits, steps.device, steps.dtype)
    first, *_, last = SPACINGS[spacing][1](bits)
    steps = steps.clamp(first, last)
    cell = (steps.detach() - first).int().clamp(0, last - first)  # clamped again: of NaN, any integer is made
    return _taken(below, cell) + (steps - _taken(low, cell)) * _taken(inverse, cell)


def nearest(steps: Tensor, spacing: int, bits: int) -> Tensor:
    """The multiples of the step that are nearest to values, in ``steps`` from the origin; no gradient."""
    with torch.no_grad():
        position = between(steps, spacing, bits).round()
        if spacing == UNIFORM:
            return position
        levels = _cells(spacing, bits, steps.device, steps.dtype)[0]
        return _taken(levels, position.int().clamp(0, len(levels) - 1))
