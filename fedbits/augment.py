"""Differentiable siamese augmentation (Zhao & Bilen, DSA, ICML 2021), one batch at a time.

One operation is drawn per call, of those named in :data:`OPERATIONS`; its strength is drawn per group of
samples. In matching, a group is a class, and real and synthetic samples of it share the draw; in training,
each sample is its own group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")


@dataclass(frozen=True)
class Strengths:
    """The published strengths of the operations."""

    flip: float = 0.5  # probability
    scale: float = 1.2  # factor drawn from [1/scale, scale]
    rotate: float = 15.0  # degrees, either way
    crop: float = 0.125  # padding, as a share of the side
    cutout: float = 0.5  # side of the hole, as a share of the side
    brightness: float = 1.0
    saturation: float = 2.0
    contrast: float = 0.5


STRENGTHS = Strengths()


@dataclass(frozen=True)
class Draw:
    """One operation and, for each group, six numbers uniform in [0, 1) from which its strength follows."""

    operation: str
    uniform: Tensor  # [groups, 6]

    def of(self, groups: Tensor) -> Draw:
        """The draw of each sample, ``groups`` ``[n]`` naming the group it belongs to."""
        return Draw(self.operation, self.uniform[groups])


def draw(groups: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Draw:
    """An operation and the numbers for ``groups`` groups."""
    choice = int(torch.randint(len(OPERATIONS), (1,), generator=generator))
    return Draw(OPERATIONS[choice], torch.rand(groups, 6, generator=generator).to(device))


def augment(samples: Tensor, drawn: Draw, strengths: Strengths = STRENGTHS) -> Tensor:
    """``[n, channels, height, width]`` augmented, differentiably; others come back as they are."""
    if samples.dim() != 4:
        return samples
    return _APPLY[drawn.operation](samples, drawn.uniform, strengths)


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _color(x: Tensor, u: Tensor, s: Strengths) -> Tensor:
    x = x + _column((u[:, 0] - 0.5) * s.brightness)
    if x.shape[1] > 1:  # a grey image has no saturation
        grey = x.mean(dim=1, keepdim=True)
        x = (x - grey) * _column(u[:, 1] * s.saturation) + grey
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - mean) * _column(u[:, 2] + s.contrast) + mean


def _shift(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Move each sample by whole pixels, filling with zeros (the mean, in normalised samples)."""
    n, _, height, width = x.shape
    reach = int(max(rows.abs().max().item(), columns.abs().max().item())) if n else 0
    padded = F.pad(x, [reach] * 4)
    row_index = torch.arange(height, device=x.device).view(1, -1, 1) + (rows + reach).view(-1, 1, 1)
    column_index = torch.arange(width, device=x.device).view(1, 1, -1) + (columns + reach).view(-1, 1, 1)
    sample = torch.arange(n, device=x.device).view(-1, 1, 1)
    return padded.permute(0, 2, 3, 1)[sample, row_index, column_index].permute(0, 3, 1, 2)


def _crop(x: Tensor, u: Tensor, s: Strengths) -> Tensor:
    reach = [int(side * s.crop + 0.5) for side in x.shape[2:]]
    moves = [torch.floor(u[:, i] * (2 * reach[i] + 1)).long() - reach[i] for i in (0, 1)]
    return _shift(x, moves[0], moves[1])


def _cutout(x: Tensor, u: Tensor, s: Strengths) -> Tensor:
    inside = []
    for axis in (0, 1):
        side = x.shape[2 + axis]
        hole = int(side * s.cutout + 0.5)
        start = torch.floor(u[:, axis] * (side + (1 - hole % 2))).long() - hole // 2
        position = torch.arange(side, device=x.device).view(1, -1)
        inside.append((position >= start.view(-1, 1)) & (position < (start + hole).view(-1, 1)))
    hole_mask = inside[0].view(len(x), 1, -1, 1) & inside[1].view(len(x), 1, 1, -1)
    return x.masked_fill(hole_mask, 0.0)


def _flip(x: Tensor, u: Tensor, s: Strengths) -> Tensor:
    return torch.where(_column(u[:, 0] < s.flip), x.flip(3), x)


def _warp(x: Tensor, theta: Tensor) -> Tensor:
    grid = F.affine_grid(theta.to(x.dtype), list(x.shape), align_corners=True)
    return F.grid_sample(x, grid, align_corners=True)


def _scale(x: Tensor, u: Tensor, s: Strengths) -> Tensor:
    factors = u[:, :2] * (s.scale - 1 / s.scale) + 1 / s.scale
    zero = torch.zeros_like(factors[:, 0])
    rows = [torch.stack([factors[:, 0], zero, zero], 1), torch.stack([zero, factors[:, 1], zero], 1)]
    return _warp(x, torch.stack(rows, 1))


def _rotate(x: Tensor, u: Tensor, s: Strengths) -> Tensor:
    angle = (u[:, 0] - 0.5) * 2 * s.rotate / 180 * math.pi
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    return _warp(x, torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1))


_APPLY = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}
