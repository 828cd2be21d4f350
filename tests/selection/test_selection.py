"""Which real samples a set starts from."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from making import make_data, make_spec

from fedbits.data import TensorData
from fedbits.errors import ConfigError
from fedbits.matching.pool import PoolConfig
from fedbits.selection import SELECTIONS, Selection, correct, select
from fedbits.selection import clusters as clusters_module
from fedbits.selection.clusters import cluster, representatives
from fedbits.selection.graphcut import Gradients, GraphCutConfig, graph_cut, greedy
from fedbits.selection.herding import follow_mean

QUICK = GraphCutConfig(width=8, training=PoolConfig(networks=1, stages=(3,), batch=16))
METHODS = get_args(Selection)
IMBALANCED = [40, 1, 0, 7]


@pytest.fixture(autouse=True)
def brief_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that take milliseconds to train."""
    monkeypatch.setitem(SELECTIONS, "graphcut", lambda data, seed: graph_cut(data, seed, QUICK))
    monkeypatch.setattr(correct, "_TRAINING", replace(correct._TRAINING, width=4, steps=3, batch=8))


def blobs(sizes: list[int], features: int = 6) -> torch.Tensor:
    """Tight groups of the given sizes, far from each other, in order."""
    generator = torch.Generator().manual_seed(0)
    centres = 5 * torch.eye(features)[: len(sizes)]
    return torch.cat(
        [c + 0.1 * torch.randn(n, features, generator=generator) for c, n in zip(centres, sizes, strict=True)]
    )


def group_of(indices: list[int], sizes: list[int]) -> list[int]:
    edges = torch.tensor(sizes).cumsum(0)
    return torch.bucketize(torch.tensor(indices), edges, right=True).tolist()


def test_the_names() -> None:
    assert set(METHODS) == set(SELECTIONS)
    with pytest.raises(ConfigError, match="unknown selection 'best': expected one of random, herding"):
        select(make_data((4,), [2, 2]), "best", 1, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1, 8, 8), (12,)])
@pytest.mark.parametrize("method", METHODS)
def test_every_class_gives_what_it_has_once(method: Selection, shape: tuple[int, ...]) -> None:
    data = make_data(shape, IMBALANCED)
    before = torch.get_rng_state()
    for wanted in (1, 5, 40):
        chosen = select(data, method, wanted, 3)
        assert [len(index) for index in chosen] == [min(wanted, count) for count in IMBALANCED]
        for label, index in enumerate(chosen):
            assert bool((data.labels[index] == label).all())
            assert len(set(index.tolist())) == len(index)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_decides(method: Selection) -> None:
    data = make_data((1, 8, 8), [60, 60])
    first, again, other = (torch.cat(select(data, method, 60, seed)).tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("method", METHODS)
def test_no_samples_give_none(method: Selection) -> None:
    nothing = make_data((4,), [2, 2]).subset(torch.tensor([], dtype=torch.long))
    assert [len(index) for index in select(nothing, method, 3, 0)] == [0, 0]


@pytest.mark.parametrize("method", ["kmeans", "graphcut"])
def test_a_class_beyond_the_candidates_is_not_cut_off(
    method: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("clusters", "graphcut"):
        monkeypatch.setattr(f"fedbits.selection.{module}.CANDIDATES", 10)
    chosen = select(make_data((12,), [30, 4]), method, 30, 0)
    assert [sorted(set(index.tolist())) for index in chosen] == [
        index.tolist() for index in make_data((12,), [30, 4]).class_indices()
    ]


# ------------------------------------------------------------------------------------------------ k-means


def test_each_cluster_gives_its_middle_the_largest_first() -> None:
    sizes = [4, 9, 6]
    features = blobs(sizes)
    taken = representatives(features, 3, 0)
    assert group_of(taken, sizes) == [1, 2, 0]
    for index, group in zip(taken, (1, 2, 0), strict=True):
        members = [i for i in range(19) if group_of([i], sizes) == [group]]
        centre = features[members].mean(0)
        assert (features[index] - centre).norm() <= (features[members] - centre).norm(dim=1).min() + 1e-6


def test_clusters_that_are_covered_give_no_more() -> None:
    sizes = [4, 9, 6]
    taken = representatives(blobs(sizes), 3, 0, [5])
    assert taken[0] == 5
    assert group_of(taken, sizes) == [1, 2, 0]


def test_repeated_samples_are_still_taken_once() -> None:
    taken = representatives(torch.ones(6, 3), 4, 0)
    assert len(set(taken)) == len(taken) == 4


@pytest.mark.parametrize("count", [4, 20, 40])
def test_few_cover_all_groups_however_many_were_asked_for(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for 4, the four groups; asked for all, the four groups are among the first few."""
    sizes = [5, 20, 5, 10]
    monkeypatch.setattr(clusters_module, "random_features", lambda *_: blobs(sizes))
    monkeypatch.setattr(clusters_module, "_MOST_CLUSTERS", 16)
    taken = cluster(make_data((6,), [40]), torch.arange(40), count, 0).tolist()
    assert len(set(taken)) == count
    assert set(group_of(taken[:7], sizes)) == {0, 1, 2, 3}


# ---------------------------------------------------------------------------------------------- graph cut


def cut(similarity: torch.Tensor, taken: list[int], trade_off: float) -> float:
    """QuADD's f, word for word."""
    return float(similarity[:, taken].sum() - trade_off * similarity[taken][:, taken].sum())


@pytest.mark.parametrize("trade_off", [0.0, 0.5, 1.0, 3.0])
def test_each_choice_gains_most(trade_off: float) -> None:
    vectors = torch.randn(9, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    similarity = vectors @ vectors.T
    order = greedy(similarity, 9, trade_off).tolist()
    assert sorted(order) == list(range(9))
    for number, choice in enumerate(order):
        taken = order[:number]
        gains = {j: cut(similarity, [*taken, j], trade_off) for j in range(9) if j not in taken}
        assert choice == max(gains, key=lambda j: gains[j])


def test_similarity_is_that_of_the_gradients() -> None:
    layer = torch.nn.Linear(5, 3).double()
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    gradients = []
    for i in range(6):
        loss = torch.nn.functional.cross_entropy(layer(features[i : i + 1]), labels[i : i + 1])
        parts = torch.autograd.grad(loss, list(layer.parameters()))
        gradients.append(torch.cat([part.flatten() for part in parts]))
    expected = torch.nn.functional.cosine_similarity(
        torch.stack(gradients)[:, None], torch.stack(gradients)[None], dim=2
    )
    found = Gradients.of(layer(features).detach(), features, labels).similarity()
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


def test_the_graph_cut_sees_what_quantisation_leaves() -> None:
    """Samples that one bit makes equal are equally good: the order among them is the one they came in."""
    generator = torch.Generator().manual_seed(0)
    signs = (torch.rand(24, 6, generator=generator) < 0.5).float().repeat(2, 1)
    labels = torch.tensor([0, 1]).repeat(24)
    spec = make_spec((6,), 2, "float32")
    plain = TensorData(spec, signs, labels)
    noisy = TensorData(
        spec, (signs + 0.2 * (torch.rand(48, 6, generator=generator) - 0.5)).clamp(0, 1), labels
    )
    config = replace(QUICK, bits=1)
    index = plain.class_indices()[0]
    orders = [graph_cut(data, 0, config)(index, 24).tolist() for data in (plain, noisy)]
    assert sorted(orders[0]) == sorted(orders[1]) == index.tolist()
    patterns = [signs[order].tolist() for order in orders]
    assert patterns[0][0] == patterns[1][0]


# ----------------------------------------------------------------------------------------------- herding


def test_the_mean_of_what_is_taken_follows_the_mean_of_all() -> None:
    features = torch.randn(12, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    order = follow_mean(features @ features.T, 12).tolist()
    for number, choice in enumerate(order):
        taken = order[:number]
        distance = {
            j: float((features[[*taken, j]].mean(0) - features.mean(0)).norm())
            for j in range(12)
            if j not in taken
        }
        assert choice == min(distance, key=lambda j: distance[j])
