"""Streams of random numbers: what they are, and that they depend on nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbits.rng import derive_seed, numpy_stream, torch_stream, uniforms

MASK = (1 << 64) - 1


def split_mix(key: int, place: int) -> int:
    """Output ``place`` of SplitMix64 from the state ``key``, in Python's integers."""
    state = (key + (place + 1) * 0x9E3779B97F4A7C15) & MASK
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & MASK
    state = (state ^ state >> 27) * 0x94D049BB133111EB & MASK
    return state ^ state >> 31


def test_the_reference_outputs_of_split_mix() -> None:
    """The first ones from seed 1234567, as published with the reference implementation (Vigna)."""
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [split_mix(1234567, place) for place in range(5)] == published
    drawn = uniforms(1234567, np.arange(5), 1)[:, 0]
    assert (drawn * 2**53).astype(np.uint64).tolist() == [one >> 11 for one in published]
    assert uniforms(1234567, np.zeros(1, np.int64), 5)[0].tolist() == drawn.tolist()


@settings(max_examples=100)
@given(
    key=st.one_of(st.integers(0, (1 << 63) - 1), st.just((1 << 63) - 1)),
    counters=st.lists(st.integers(0, (1 << 32) - 1), max_size=5),
    count=st.integers(1, 12),
)
def test_uniforms_are_those_of_split_mix(key: int, counters: list[int], count: int) -> None:
    drawn = uniforms(key, np.array(counters, np.int64), count)
    expected = [[(split_mix(key, c * count + j) >> 11) * 2.0**-53 for j in range(count)] for c in counters]
    assert drawn.shape == (len(counters), count) and drawn.dtype == np.float64
    assert drawn.tolist() == expected


def test_uniforms_depend_on_their_counter_alone() -> None:
    counters = np.arange(100)
    drawn, order = uniforms(5, counters, 10), np.random.default_rng(0).permutation(100)
    assert np.array_equal(uniforms(5, counters[order], 10), drawn[order])
    assert np.array_equal(uniforms(5, counters[40:41], 10), drawn[40:41])
    for numbers in (slice(0, 1), slice(3, 7), slice(9, 10), slice(0, 0)):
        assert np.array_equal(uniforms(5, counters, 10, numbers), drawn[:, numbers])
    assert not np.array_equal(uniforms(6, counters, 10), drawn)


def test_uniforms_are_uniform() -> None:
    drawn = uniforms(derive_seed(0, "view", 0), np.arange(20_000), 10)
    assert 0 <= drawn.min() < 1e-4 and 1 - 1e-4 < drawn.max() < 1
    assert abs(drawn.mean(0) - 0.5).max() < 0.01
    assert abs(np.corrcoef(drawn.T) - np.eye(10)).max() < 0.03


def test_streams_are_named_by_their_path() -> None:
    assert derive_seed(1, "a", 2) == derive_seed(1, "a", 2) != derive_seed(1, "a", 3)
    assert 0 <= derive_seed((1 << 32) - 1, "view", 9) < 1 << 63
    assert torch_stream(1, "a").initial_seed() == derive_seed(1, "a")
    assert numpy_stream(1, "a").integers(1 << 62) == numpy_stream(1, "a").integers(1 << 62)
