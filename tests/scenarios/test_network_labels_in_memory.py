"""Replay memories whose samples' views networks label: their bytes count, and their logits serve DER."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("avalanche")

import torch
from streams import config, data_set, of_classes

from fedbits import recipes
from fedbits.errors import ConfigError
from fedbits.labels.network.config import LabellerConfig
from fedbits.labels.network.known import counted
from fedbits.recipe import Recipe
from scenarios.buffer import ReplayedSamples
from scenarios.memory import CompressedMemory, MemoryConfig
from scenarios.online import OnlineMemory

TRAIN = data_set().train
CAPACITY = 1600


def labelled_recipe() -> Recipe:
    quick = LabellerConfig(steps=20, batch=16, share=0.5)
    return replace(recipes.get("random"), labels="network", labeller=quick)


def filled(policy: str) -> CompressedMemory:
    memory = CompressedMemory(replace(config(CAPACITY, policy), recipe=labelled_recipe()))
    memory.add(of_classes(TRAIN, 0, 1), 1)
    memory.add(of_classes(TRAIN, 2, 3), 2)
    return memory


@pytest.mark.parametrize("policy", ["fixed", "progressive", "redistil"])
def test_networks_are_part_of_the_bytes(policy: str) -> None:
    memory = filled(policy)
    assert memory.size <= CAPACITY
    sets = memory.decode()
    assert all(one.network is not None and len(one) for one in sets)
    union = memory.union(TRAIN.spec)
    assert set(union.labels.tolist()) == {0, 1, 2, 3}
    lesson = union.lesson(torch.arange(len(union)), 1)
    assert bool(lesson.viewed.any()) and torch.allclose(lesson.targets.sum(1), torch.tensor(1.0), atol=1e-5)


def test_a_network_knows_the_classes_of_its_experience() -> None:
    first, second = filled("fixed").decode()
    for one, classes in ((first, {0, 1}), (second, {2, 3})):
        assert one.network is not None
        seen = counted(one.network.known, TRAIN.spec.classes) > 0
        assert set(seen.nonzero().flatten().tolist()) == classes


def test_logits_for_replay_are_those_of_the_network() -> None:
    memory = CompressedMemory(replace(config(CAPACITY), recipe=labelled_recipe()))

    def never(samples: torch.Tensor) -> torch.Tensor:
        raise AssertionError("logits were asked of the strategy, and would take bytes")

    memory.add(of_classes(TRAIN, 0, 1), 1, teacher=never)
    (one,) = memory.decode()
    assert one.soft_labels is None and one.network is not None
    replayed = ReplayedSamples(TRAIN.spec, memory.entries)
    assert replayed.logits is not None
    assert torch.allclose(replayed.logits, one.network.network(one.samples), atol=1e-5)


def test_other_labels_are_no_logits() -> None:
    memory = CompressedMemory(replace(config(CAPACITY), recipe=recipes.get("rded")))
    with pytest.raises(ConfigError, match="views"):
        memory.add(of_classes(TRAIN, 0, 1), 1, teacher=lambda samples: samples.flatten(1)[:, :4])
    assert not memory.entries


def test_there_must_be_samples_and_in_a_single_pass_nothing_else() -> None:
    with pytest.raises(ConfigError, match="no samples to replay"):
        replace(config(CAPACITY), recipe=recipes.get("network"))
    with pytest.raises(ConfigError, match="single pass"):
        OnlineMemory(MemoryConfig(CAPACITY, labelled_recipe(), "online"))
