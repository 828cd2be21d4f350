"""A fence around libraries that draw from the global generators."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from fedbits.rng import derive_seed


@contextmanager
def seeded(seed: int, *path: str | int) -> Iterator[None]:
    """Seed torch's, NumPy's and Python's global generators by (seed, path), and put them back afterwards."""
    derived = derive_seed(seed, *path)
    plain, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - what Avalanche may draw from
    with torch.random.fork_rng():
        torch.manual_seed(derived)
        random.seed(derived)
        np.random.seed(derived % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(legacy)  # noqa: NPY002
