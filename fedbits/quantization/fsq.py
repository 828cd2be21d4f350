"""The companded uniform quantiser of QuADD (Eq. 13 and Appendix A), after finite scalar quantisation."""

from __future__ import annotations

import torch
from torch import Tensor

from fedbits.quantization.base import Moment, round_straight_through
from fedbits.quantization.uniform import UniformQuantizer
from fedbits.rng import torch_stream

_FURTHEST = (
    0.99  # of tanh, at the start: nearer to ±1 its slope, and with it the gradient, is next to nothing
)


def companded(values: Tensor, low: Tensor, step: Tensor, levels: int) -> Tensor:
    """Where the tanh of ``values`` lies between the levels, in (0, levels-1): 0 is at ``low``.

    tanh is centred and scaled so that its range (-1, 1) is that of the grid and its slope at the centre is 1:
    there, values are in the units of samples.
    """
    half_width = step * ((levels - 1) / 2)
    return ((values - (low + half_width)) / half_width).tanh().add(1) * ((levels - 1) / 2)


class FsqQuantizer(UniformQuantizer):
    """Levels evenly spaced over the range of a scaled tanh: nothing is clipped, so no gradient is cut off.

    Training rounds hard, straight-through, on about half of the steps; on the others it adds noise that is
    uniform over one step instead. Which, and the noise, follow from the run's seed and the step alone.

    Shape: values ``[n, channels, ...]`` are what tanh is taken of, not samples; :meth:`stored` converts.
    """

    _noisy: Moment | None = None  # of the step that is under way, where it is one with noise

    def begin(self, moment: Moment, values: Tensor) -> None:
        coin = torch.rand(1, generator=torch_stream(moment.seed, "rounding", moment.step))
        self._noisy = moment if float(coin) < 0.5 else None

    def settle(self, values: Tensor) -> None:
        self._noisy = None

    def stored(self, samples: Tensor) -> Tensor:
        """The inverse of tanh, of ``samples`` clipped to where they would still round to the last level.

        (But not beyond 0.99 of the range: of 7 and 8 bits the outermost level then starts half empty.)
        """
        with torch.no_grad():
            low, step = self._columns(samples)
            half_width = step * ((self.levels - 1) / 2)
            centre = low + half_width
            furthest = min(1 - 0.5 / (self.levels - 1), _FURTHEST)
            return centre + half_width * ((samples - centre) / half_width).clamp(-furthest, furthest).atanh()

    def penalty(self, values: Tensor) -> Tensor:
        """As :meth:`Quantizer.penalty`, of companded values; the size of a step is a constant."""
        low, step = (side.detach() for side in self._columns(values))
        position = self._between(values, low, step)
        return (step * (position - position.detach().round())).square().sum()

    def _between(self, values: Tensor, low: Tensor, step: Tensor) -> Tensor:
        return companded(values, low, step, self.levels)

    def _seen(self, position: Tensor) -> Tensor:
        if self._noisy is None:
            return round_straight_through(position)
        return position + self._noise(position, self._noisy)

    def _noise(self, like: Tensor, moment: Moment) -> Tensor:
        """Uniform in [-½, ½) steps, u/(L-1) in the units of tanh; the same for all that a step asks for."""
        generator = torch_stream(moment.seed, "noise", moment.step, device=like.device)
        return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device) - 0.5
