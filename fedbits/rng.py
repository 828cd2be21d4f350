"""Counter-based random streams: every draw of a run follows from (seed, purpose, counters) alone.

Nothing here touches torch's global generator, and no generator state needs saving: a run resumed at step
``k`` draws at step ``k`` what the uninterrupted run drew there.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray


def derive_seed(seed: int, *path: str | int) -> int:
    """A 63-bit seed for the stream named by ``path`` under the run's ``seed``."""
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def torch_stream(seed: int, *path: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh torch generator for the stream named by ``path``."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *path))


def numpy_stream(seed: int, *path: str | int) -> np.random.Generator:
    """A fresh NumPy generator for the stream named by ``path``."""
    return np.random.default_rng(derive_seed(seed, *path))


_GAMMA = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def uniforms(
    key: int, counters: NDArray[np.int64], count: int, numbers: slice = slice(None)
) -> NDArray[np.float64]:
    """``[n, count]`` numbers, uniform in [0, 1): number j of counter c depends on ``key``, c and j alone.

    Or only ``numbers`` of them, which takes as much less.

    So whoever knows ``key`` draws them again, in any order and on any machine: SplitMix64 (Steele, Lea and
    Flood, OOPSLA 2014) at place ``c * count + j``, its upper 53 bits.
    """
    wanted = np.arange(count, dtype=np.uint64)[numbers]
    places = counters.astype(np.uint64)[:, None] * np.uint64(count) + wanted
    # Everything modulo 2**64.
    state = np.add((places + np.uint64(1)) * np.uint64(_GAMMA), np.uint64(key), dtype=np.uint64)
    for shift, factor in _MIX:
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
