"""The codebook: one beam for each direction of a grid, azimuth × elevation, the same at every site."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SIDE = 8  # elements, and beams, in a row and in a column
BEAMS = SIDE * SIDE
# Direction cosines of the beams. In azimuth they are the DFT's own, a beam's width apart; in elevation half
# as far apart (a DFT oversampled twice): panels are tilted to where terminals are, and no beam is wasted on
# pairs of cosines that are no direction.
AZIMUTHS = tuple((column - (SIDE - 1) / 2) * 2 / SIDE for column in range(SIDE))
ELEVATIONS = tuple((row - (SIDE - 1) / 2) / SIDE for row in range(SIDE))


def codebook(positions: Tensor) -> Tensor:
    """Weights of every beam, complex64 ``[BEAMS, elements]``, of unit power.

    Beam ``row * SIDE + column`` looks where the panel's elevation has the sine ``ELEVATIONS[row]`` and the
    azimuth the direction cosine ``AZIMUTHS[column]``: rows go up, columns to the panel's left.

    Args:
        positions: of the elements, in wavelengths, ``[elements, 3]``; the panel is in the y-z plane.
    """
    rows = torch.tensor(ELEVATIONS, dtype=torch.float64).repeat_interleave(SIDE)
    columns = torch.tensor(AZIMUTHS, dtype=torch.float64).repeat(SIDE)
    y, z = positions[:, 1].double(), positions[:, 2].double()
    phase = -2 * math.pi * (torch.outer(columns, y) + torch.outer(rows, z))
    return torch.polar(torch.full_like(phase, len(positions) ** -0.5), phase).to(torch.complex64)
