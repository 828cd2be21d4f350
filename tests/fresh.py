"""Symbol grids, and new interpreters to code them in; needs no torch, so that those start quickly."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedbits.coding.network import EntropyNetwork, Layer
from fedbits.coding.surroundings import inputs_of


def make_grid(shape: tuple[int, int, int, int], levels: int, smooth: bool, seed: int) -> NDArray[np.int64]:
    """Symbols ``[n, channels, height, width]``: noise, or a slope with little noise on it."""
    rng = np.random.default_rng(seed)
    if not smooth:
        return rng.integers(0, levels, shape)
    row, column = np.arange(shape[2])[:, None], np.arange(shape[3])
    slope = (row + column) / (shape[2] + shape[3])
    values = levels * (
        slope + 0.05 * rng.standard_normal(shape) + 0.1 * rng.standard_normal((shape[0], 1, 1, 1))
    )
    return np.clip(values, 0, levels - 1).astype(np.int64)


def in_fresh_process(code: str, threads: int = 1) -> str:
    """What ``code`` prints in a new interpreter.

    Its glibc gives large blocks back at once, so that memory measured is memory needed.
    """
    environment = {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "PYTHONPATH": str(Path(__file__).parent),
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def make_network(channels: int, hidden: int = 7, seed: int = 0) -> EntropyNetwork:
    """An entropy network of random weights."""
    draws = np.random.default_rng(seed)
    layers = []
    for inputs, outputs in pairwise((inputs_of(channels), hidden, 12)):
        weights = draws.integers(-(1 << 11), 1 << 11, (outputs, inputs)).astype(np.int16)
        layers.append(Layer(weights, draws.integers(-(1 << 18), 1 << 18, outputs).astype(np.int32)))
    return EntropyNetwork(layers)
