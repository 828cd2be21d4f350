"""The stratified hold-out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbits.data import DataSpec, TensorData, split
from fedbits.errors import ConfigError


def numbered(labels: list[int]) -> TensorData:
    """Samples that carry their own position."""
    spec = DataSpec("set", (1,), 6, (0.0,), (1.0,), "float32")
    return TensorData(spec, torch.arange(len(labels)).float().view(-1, 1), torch.tensor(labels))


@settings(derandomize=True, deadline=None)
@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=80),
    fraction=st.floats(0.001, 0.999),
    seed=st.integers(0, 2**40),
)
def test_each_class_is_shared(labels: list[int], fraction: float, seed: int) -> None:
    data = numbered(labels)
    rest, held = split(data, fraction, seed)
    both = torch.cat([rest.samples, held.samples]).flatten()
    assert torch.equal(both.sort().values, torch.arange(len(labels)).float())
    assert bool((rest.samples.flatten().diff() > 0).all())
    assert bool((held.samples.flatten().diff() > 0).all())
    for kept, out, total in zip(rest.class_counts(), held.class_counts(), data.class_counts(), strict=True):
        assert kept + out == total
        if total >= 2:
            assert min(kept, out) >= 1
            assert out == 1 or kept == 1 or abs(out - total * fraction) <= 0.5
        else:
            assert out == 0


def test_seeded() -> None:
    data = numbered([0, 1] * 50)
    assert torch.equal(split(data, 0.3, 1)[1].samples, split(data, 0.3, 1)[1].samples)
    assert not torch.equal(split(data, 0.3, 1)[1].samples, split(data, 0.3, 2)[1].samples)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_wrong_fraction(fraction: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        split(numbered([0, 0, 1, 1]), fraction, 0)
