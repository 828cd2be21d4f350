"""The mixer's tables are the same integers under any mathematical library."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from fedbits.coding import Meter, mixing


def test_no_table_entry_depends_on_the_last_digits_of_a_function() -> None:
    """Rounding to an integer cannot differ where no value is near a half."""
    logits = [math.log(5 * n + 2) * 4096 for n in range(1024)]
    probabilities = [65536 / (1 + math.exp(-logit / 256)) for logit in range(-2800, 2801)]
    for value in logits + probabilities:
        if value != 32768:
            assert abs(value - math.floor(value) - 0.5) > 1e-9


def test_the_tables_are_what_they_were() -> None:
    """A blob decodes only with these."""
    tables = (mixing._LOG_COUNTS, mixing._PROBABILITIES, mixing._CONFIDENCE)
    digest = hashlib.sha256(b"".join(table.astype("<i8").tobytes() for table in tables)).hexdigest()
    assert digest == "3a2f9b622e216e450dab8239d8f143094d1f4580b1e4a54e8fdf679d79af0cc3"
    assert mixing._PROBABILITIES.min() > 0
    assert mixing._PROBABILITIES.max() < mixing.ONE
    firsts = np.searchsorted(mixing._CONFIDENCE, np.arange(8))
    assert firsts.tolist() == [0, 1, 2, 3, 6, 10, 15, 25]


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_a_useless_context_costs_little_beside_a_useful_one(share: float) -> None:
    """Bits follow one context; the other is noise. The cost nears the entropy."""
    draws = np.random.default_rng(0)
    mixer, meter, cost = mixing.BitMixer(2, 1, 1, 12), Meter(), 0.0
    for turn in range(300):
        useful, noise = draws.integers(0, 2, 50), draws.integers(0, 1 << 30, 50)
        bits = (useful ^ (draws.random(50) < share)).astype(np.int64)
        hashes = np.stack([useful, noise]).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        before = meter.bits
        mixer.code(meter, 0, hashes, np.zeros(50, np.int64), bits)
        cost += meter.bits - before if turn >= 100 else 0
    entropy = -share * math.log2(share) - (1 - share) * math.log2(1 - share)
    assert cost / (200 * 50) < entropy + 0.03


def test_many_observations_keep_counts_small_and_their_ratio() -> None:
    mixer, meter = mixing.BitMixer(1, 1, 1, 12), Meter()
    hashes, selector = np.zeros((1, 4000), np.uint64), np.zeros(4000, np.int64)
    for _ in range(5):
        mixer.code(meter, 0, hashes, selector, (np.arange(4000) % 4 == 0).astype(np.int64))
    zeros, ones = int(mixer._zeros.max()), int(mixer._ones.max())
    assert zeros + ones < 1024
    assert zeros / ones == pytest.approx(3, rel=0.05)
