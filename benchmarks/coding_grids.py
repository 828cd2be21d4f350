"""Grids of symbols that benchmarks of the coders share: real images, noise, skewed symbols, indices."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from fedbits import data, rng
from fedbits.coding.grid import OWN
from fedbits.coding.network import EntropyNetwork, Layer
from fedbits.coding.own import largest_shapes

Grid = NDArray[np.int64]

REAL_BITS = (2, 3, 4, 8)
NOISE_BITS = (1, 2, 4, 8)
# Bits, and the chance of a symbol that is not zero.
SKEWED = ((1, 0.1), (1, 0.01), (1, 0.001), (2, 0.1), (4, 0.1), (8, 0.1), (8, 0.01))
INDEX_BITS = (4, 8)
_SIDE = 8  # of samples of noise and of skewed symbols
_PLACES = 16  # of a sample of indices


@dataclass(frozen=True)
class Case:
    """A grid ``[n, channels, height, width]`` of symbols below 2**bits, and the class of each sample."""

    title: str
    bits: int
    symbols: Grid
    labels: Grid

    @property
    def levels(self) -> int:
        return 1 << self.bits

    @property
    def shape(self) -> tuple[int, int, int, int]:
        n, channels, height, width = self.symbols.shape
        return n, channels, height, width


@functools.cache
def network_for(number: int, channels: int, hidden: int = 16) -> EntropyNetwork | None:
    """What a coder needs besides symbols to write them: the coder of own networks one, any one."""
    if number != OWN:
        return None
    inputs, outputs = largest_shapes(channels)[0][1], largest_shapes(channels)[2][0]
    stream = rng.numpy_stream(0, "grids", "network", channels, hidden)
    sides = ((hidden, inputs), (outputs, hidden))
    weights = [stream.laplace(0, 0.5 / side[1] ** 0.5, side).astype(np.float32) for side in sides]
    return EntropyNetwork([Layer.rounded(each, np.zeros(len(each), np.float32), 6) for each in weights])


def real(name: str, bits: int, symbols: int, factor: int = 1) -> Case:
    """About ``symbols`` symbols of random training images, each side averaged to ``factor`` times fewer.

    Where one image has more, the middle of one: as square as it can be.
    """
    train = _train(name)
    channels, height, width = train.spec.grid_shape
    per_image = channels * (height // factor) * (width // factor)
    count = max(1, round(symbols / per_image))
    index = torch.randperm(len(train), generator=rng.torch_stream(0, "grids", name))[:count]
    index = index[torch.argsort(train.labels[index], stable=True)]
    values = F.avg_pool2d(train.samples[index].reshape(count, channels, height, width).float(), factor)
    grid = values.numpy().astype(np.int64) >> (8 - bits)
    if symbols < per_image:
        rows = max(1, round((symbols / channels) ** 0.5))
        columns = max(1, round(symbols / channels / rows))
        top, left = (grid.shape[2] - rows) // 2, (grid.shape[3] - columns) // 2
        grid = grid[:, :, top : top + rows, left : left + columns]
    return Case(f"{name}, {bits} bits", bits, np.ascontiguousarray(grid), train.labels[index].numpy())


@functools.cache
def _train(name: str) -> data.TensorData:
    return data.load(name).train


def noise(bits: int, symbols: int) -> Case:
    """Every symbol equally likely, whatever is around it."""
    stream = rng.numpy_stream(0, "grids", "noise", bits, symbols)
    return _unlabelled(f"noise, {bits} bits", bits, stream.integers(0, 1 << bits, symbols))


def skewed(bits: int, chance: float, symbols: int) -> Case:
    """Zero, or with a ``chance`` one of the others, the smaller the likelier."""
    stream = rng.numpy_stream(0, "grids", "skewed", bits, f"{chance}", symbols)
    others = np.minimum(stream.geometric(0.3, symbols), (1 << bits) - 1)
    values = np.where(stream.random(symbols) < chance, others, 0)
    return _unlabelled(f"skewed, {bits} bits, {chance:.1%} not zero", bits, values)


def indices(bits: int, symbols: int) -> Case:
    """As a vector quantiser gives them: rows of 16 symbols, each place with likely symbols of its own."""
    stream = rng.numpy_stream(0, "grids", "indices", bits, symbols)
    rows, columns = max(1, symbols // _PLACES), min(symbols, _PLACES)
    order = np.argsort(stream.random((columns, 1 << bits)), axis=1)
    ranks = np.minimum(stream.geometric(6 / (1 << bits), (rows, columns)), 1 << bits) - 1
    values = np.take_along_axis(order, ranks.T, axis=1).T
    grid = np.ascontiguousarray(values[:, None, None]).astype(np.int64)
    return Case(f"indices, {bits} bits", bits, grid, np.zeros(rows, np.int64))


def _unlabelled(title: str, bits: int, values: Grid) -> Case:
    n = len(values) // _SIDE**2
    shape = (n, 1, _SIDE, _SIDE) if n else (1, 1, 1, len(values))
    grid = values[: max(1, n) * _SIDE**2].reshape(shape).astype(np.int64)
    return Case(title, bits, grid, np.zeros(shape[0], np.int64))


def every_case(symbols: int, names: list[str]) -> Iterator[Case]:
    """Real images of the data sets ``names`` and all that is made up: about so many symbols each."""
    for name in names:
        for bits in REAL_BITS:
            yield real(name, bits, symbols)
    for bits in NOISE_BITS:
        yield noise(bits, symbols)
    for bits, chance in SKEWED:
        yield skewed(bits, chance, symbols)
    for bits in INDEX_BITS:
        yield indices(bits, symbols)
