"""Blobs by one coder, as the search for the best takes most of the time of making a small one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from making import by_coder


@pytest.fixture(autouse=True)
def one_coder() -> Iterator[None]:
    with by_coder(2):
        yield
