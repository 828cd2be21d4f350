"""Measurements of beams: what is stored of them, and what a network sees of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedbits.data.beams.codebook import BEAMS, SIDE

OBSERVED = BEAMS // 2  # beams of each terminal that are measured: a half
ERROR = 0.5  # dB, standard deviation of a measured power
WINDOW = 30.0  # dB below the best observed beam, from which on powers count as alike
SAMPLE_BYTES = 4 * OBSERVED + BEAMS // 8  # of a sample as measured: float32 powers, and a bit which they are
FLOOR = 0.25  # what an observed beam at the end of the window, and beyond, becomes


@dataclass(frozen=True)
class Measurements:
    """Sweeps over all beams by ``n`` terminals of a site.

    Attributes:
        powers: ``[n, BEAMS]`` float32, as measured, in dBm: with the error of measurement.
        observed: ``[n, BEAMS]`` bool, which of them were measured; each row has :data:`OBSERVED`.
        labels: ``[n]`` int64, the beam that is received best, without error.
        line_of_sight, indoor: ``[n]`` bool.
    """

    powers: Tensor
    observed: Tensor
    labels: Tensor
    line_of_sight: Tensor
    indoor: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Measurements:
        """The first ``count`` of them."""
        return Measurements(*(part[:count] for part in self.parts()))

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self.powers, self.observed, self.labels, self.line_of_sight, self.indoor

    @classmethod
    def joined(cls, several: list[Measurements]) -> Measurements:
        return cls(*(torch.cat(parts) for parts in zip(*(one.parts() for one in several), strict=True)))


def measure(powers: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Measured powers, which beams are observed, and labels, of received ``powers`` ``[n, BEAMS]`` in dBm."""
    measured = powers + ERROR * torch.randn(powers.shape, generator=generator)
    rank = torch.rand(powers.shape, generator=generator).argsort(1).argsort(1)
    return measured, rank < OBSERVED, powers.argmax(1)


def inputs(measured: Measurements) -> Tensor:
    """What a network sees: ``[n, 1, SIDE, SIDE]`` float32, rows by elevation, columns by azimuth.

    A beam that was not observed is 0. One that was is 1 if it is the best of those observed, less by the
    share of :data:`WINDOW` that it is fainter, and at least :data:`FLOOR`. Nothing is relative to the best of
    *all* beams: that would tell whether it is among those observed.
    """
    seen = measured.powers.masked_fill(~measured.observed, -torch.inf)
    below = (seen - seen.amax(1, keepdim=True)) / WINDOW
    values = (1 + (1 - FLOOR) * below.clamp(min=-1)).masked_fill(~measured.observed, 0)
    return values.view(-1, 1, SIDE, SIDE)
