from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

pytest.importorskip("avalanche")

import torch
from streams import data_set

from fedbits.errors import ConfigError
from scenarios.benchmarks import benchmark
from scenarios.stream import Stream, class_order, scenario


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_the_order_of_classes_is_that_of_the_published_protocol(seed: int) -> None:
    np.random.seed(7)  # noqa: NPY002 - the global state is what is looked at
    before = np.random.get_state()[1].tolist()  # type: ignore[union-attr, call-overload]  # noqa: NPY002
    order = class_order(10, seed)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[union-attr, call-overload]  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    assert order == np.random.permutation(10).tolist()  # noqa: NPY002


def test_scenarios_by_name() -> None:
    assert scenario("split_digits").experiences == 5
    assert scenario("split_cifar100").experiences == 10
    assert scenario("split_cifar100", 5).data == "cifar100"
    assert scenario("split_npz:a/b.npz").data == "npz:a/b.npz"
    for name in ("digits", "split_"):
        with pytest.raises(ConfigError, match="unknown scenario"):
            scenario(name)


def test_every_sample_arrives_once_with_its_class() -> None:
    data = data_set()
    made = Stream.of(data, 2, 3)
    assert sorted(made.classes(0) + made.classes(1)) == [0, 1, 2, 3]
    parts = [made.train(k) for k in range(2)]
    assert sum(len(part) for part in parts) == len(data.train)
    for k, part in enumerate(parts):
        assert set(part.labels.tolist()) == set(made.classes(k)) == set(made.test(k).labels.tolist())


def test_classes_that_cannot_be_shared_equally_are_refused() -> None:
    with pytest.raises(ConfigError, match="4 classes"):
        Stream.of(data_set(), 3, 0)


def rows(samples: torch.Tensor, labels: Iterable[int]) -> list[tuple[int, bytes]]:
    """Samples with their classes, in an order of their own."""
    return sorted(
        (int(label), sample.numpy().tobytes()) for sample, label in zip(samples, labels, strict=True)
    )


def test_avalanche_sees_the_same_stream() -> None:
    made = Stream.of(data_set(), 2, 1)
    built = benchmark(made)
    assert tuple(built.classes_order) == made.order
    for k, experience in enumerate(built.train_stream):
        for part, seen in ((made.train(k), experience), (made.test(k), built.test_stream[k])):
            samples, labels = zip(*((sample, label) for sample, label, _ in seen.dataset), strict=True)
            assert rows(torch.stack(samples), labels) == rows(*part.batch())
