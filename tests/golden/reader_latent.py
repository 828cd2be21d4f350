"""Section 7.9 of docs/format.md, for the independent reader: latents, their prediction, and their synthesis.

Part of reader.py, and like it written from the document alone. Sums are Python's integers: none overflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from golden.reader_epitome import batches, clipped, shift, weights_work
from golden.reader_network import V, Y, Z
from golden.reader_range import Array, RangeDecoder, left_cumulatives, require
from golden.reader_weights import Weights

Grid = list[list[int]]
Maps = list[Grid]  # channels, rows, columns
Shapes = list[tuple[int, ...]]
Tensor = tuple[Any, int]  # lists of integers, and how many fractional bits they have
Untransformed = Callable[[Array], Array]

NEAR = [  # down and right, of the same grid
    *((-1, 0), (0, -1), (-1, -1), (-1, 1), (-2, 0), (0, -2), (-2, -1), (-2, 1)),
    *((-1, -2), (-1, 2), (-2, -2), (-2, 2), (-3, 0), (0, -3), (-3, -1), (-3, 1)),
    *((-1, -3), (-1, 3), (-3, -2), (-3, 2), (-2, -3), (-2, 3), (-4, 0), (0, -4)),
]
BEFORE = [(0, 0), (-1, 0), (0, -1), (0, 1), (1, 0)]  # of the grid before
PART = 2**13


@dataclass
class Latent:
    """What the message declares, by its names in the document; ``sample``: C, Y, X."""

    scales: list[int]
    numbers: int
    group_classes: int
    synthesis: int
    d: int
    r: int
    without_means: bool
    context: int
    without_coarser: bool
    b: int
    layers: int
    k: int
    reach: int
    sample: tuple[int, int, int]
    classes: int

    def check(self) -> None:
        grids = self.numbers + len(self.scales)
        ranges = ((grids, 1, 128), (self.group_classes, 0, self.classes), (self.synthesis, 0, 2))
        ranges += ((self.d, 1, 256), (self.r, 0, 8), (self.b, 1, 64), (self.layers, 1, 2), (self.k, 1, 4))
        ranges += ((self.reach, 1, 127), *((factor, 1, 256) for factor in self.scales))
        require(all(least <= value <= most for value, least, most in ranges), "no such latents")
        require(self.context in (8, 12, 24), "no such context")
        require(all(a >= b for a, b in pairwise(self.scales)), "a grid before a coarser one")
        require(not self.dense or max(self.at(self.phi[1])) <= 256, "a dense layer of large maps")

    @cached_property
    def factors(self) -> list[int]:
        """f of each grid."""
        return [max(self.sample[1:])] * self.numbers + self.scales

    def at(self, factor: int) -> tuple[int, int]:
        return -(-self.sample[1] // factor), -(-self.sample[2] // factor)

    @cached_property
    def sides(self) -> list[tuple[int, int]]:
        return [self.at(factor) for factor in self.factors]

    @cached_property
    def starts(self) -> list[int]:
        """Where grids start among the latents, and at last N."""
        return [0, *accumulate(h * w for h, w in self.sides)]

    @property
    def together(self) -> int:
        return self.group_classes or self.classes

    @property
    def groups(self) -> int:
        return -(-self.classes // self.together)

    @cached_property
    def phi(self) -> list[int]:
        """The factor of each level, and 1."""
        return [*dict.fromkeys(self.factors), 1]

    def of_level(self, m: int) -> list[int]:
        return [g for g, factor in enumerate(self.factors) if factor == self.phi[m]]

    @property
    def dense(self) -> bool:
        return self.synthesis == 0 and self.sides[0] == (1, 1)

    @cached_property
    def weight_shapes(self) -> list[tuple[tuple[int, ...], int]]:
        """Of each layer, and the factor of the grid that it works on."""
        c, side = self.sample[0], ((1, 3) if self.sample[1] == 1 else (3, 3))
        if self.synthesis:
            ones: list[tuple[int, ...]] = [(self.d, len(self.factors), 1, 1), (c, self.d, 1, 1)]
            return [(shape, 1) for shape in [*ones, *[(c, c, *side)] * self.r]]
        found: list[tuple[tuple[int, ...], int]] = []
        for m, phi in enumerate(self.phi[:-1]):
            if self.dense and m == 0:
                found.append(((self.d * math.prod(self.at(self.phi[1])), len(self.of_level(0)), 1, 1), phi))
                phi = self.phi[1]
            else:
                found.append(((self.d, len(self.of_level(m)) + (self.d if m else 0), *side), phi))
            found += [((self.d, self.d, *side), phi)] * self.r
        return [*found, ((c, self.d, *side), 1)]

    @cached_property
    def synthesis_shapes(self) -> Shapes:
        """Of the tensors of one group."""
        means = [] if self.without_means else [(self.together, h * w) for h, w in self.sides]
        kernels = [(2 * factor,) for factor in self.factors] if self.synthesis == 2 else []
        return [*means, *kernels, *(one for shape, _ in self.weight_shapes for one in (shape, shape[:1]))]

    @cached_property
    def widths(self) -> list[int]:
        """Of the entropy network's layers; the first is I."""
        inputs = (
            self.context + 5 * (not self.without_coarser) + len(self.factors) + 4 + (not self.without_means)
        )
        return [inputs, *[self.b] * self.layers, 3 * self.k]

    @cached_property
    def entropy_shapes(self) -> Shapes:
        return [shape for into, out in pairwise(self.widths) for shape in ((out, into), (out,))]

    @property
    def parameters(self) -> int:
        return self.groups * sum(math.prod(shape) for shape in self.synthesis_shapes + self.entropy_shapes)

    def work(self, n: int, streams: int = 0, zeros: bool = True) -> int:
        """Section 8; ``streams``: of how many there are, if each is of a class.

        Without ``zeros``: what section 9 limits.
        """
        levels, numbers, parts = min(2 * self.reach + 1, 32), self.starts[-1], n // PART
        runs = streams or min(self.groups, n)
        found = numbers * ((3000 + 200 * levels) * ((streams or 1) + parts) + 2000 * (runs + parts))
        products = sum(a * b for a, b in pairwise(self.widths))
        found += n * numbers * (30 + levels + sum(self.widths) // 4 + products // 64)
        for (out, into, *side), factor in self.weight_shapes:
            each = 1 + out * into * math.prod(side) // 64 + 2 * into + out
            found += n * math.prod(self.at(factor)) * each
        sizes = [math.prod(shape) for shape in self.synthesis_shapes + self.entropy_shapes]
        tensors = sum(250 * (2 + batches(m)) + 2 * m if zeros else weights_work(m) for m in sizes)
        if self.dense:
            high, wide = self.at(self.phi[1])
            tensors += self.d * high * wide * (1 + len(self.of_level(0))) * (1 + (high + wide) // 64)
        return found + self.groups * tensors

    def memory(self, n: int) -> int:
        """Section 9: the numbers that come on top of what n samples take."""
        c, y, x = self.sample
        if self.synthesis:
            most = y * x * max(self.d, len(self.factors), 9 * c)
        else:
            levels = [(m, math.prod(self.at(phi))) for m, phi in enumerate(self.phi[:-1])]
            most = max([9 * (self.d + len(self.of_level(m))) * size for m, size in levels])
            most = max(most, 9 * self.d * y * x)
            if self.dense:
                most = max(most, self.d * math.prod(self.at(self.phi[1])) + len(self.of_level(0)))
        batch = min(n, PART) * (2 * max(self.widths) + 4 * self.widths[0] + 150)
        static = self.starts[-1] * (self.widths[0] + 2 * self.together * self.groups)
        return 8 * self.parameters + max(12 * most, min(12 * 2**18, 12 * most * n)) + batch + static


@dataclass
class Group:
    """The tensors of one group of classes: lists of integers, and fractional bits."""

    means: list[Tensor]
    kernels: list[Tensor]
    layers: list[tuple[Tensor, Tensor]]
    entropy: list[tuple[Any, Any]]


def read_groups(form: Latent, synthesis: bytes, entropy: bytes, untransformed: Untransformed) -> list[Group]:
    made, expected = _tensors(synthesis), _tensors(entropy)
    found = []
    for _ in range(form.groups):
        tensors = [made(shape) for shape in form.synthesis_shapes]
        for values, _ in tensors:
            require(int(abs(values).max()) <= 2**23, "a number that is too large")
        first = 0 if form.without_means else len(form.factors)
        second = first + (len(form.factors) if form.synthesis == 2 else 0)
        layers = tensors[second:]
        if form.dense:
            layers[:2] = [_as_places(form, tensor, untransformed) for tensor in layers[:2]]
        for values, _ in layers[::2]:
            rows = abs(values).reshape(len(values), -1).sum(axis=1)
            require(int(rows.max()) < 2**28, "weights that are too large")
        plain = [(values.tolist(), p) for values, p in [*tensors[:second], *layers]]
        pairs = list(zip(plain[second::2], plain[second + 1 :: 2], strict=True))
        found.append(Group(plain[:first], plain[first:second], pairs, []))
    for group in found:
        group.entropy = _entropy([expected(shape) for shape in form.entropy_shapes])
    return found


def _tensors(stream: bytes) -> Callable[[tuple[int, ...]], tuple[Array, int]]:
    reader = Weights(RangeDecoder(stream).decode, left_cumulatives)

    def one(shape: tuple[int, ...]) -> tuple[Array, int]:
        values, f = reader.tensor(shape)
        return values, f - 16

    return one


def _entropy(tensors: list[tuple[Array, int]]) -> list[tuple[Any, Any]]:
    """6.22: in the units of 6.18."""
    found = []
    for place, (values, p) in enumerate(tensors):
        most, largest = (10, 2**15 - 1) if place % 2 == 0 else (18, 2**31 - 1)
        require(0 <= p <= most, "a network of another precision")
        exact = [[int(v) * 2 ** (most - p) for v in row] for row in np.atleast_2d(values).tolist()]
        require(all(abs(v) <= largest for row in exact for v in row), "a network of too large numbers")
        found.append(exact if place % 2 == 0 else exact[0])
    return list(zip(found[::2], found[1::2], strict=True))


def _as_places(form: Latent, tensor: tuple[Array, int], untransformed: Untransformed) -> tuple[Array, int]:
    values, p = tensor
    high, wide = form.at(form.phi[1])
    images = values.reshape(form.d, high, wide, -1).astype(np.float64) * 2.0**-p
    places = untransformed(images.transpose(3, 0, 1, 2)) * 2**12
    return places.astype(np.int64).transpose(1, 2, 3, 0).reshape(values.shape), 12


# --- Prediction ---------------------------------------------------------------------------------------------


def read_latents(form: Latent, groups: list[Group], stream: bytes, labels: list[int]) -> list[list[int]]:
    """Latents of samples of classes ``labels``, from a stream."""
    decoder, n = RangeDecoder(stream), len(labels)
    known: list[list[int]] = [[] for _ in labels]
    places = [(g, *divmod(at, w)) for g, (h, w) in enumerate(form.sides) for at in range(h * w)]
    for place in places:
        for start in range(0, n, PART):
            some = range(start, min(n, start + PART))
            mixtures = [
                _expected(form, groups[labels[i] // form.together], known[i], place, labels[i]) for i in some
            ]
            for i, x in zip(some, _symbols(decoder, mixtures, 2 * form.reach + 1), strict=True):
                known[i].append(x - form.reach)
    return known


def _inputs(
    form: Latent, group: Group, known: list[int], place: tuple[int, int, int], label: int
) -> list[int]:
    g, row, column = place
    (h, w), f, starts = form.sides[g], form.factors, form.starts

    def latent(grid: int, y: int, x: int) -> int:
        if grid < 0 or not (0 <= y < form.sides[grid][0] and 0 <= x < form.sides[grid][1]):
            return 0
        return known[starts[grid] + y * form.sides[grid][1] + x]

    found = [256 * latent(g, row + down, column + right) for down, right in NEAR[: form.context]]
    if not form.without_coarser:
        y, x = ((2 * at + 1) * f[g] // (2 * f[max(0, g - 1)]) for at in (row, column))
        found += [256 * latent(g - 1, y + down, x + right) for down, right in BEFORE]
    found += [256 * (one == g) for one in range(len(f))]
    v, u = 256 * (2 * row + 1) // h, 256 * (2 * column + 1) // w
    found += [v // 2, u // 2, abs(v - 256), abs(u - 256)]
    if not form.without_means:
        values, p = group.means[g]
        found.append(
            max(-(2**15) + 1, min(2**15 - 1, shift(values[label % form.together][row * w + column], p, 8)))
        )
    return found


Mixture = Callable[[int], int]  # H of section 6.19


def _expected(
    form: Latent, group: Group, known: list[int], place: tuple[int, int, int], label: int
) -> Mixture:
    v, k, last = _inputs(form, group, known, place, label), form.k, 2 * form.reach
    for number, (weights, bias) in enumerate(group.entropy):
        v = [
            (offset + sum(a * b for a, b in zip(v, row, strict=True))) // 2**10
            for row, offset in zip(weights, bias, strict=True)
        ]
        if number < form.layers:
            v = [max(0, min(32767, one)) for one in v]
    shares, means, widths = v[:k], v[k : 2 * k], v[2 * k :]
    z = [Z[min(192, (max(shares) - share) // 16)] for share in shares]
    a = [65536 * one // sum(z) for one in z]
    m = [256 * form.reach + max(-(2**15), min(2**15, mean)) for mean in means]
    y = [Y[max(-40, min(72, 8 * width // 256)) + 40] for width in widths]

    def up_to(symbol: int) -> int:
        if symbol < 0 or symbol >= last:
            return 0 if symbol < 0 else 2**32
        at = [(256 * symbol + 128 - mean) * inverse // 2**18 for mean, inverse in zip(m, y, strict=True)]
        return sum(share * V[max(-768, min(768, one)) + 768] for share, one in zip(a, at, strict=True))

    return up_to


def _symbols(decoder: RangeDecoder, mixtures: list[Mixture], levels: int) -> list[int]:
    size = (levels - 1) // 16 + 1
    firsts = [0] * len(mixtures)
    if size > 1:
        firsts = [
            size
            * _chosen(decoder, [(q * size, (q + 1) * size - 1) for q in range((levels - 1) // size + 1)], h)
            for h in mixtures
        ]
    within = range(size if size > 1 else levels)
    return [
        min(levels - 1, first + _chosen(decoder, [(first + one, first + one) for one in within], h))
        for first, h in zip(firsts, mixtures, strict=True)
    ]


def _chosen(decoder: RangeDecoder, spans: list[tuple[int, int]], h: Mixture) -> int:
    weights = [(h(last) - h(first - 1)) // 2**8 + 2**8 for first, last in spans]
    return decoder.decode(left_cumulatives(np.array(weights)))


# --- Synthesis ----------------------------------------------------------------------------------------------


def sample_of(form: Latent, group: Group, latents: list[int], label: int) -> Array:
    """C × Y × X, float32."""
    grids: Maps = []
    for g, (start, (h, w)) in enumerate(zip(form.starts[:-1], form.sides, strict=True)):
        z = [2**12 * one for one in latents[start : start + h * w]]
        if not form.without_means:
            values, p = group.means[g]
            z = [one + shift(mean, p, 12) for one, mean in zip(z, values[label % form.together], strict=True)]
        z = [clipped(one) for one in z]
        grids.append([z[y * w : (y + 1) * w] for y in range(h)])
    made = _pyramid(form, group, grids) if form.synthesis == 0 else _stacked(form, group, grids)
    return np.array([[[shift(v, 12, 10) for v in row] for row in c] for c in made]).astype(np.float32) / 2**10


def _stacked(form: Latent, group: Group, grids: Maps) -> Maps:
    whole: Maps = []
    for g, grid in enumerate(grids):
        if form.synthesis == 1:
            whole.append(_up(form, [grid], form.factors[g], 1)[0])
        else:
            values, p = group.kernels[g]
            q = [max(-(2**12), min(2**12, shift(one, p, 8))) for one in values]
            lines = [
                _kernel_line(form.factors[g], *sizes, q)
                for sizes in zip(form.sides[g], form.sample[1:], strict=True)
            ]
            whole.append(_resized(grid, *lines))
    first, second, *others = group.layers
    s = _conv(_relu(_conv(whole, *first)), *second)
    for layer in others:
        s = _sum(s, _conv(_relu(s), *layer))
    return s


def _pyramid(form: Latent, group: Group, grids: Maps) -> Maps:
    layers, maps, at = iter(group.layers), [], form.phi[0]
    for m, phi in enumerate(form.phi[:-1]):
        maps = _up(form, maps, at, phi) + [grids[g] for g in form.of_level(m)]
        maps, at = _conv(maps, *next(layers)), phi
        if form.dense and m == 0:
            at = form.phi[1]
            maps = np.array(maps).reshape(form.d, *form.at(at)).tolist()
        else:
            maps = _relu(maps)
        for _ in range(form.r):
            maps = _sum(maps, _relu(_conv(maps, *next(layers))))
    return _conv(_up(form, maps, at, 1), *next(layers))


def _conv(maps: Maps, weights: Tensor, biases: Tensor) -> Maps:
    (rows, p), (offsets, p_offset) = weights, biases
    height, width = len(maps[0]), len(maps[0][0])
    high, wide = len(rows[0][0]), len(rows[0][0][0])
    found = np.zeros((len(rows), height, width), object)
    for o, one in enumerate(rows):
        for i, kernel in enumerate(one):
            padded = np.pad(np.array(maps[i], object), ((high // 2,) * 2, (wide // 2,) * 2))
            for a, b in np.ndindex(high, wide):
                found[o] += padded[a : a + height, b : b + width] * kernel[a][b]
    return [
        [[clipped(shift(v, 12 + p, 12) + shift(offset, p_offset, 12)) for v in row] for row in one]
        for one, offset in zip(found.tolist(), offsets, strict=True)
    ]


def _relu(maps: Maps) -> Maps:
    return [[[max(0, v) for v in row] for row in one] for one in maps]


def _sum(left: Maps, right: Maps) -> Maps:
    return [
        [[clipped(a + b) for a, b in zip(*rows, strict=True)] for rows in zip(*pair, strict=True)]
        for pair in zip(left, right, strict=True)
    ]


Line = list[list[tuple[int, int]]]  # for each place, cells and their weights


def _up(form: Latent, maps: Maps, coarse: int, fine: int) -> Maps:
    if not maps:
        return []
    cells = len(maps[0]), len(maps[0][0])
    lines = [_bilinear_line(coarse, fine, *sizes) for sizes in zip(cells, form.at(fine), strict=True)]
    return [_resized(one, *lines) for one in maps]


def _bilinear_line(coarse: int, fine: int, cells: int, size: int) -> Line:
    found = []
    for t in range(size):
        s = (2 * t + 1) * fine - coarse
        first, beta = s // (2 * coarse), (512 * (s % (2 * coarse)) + 2 * coarse) // (4 * coarse)
        found.append([(_inside(first, cells), 256 - beta), (_inside(first + 1, cells), beta)])
    return found


def _kernel_line(factor: int, cells: int, size: int, q: list[int]) -> Line:
    found = []
    for t in range(size):
        first = (2 * t + 1 - factor) // (2 * factor)
        j = t - factor * first + (factor + 1) // 2
        found.append([(_inside(first, cells), q[j]), (_inside(first + 1, cells), q[j - factor])])
    return found


def _inside(cell: int, cells: int) -> int:
    return max(0, min(cells - 1, cell))


def _resized(values: Grid, rows: Line, columns: Line) -> Grid:
    return [
        [shift(sum(values[y][x] * a * b for y, a in row for x, b in column), 28, 12) for column in columns]
        for row in rows
    ]


def samples_of(form: Latent, groups: list[Group], latents: list[list[int]], labels: list[int]) -> Array:
    """Of latents, and classes of their samples."""
    pairs = zip(latents, labels, strict=True)
    made = [sample_of(form, groups[label // form.together], some, label) for some, label in pairs]
    return np.array(made, np.float32).reshape(-1, *form.sample)
