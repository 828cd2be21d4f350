"""Who owns which samples: every scheme gives every sample to exactly one node, the same way every time."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedbits.data import DataSpec, TensorData, partition, split
from fedbits.errors import ConfigError


def labelled(labels: Tensor, classes: int = 10) -> TensorData:
    spec = DataSpec("set", (1,), classes, (0.0,), (1.0,))
    return TensorData(spec, torch.zeros(len(labels), 1, dtype=torch.uint8), labels)


def balanced(samples: int, classes: int = 10) -> TensorData:
    return labelled(torch.arange(samples) % classes, classes)


def classes_of(data: TensorData, part: Tensor) -> set[int]:
    return set(data.labels[part].tolist())


def assert_complete(parts: list[Tensor], samples: int) -> None:
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(samples))
    assert all(part.dtype == torch.int64 and bool((part.diff() > 0).all()) for part in parts)


@pytest.mark.parametrize(
    ("scheme", "nodes", "samples"),
    [
        ("iid", 7, 1000),
        ("iid", 1, 10),
        ("dirichlet:0.1", 10, 60_000),
        ("dirichlet:0.3", 5, 1438),
        ("dirichlet:0.01", 10, 2000),
        ("dirichlet:1e6", 3, 300),
        ("classes:2", 10, 1000),
        ("classes:2", 5, 1000),
        ("classes:3", 7, 1000),
        ("classes:10", 4, 1000),
        ("classes:1", 20, 1000),
    ],
)
def test_every_sample_has_one_node(scheme: str, nodes: int, samples: int) -> None:
    data = balanced(samples)
    parts = partition(data, scheme, nodes, seed=3)
    assert len(parts) == nodes
    assert_complete(parts, samples)
    again = partition(data, scheme, nodes, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))
    if nodes > 1 and scheme != "classes:10":
        other = partition(data, scheme, nodes, seed=4)
        assert any(not torch.equal(a, b) for a, b in zip(parts, other, strict=True))


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    labels=st.lists(st.integers(0, 6), min_size=8, max_size=60),
    scheme=st.sampled_from(
        ["iid", "dirichlet:0.05", "dirichlet:0.5", "dirichlet:10", "classes:1", "classes:2"]
    ),
    nodes=st.integers(1, 8),
    seed=st.integers(0, 2**40),
)
def test_any_labels(labels: list[int], scheme: str, nodes: int, seed: int) -> None:
    data = labelled(torch.tensor(labels), 7)
    try:
        parts = partition(data, scheme, nodes, seed)
    except ConfigError as error:  # too few samples of a class, or more classes than the nodes hold
        assert scheme.startswith("classes")
        assert "use" in str(error) or "needs" in str(error)
        return
    assert_complete(parts, len(labels))
    if scheme.startswith("classes"):
        assert all(len(classes_of(data, part)) == int(scheme[-1]) for part in parts)


def test_iid_sizes_and_classes() -> None:
    data = balanced(1003)
    parts = partition(data, "iid", 4, seed=0)
    assert sorted(len(part) for part in parts) == [250, 251, 251, 251]
    assert all(len(classes_of(data, part)) == 10 for part in parts)


def test_dirichlet_follows_alpha() -> None:
    data = balanced(5000)
    held = {
        alpha: sum(len(classes_of(data, part)) for part in partition(data, f"dirichlet:{alpha}", 10, seed=1))
        for alpha in (0.01, 0.1, 100)
    }
    assert held[0.01] < held[0.1] < held[100] == 100


def test_dirichlet_leaves_no_node_empty_where_redrawing_helps() -> None:
    for seed in range(20):
        assert all(len(part) for part in partition(balanced(600), "dirichlet:0.1", 10, seed))


def test_dirichlet_may_leave_a_node_empty_where_it_does_not() -> None:
    parts = partition(balanced(600, 3), "dirichlet:0.0001", 10, seed=0)
    assert any(len(part) == 0 for part in parts)
    assert_complete(parts, 600)


def test_classes_are_shared_evenly() -> None:
    data = balanced(2000)
    parts = partition(data, "classes:3", 7, seed=5)
    holders = torch.zeros(10, dtype=torch.int64)
    for part in parts:
        held = classes_of(data, part)
        assert len(held) == 3
        holders[list(held)] += 1
    assert set(holders.tolist()) == {2, 3}
    assert min(len(part) for part in parts) >= 3 * 66


def test_classes_of_a_set_that_lacks_some() -> None:
    data = labelled(torch.tensor([1, 1, 1, 8, 8, 8, 9, 9, 9]))
    parts = partition(data, "classes:1", 3, seed=0)
    assert sorted(tuple(classes_of(data, part)) for part in parts) == [(1,), (8,), (9,)]


def test_no_global_random_state_is_touched() -> None:
    states = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
    for scheme in ("iid", "dirichlet:0.3", "classes:2"):
        partition(balanced(200), scheme, 5, seed=0)
    split(balanced(200), 0.3, seed=0)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
    assert states[2] == random.getstate()


@pytest.mark.parametrize(
    ("scheme", "nodes", "message"),
    [
        ("even", 2, "'even' is unknown: write iid"),
        ("iid:2", 2, "'iid:2' is unknown"),
        ("Dirichlet:1", 2, "is unknown"),
        ("dirichlet", 2, "concentration from"),
        ("dirichlet:0", 2, "concentration from"),
        ("dirichlet:-1", 2, "concentration from"),
        ("dirichlet:nan", 2, "concentration from"),
        ("dirichlet:inf", 2, "concentration from"),
        ("dirichlet:a", 2, "concentration from"),
        ("classes", 2, "number of classes from 1 to 10"),
        ("classes:0", 2, "number of classes from 1 to 10"),
        ("classes:11", 2, "number of classes from 1 to 10"),
        ("classes:1.5", 2, "number of classes from 1 to 10"),
        ("classes:²", 2, "number of classes from 1 to 10"),
        ("classes:2", 2, "leaves 6 of 10 classes with nobody: use at least 5 nodes or classes:5"),
        ("classes:10", 60, "into 60 shares, but it has 10 samples"),
        ("iid", 0, "give 1 to 100 nodes"),
        ("iid", -3, "give 1 to 100 nodes"),
        ("dirichlet:1", 101, "101 nodes cannot share 100 samples"),
    ],
)
def test_wrong_schemes(scheme: str, nodes: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        partition(balanced(100), scheme, nodes, seed=0)


def test_without_flwr_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "flwr_datasets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flwr_datasets", None)
    for scheme in ("iid", "dirichlet:1", "classes:5"):
        with pytest.raises(ConfigError, match=r"fedbits\[federated\]"):
            partition(balanced(100), scheme, 2, seed=0)
