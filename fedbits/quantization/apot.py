"""Adaptive additive powers of two (QuADD Eq. 9 and Appendix B; Li et al., ICLR 2020), clipping learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedbits.quantization.base import Moment, Quantizer, QuantizerConfig, half_straight_through
from fedbits.quantization.grid import POWERS, SMALLEST_STEP, Grid, between, multiples, nearest, smallest_step
from fedbits.quantization.uniform import by_channel, clipped, column

_LARGEST = 65504.0  # of float16
_TAILS = (
    0.003,
    0.01,
    0.03,
    0.1,
    0.2,
    0.3,
    0.4,
    0.5,
)  # shares of magnitudes that α may leave out at the start
_MOST = 1 << 15  # values of each grid that the choice looks at


def first_alpha(rows: Tensor, bits: int, tail: float) -> Tensor:
    """α ``[groups]`` for ``rows`` ``[groups, n]`` of values around 0: a percentile of their magnitudes.

    It leaves out a share ``tail``, or a larger one where that means less squared error: with three levels, or
    with values far from a bell's shape, most would otherwise round to 0, and α moves too little in a run to
    make up for it. At one bit, where nothing is between -α and α, the mean magnitude is best.
    """
    rows = rows[:, :: -(-rows.shape[1] // _MOST)]
    if bits == 1:
        return rows.abs().mean(1)
    ordered, largest = rows.abs().sort(dim=1).values, float(multiples(POWERS, bits)[-1])
    best, least = ordered[:, -1], torch.full_like(rows[:, 0], torch.inf)
    for share in (tail, *(wider for wider in _TAILS if wider > tail)):
        alpha = ordered[:, -1 - int(share * (rows.shape[1] - 1))].clamp(min=SMALLEST_STEP)
        step = alpha[:, None] / largest
        error = (step * nearest(rows / step, POWERS, bits) - rows).square().mean(1)
        better = error < least
        best, least = torch.where(better, alpha, best), torch.where(better, error, least)
    return best


class ApotQuantizer(Quantizer):
    """``mean + deviation · α · Π(clip((x - mean) / (deviation · α), -1, 1))``, levels dense around the mean.

    Reparameterised clipping: α receives sign(x) from values outside the range and Π(x/α) - x/α from those
    inside, so every value trains it; it is learned as its logarithm, hence positive. A value outside receives
    its gradient only where that leads it back inside (:func:`clipped`).

    Standardised, each channel has the mean and deviation of all its stored values, which are looked up before
    every step and count as constants in the backward pass; otherwise they are 0 and 1. Both travel within the
    grid: its origin is the mean, its step deviation · α over the largest multiple.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, bits: int, samples: Tensor, config: QuantizerConfig) -> None:
        """Fitted to ``samples`` ``[n, channels, ...]``; α starts by :func:`first_alpha`."""
        super().__init__(bits)
        self._largest = float(multiples(POWERS, bits)[-1])
        self._standardised = config.standardised
        groups = samples.shape[1] if config.standardised or config.scope == "channel" else 1
        self.register_buffer("mean", torch.zeros(groups))
        self.register_buffer("deviation", torch.ones(groups))
        self._look_at(samples)
        standard = (samples - column(self.mean, samples)) / column(self.deviation, samples)
        alpha = first_alpha(by_channel(standard, config), bits, config.tail)
        self.log_alpha = nn.Parameter(alpha.float().clamp(SMALLEST_STEP, _LARGEST).log())

    @property
    def alpha(self) -> Tensor:
        """Where clipping begins, in deviations from the mean."""
        return self.log_alpha.exp()

    @property
    def step(self) -> Tensor:
        return self.deviation * self.alpha / self._largest

    def begin(self, moment: Moment, values: Tensor) -> None:
        self._look_at(values)

    def settle(self, values: Tensor) -> None:
        self._look_at(values)

    def _look_at(self, values: Tensor) -> None:
        if not self._standardised:
            return
        dims = [dim for dim in range(values.dim()) if dim != 1]
        variance, mean = torch.var_mean(values.detach(), dims, correction=0)
        self.mean.copy_(mean.clamp(-_LARGEST, _LARGEST))
        self.deviation.copy_(variance.sqrt().clamp(SMALLEST_STEP, _LARGEST))

    def grid(self) -> Grid:
        return Grid(self.bits, self.mean, self.step, POWERS)

    def _columns(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The grid as the receiver has it, the identity in the backward pass."""
        step = half_straight_through(torch.maximum(self.step, smallest_step(self.mean)))
        return column(half_straight_through(self.mean), like), column(step, like)

    def position(self, values: Tensor) -> Tensor:
        origin, step = self._columns(values)
        return between((values - origin) / step, POWERS, self.bits)

    def forward(self, values: Tensor) -> Tensor:
        origin, step = self._columns(values)
        inside = clipped(values, origin, step, -self._largest, self._largest)
        levels = nearest(inside, POWERS, self.bits)
        return origin + step * (levels + (inside - inside.detach()))
