"""Counter-based random streams: every draw of a run follows from (seed, purpose, counters) alone.

Nothing here touches torch's global generator, and no generator state needs saving: a run resumed at step
``k`` draws at step ``k`` what the uninterrupted run drew there.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


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
