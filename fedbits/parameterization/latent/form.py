"""The sizes of latents and networks, and which latents are around which.

The latents of a sample are one row of numbers: grid after grid, coarsest first, each in raster order. This is
the order in which they are coded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Shape = tuple[int, ...]
SynthesisKind = Literal["stacked", "pyramid"]
Upsampling = Literal["dyadic", "learned"]

MOST_GRIDS, MOST_FACTOR, MOST_HIDDEN, MOST_CONVOLUTIONS, MOST_ENTROPY_HIDDEN = 128, 256, 256, 8, 64
UPSAMPLING_BITS = 8  # fractional ones, of kernels
INPUT_BITS = 8  # of what the entropy network sees
_ABOVE = ((0, 0), (-1, 0), (0, -1), (0, 1), (1, 0))  # places of the grid before that are looked at
_PLACE = 4  # inputs that say where in a grid a latent is


@dataclass(frozen=True)
class Context:
    """What predicts a latent.

    Attributes:
        neighbours: causal ones, on the same grid.
        coarser: whether the grid before is looked at.
        hidden, layers: of the entropy network.
        components: of its mixture.
    """

    neighbours: int
    coarser: bool
    hidden: int
    layers: int
    components: int

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Rows and columns from a latent to its nearest causal neighbours."""
        around = [(row, column) for row in range(-4, 1) for column in range(-4, 5) if (row, column) < (0, 0)]
        return sorted(around, key=lambda at: (at[0] ** 2 + at[1] ** 2, at))[: self.neighbours]


@dataclass(frozen=True)
class Form:
    """Sizes of latents and networks.

    Attributes:
        sample: channels, height and width of a sample; a flat one is one row.
        scales: factor of each grid, not ascending.
        group_classes: classes that share networks; ``groups``: how many such groups there are.
        others: see :class:`fedbits.parameterization.latent.config.LatentConfig`.
    """

    sample: tuple[int, int, int]
    scales: tuple[int, ...]
    group_classes: int
    groups: int
    synthesis: SynthesisKind
    hidden: int
    convolutions: int
    upsampling: Upsampling
    class_means: bool
    context: Context

    @cached_property
    def sides(self) -> list[tuple[int, int]]:
        """Rows and columns of each grid."""
        return [self.at(factor) for factor in self.scales]

    def at(self, factor: int) -> tuple[int, int]:
        """Rows and columns at ``factor``, rounded up."""
        return -(-self.sample[1] // factor), -(-self.sample[2] // factor)

    @cached_property
    def sizes(self) -> list[int]:
        """Latents of each grid."""
        return [math.prod(side) for side in self.sides]

    @property
    def starts(self) -> list[int]:
        """Where each grid begins in the row of latents."""
        return [0, *accumulate(self.sizes)][:-1]

    @property
    def latents(self) -> int:
        """Of a sample."""
        return sum(self.sizes)

    @cached_property
    def levels(self) -> list[tuple[int, list[int]]]:
        """Each factor, and the grids that have it."""
        return [(f, [g for g, at in enumerate(self.scales) if at == f]) for f in dict.fromkeys(self.scales)]

    @property
    def factors(self) -> list[int]:
        """Of all levels, and at last that of the samples themselves."""
        return [*(factor for factor, _ in self.levels), 1]

    @property
    def dense(self) -> bool:
        """Whether a pyramid begins with single numbers: a dense layer makes the features of the next.

        Its weights are stored as cosine transforms of what each number adds to each feature.
        """
        return self.synthesis == "pyramid" and self.sides[0] == (1, 1)

    @property
    def kernel(self) -> tuple[int, int]:
        """Sides of convolutions: those of rows have one row."""
        return (1, 3) if self.sample[1] == 1 else (3, 3)

    @cached_property
    def mean_shapes(self) -> list[Shape]:
        """Of the means of the classes of a group, grid by grid."""
        return [(self.group_classes, size) for size in self.sizes] if self.class_means else []

    @cached_property
    def kernel_shapes(self) -> list[Shape]:
        """Of the upsampling kernels that are learned."""
        return [(2 * factor,) for factor in self.scales] if self.upsampling == "learned" else []

    @cached_property
    def layer_shapes(self) -> list[Shape]:
        """Weights and bias of each convolution of the synthesis network, in the order of their use."""
        channels, wide, side = self.sample[0], self.hidden, self.kernel
        weights: list[Shape] = []
        if self.synthesis == "stacked":
            weights += [(wide, len(self.scales), 1, 1), (channels, wide, 1, 1)]
            weights += [(channels, channels, *side)] * self.convolutions
        else:
            before, residual = 0, (wide, wide, *side)
            for place, (_, grids) in enumerate(self.levels):
                if self.dense and not place:
                    weights.append((wide * math.prod(self.at(self.factors[1])), len(grids), 1, 1))
                else:
                    weights.append((wide, before + len(grids), *side))
                weights += [residual] * self.convolutions
                before = wide
            weights.append((channels, wide, *side))
        return [shape for weight in weights for shape in (weight, (weight[0],))]

    @property
    def synthesis_shapes(self) -> list[Shape]:
        """Of all tensors of one group but those of its entropy network."""
        return [*self.mean_shapes, *self.kernel_shapes, *self.layer_shapes]

    @property
    def entropy_widths(self) -> tuple[int, ...]:
        """Of the layers of the entropy network, inputs first."""
        context = self.context
        return self.inputs, *[context.hidden] * context.layers, 3 * context.components

    @cached_property
    def entropy_shapes(self) -> list[Shape]:
        """Weights and bias of each layer of the entropy network."""
        widths = self.entropy_widths
        pairs = zip(widths[1:], widths[:-1], strict=True)
        return [shape for out, into in pairs for shape in ((out, into), (out,))]

    @property
    def inputs(self) -> int:
        """Of the entropy network: neighbours, the grid before, which grid, where in it, the class's mean."""
        around = self.context.neighbours + len(_ABOVE) * self.context.coarser
        return around + len(self.scales) + _PLACE + self.class_means

    @property
    def parameters(self) -> int:
        """Of the networks of all groups."""
        shapes = [*self.synthesis_shapes, *self.entropy_shapes]
        return self.groups * sum(math.prod(shape) for shape in shapes)

    @cached_property
    def around(self) -> Integers:
        """Latents that the entropy network sees, ``[latents, seen]``; :attr:`latents` where there is none."""
        found = []
        for grid, (height, width) in enumerate(self.sides):
            row, column = np.divmod(np.arange(height * width), width)
            seen = [self._place(grid, row + up, column + left) for up, left in self.context.offsets]
            if self.context.coarser:
                up, left = (
                    (2 * at + 1) * self.scales[grid] // (2 * self.scales[max(grid - 1, 0)])
                    for at in (row, column)
                )
                seen += [self._place(grid - 1, up + a, left + b) for a, b in _ABOVE]
            found.append(np.stack(seen, axis=1))
        return np.concatenate(found)

    def _place(self, grid: int, row: Integers, column: Integers) -> Integers:
        if grid < 0:
            return np.full_like(row, self.latents)
        height, width = self.sides[grid]
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        return np.where(inside, self.starts[grid] + row * width + column, self.latents)

    @cached_property
    def places(self) -> Integers:
        """Inputs that are the same for all samples, ``[latents, grids + 4]``, of 8 fractional bits."""
        found = []
        for grid, (height, width) in enumerate(self.sides):
            row, column = np.divmod(np.arange(height * width), width)
            which = np.zeros((len(row), len(self.scales)), np.int64)
            which[:, grid] = 1 << INPUT_BITS
            down, right = (2 * row + 1) * 256 // height, (2 * column + 1) * 256 // width  # up to 2
            where = np.stack([down // 2, right // 2, abs(down - 256), abs(right - 256)], axis=1)
            found.append(np.concatenate([which, where], axis=1))
        return np.concatenate(found)


def bilinear(factor: int) -> Integers:
    """A kernel of ``2 factor`` entries of 8 fractional bits: halves go up."""
    # From the centre of the cell, in half pixels: that of an odd factor is on a pixel.
    distance = abs(2 * np.arange(2 * factor) + (1 - factor % 2) - 2 * factor)
    return ((2 * factor - distance) * (1 << (UPSAMPLING_BITS + 1)) + 2 * factor) // (4 * factor)


Line = tuple[
    Integers, Integers, Integers, Integers
]  # two cells for each pixel, and numbers that belong to them


def line_of_kernel(factor: int, cells: int, size: int) -> Line:
    """The two cells nearest to each of ``size`` pixels, and the entry of a kernel that weighs each.

    Beyond the border, the last cell stands for others.
    """
    pixel = np.arange(size)
    first = (2 * pixel + 1 - factor) // (2 * factor)  # the cell whose centre is at the pixel or before
    entry = pixel - factor * first + (factor + 1) // 2
    return np.clip(first, 0, cells - 1), np.clip(first + 1, 0, cells - 1), entry, entry - factor


def spread(factor: int, cells: int, size: int) -> Integers:
    """Which entry of a kernel weighs which cell: 0 to 2, ``[size, cells, 2 factor]``."""
    table, pixel = np.zeros((size, cells, 2 * factor), np.int64), np.arange(size)
    first, second, one, other = line_of_kernel(factor, cells, size)
    np.add.at(table, (pixel, first, one), 1)
    np.add.at(table, (pixel, second, other), 1)
    return table


def bilinear_line(coarse: int, fine: int, cells: int, size: int) -> Line:
    """The two cells nearest to each of ``size`` pixels, and their weights, of 8 fractional bits."""
    at = (2 * np.arange(size) + 1) * fine - coarse  # where, in units of 1 / (2 coarse) of a cell
    first, rest = np.divmod(at, 2 * coarse)
    share = (rest * (1 << (UPSAMPLING_BITS + 1)) + 2 * coarse) // (4 * coarse)
    cell = np.clip(first, 0, cells - 1), np.clip(first + 1, 0, cells - 1)
    return *cell, (1 << UPSAMPLING_BITS) - share, share


def interpolation(coarse: int, fine: int, cells: int, size: int) -> Integers:
    """Bilinear weights ``[size, cells]``, of 8 fractional bits, from factor ``coarse`` to ``fine``."""
    table, pixel = np.zeros((size, cells), np.int64), np.arange(size)
    first, second, one, other = bilinear_line(coarse, fine, cells, size)
    np.add.at(table, (pixel, first), one)
    np.add.at(table, (pixel, second), other)
    return table
