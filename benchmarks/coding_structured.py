"""Symbols that are no pixels: indices of a vector quantiser, and sparse coefficients, both of real images."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

from fedbits import data

Grid = NDArray[np.int64]

_PATCH = 4  # side of what a vector quantiser codes as one index
_BOOK_IMAGES = 6000  # from which the codebook is learnt
_BOOK_PATCHES = 60_000


def drawn(train: data.TensorData, count: int, seed: int = 0) -> tuple[NDArray[np.float32], Grid]:
    """``count`` random images ``[count, height, width]`` in the order of their classes, and the classes."""
    index = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:count]
    index = index[torch.argsort(train.labels[index], stable=True)]
    return train.samples[index, 0].numpy().astype(np.float32), train.labels[index].numpy()


def patches(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images ``[n, height, width]`` as ``[n, height / 4, width / 4, 16]``."""
    n, height, width = images.shape
    cut = images.reshape(n, height // _PATCH, _PATCH, width // _PATCH, _PATCH).swapaxes(2, 3)
    return cut.reshape(n, height // _PATCH, width // _PATCH, _PATCH**2)


def vq_indices(name: str, levels: int, count: int, row: bool) -> tuple[Grid, Grid]:
    """Indices of 4×4 patches under a k-means codebook of ``levels``: one ``row`` a sample, or a grid."""
    train = data.load(name).train
    images, labels = drawn(train, count)
    rng = np.random.default_rng(0)
    known = patches(drawn(train, _BOOK_IMAGES, 1)[0]).reshape(-1, _PATCH**2)
    known = known[rng.permutation(len(known))[:_BOOK_PATCHES]]
    book = MiniBatchKMeans(levels, random_state=0, n_init=3, batch_size=4096).fit(known)
    cut = patches(images)
    found = book.predict(cut.reshape(-1, _PATCH**2)).astype(np.int64)
    return found.reshape(count, 1, *((1, -1) if row else cut.shape[1:3])), labels


def sparse_coefficients(name: str, kept: int, count: int) -> tuple[Grid, Grid]:
    """The ``kept`` largest DCT coefficients of each image in 4 bits, 8 standing for zero."""
    images, labels = drawn(data.load(name).train, count)
    images = images / 255
    side = images.shape[1]
    place = np.arange(side)
    basis = np.sqrt(2 / side) * np.cos(np.pi * (place + 0.5) * place[:, None] / side)
    basis[0] /= np.sqrt(2)
    transformed = basis @ (images - images.mean()) @ basis.T
    sizes = abs(transformed).reshape(count, -1)
    smallest = np.sort(sizes, axis=1)[:, -kept].reshape(-1, 1, 1)
    largest = np.quantile(sizes[sizes >= smallest[:, 0]], 0.98)
    steps = np.rint(np.where(abs(transformed) >= smallest, transformed, 0) * 7 / largest)
    return np.clip(steps, -8, 7).astype(np.int64)[:, None] + 8, labels


def coordinates_bytes(grid: Grid, bits: int, zero: int) -> int:
    """Bytes of a list of what is not ``zero``, ideally: which places, and the values' frequencies."""
    there = (grid != zero).reshape(len(grid), -1)
    places = sum(math.log2(math.comb(there.shape[1], int(count))) for count in there.sum(axis=1))
    return math.ceil((places + order_zero_bits(grid[grid != zero], bits)) / 8)


def order_zero_bits(symbols: Grid, bits: int) -> float:
    """The empirical entropy of all ``symbols`` together, with nothing for a table."""
    counts = np.bincount(symbols.ravel(), minlength=1 << bits)
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / counts.sum())).sum())
