"""Symbol grids, and new interpreters to code them in; needs no torch, so that those start quickly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


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
    """What ``code`` prints in a new interpreter."""
    environment = {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "PYTHONPATH": str(Path(__file__).parent),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
