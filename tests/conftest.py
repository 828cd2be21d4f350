"""What holds for every test: one thread, and property tests that try the same examples every time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

settings.register_profile("fedbits", derandomize=True, deadline=None, database=None)
settings.load_profile("fedbits")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
