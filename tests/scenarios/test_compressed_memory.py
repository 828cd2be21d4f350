from __future__ import annotations

import io
import pickle
from dataclasses import replace

import pytest

pytest.importorskip("avalanche")

import torch
from making import tiny_recipe
from streams import CLASSES, config, data_set, of_classes

from fedbits import container, cut
from fedbits.distilled_set import DistilledSet
from fedbits.errors import BudgetError, ConfigError, MismatchError
from fedbits.plan import epitome
from scenarios import memory as memory_module
from scenarios.memory import CompressedMemory, MemoryConfig, in_herding_order

TRAIN = data_set().train


def filled(policy: str, *, capacity: int = 600, recipe: str = "random") -> CompressedMemory:
    """After two experiences of two classes each."""
    memory = CompressedMemory(config(capacity, policy, recipe))
    memory.add(of_classes(TRAIN, 0, 1), 1)
    memory.add(of_classes(TRAIN, 2, 3), 2)
    return memory


@pytest.mark.parametrize("policy", ["fixed", "progressive", "redistil"])
@pytest.mark.parametrize("recipe", ["random", "herding", "quadd"])
def test_blobs_stay_within_the_capacity_and_hold_every_class(policy: str, recipe: str) -> None:
    memory = filled(policy, recipe=recipe)
    assert memory.size == sum(len(blob) for blob in memory.blobs())
    assert 0.8 * 600 <= memory.size <= 600
    counts = torch.bincount(memory.union(TRAIN.spec).labels, minlength=CLASSES)
    assert int(counts.min()) > 0 and int(counts.max() - counts.min()) <= 2
    assert len(memory) == int(counts.sum())


def test_fixed_quotas_leave_what_is_stored_alone() -> None:
    memory = CompressedMemory(config())
    memory.add(of_classes(TRAIN, 0, 1), 1)
    first = memory.entries[0]
    assert len(first.blob) <= 300
    memory.add(of_classes(TRAIN, 2), 2)
    memory.add(of_classes(TRAIN, 3), 3)
    assert memory.entries[0] is first
    assert [len(entry.blob) <= 150 for entry in memory.entries[1:]] == [True, True]
    with pytest.raises(ConfigError, match="4 quotas, but 5 classes"):
        memory.add(of_classes(TRAIN, 3), 4)


def test_progressive_sets_are_cut_to_their_first_samples_bit_by_bit() -> None:
    memory = CompressedMemory(config(policy="progressive"))
    memory.add(of_classes(TRAIN, 0, 1), 1)
    before = memory.entries[0].decode()
    assert memory.size > 400  # all of it is theirs at first
    memory.add(of_classes(TRAIN, 2, 3), 2)
    after = memory.entries[0].decode()
    assert len(memory.entries[0].blob) <= 300 and len(after) < len(before)
    for label in (0, 1):
        kept = after.samples[after.labels == label]
        assert torch.equal(kept, before.samples[before.labels == label][: len(kept)])


def test_the_first_samples_of_a_class_follow_its_mean() -> None:
    memory = CompressedMemory(config(2000, policy="progressive"))
    memory.add(of_classes(TRAIN, 0, 1), 1)
    decoded = memory.entries[0].decode()
    again = in_herding_order(decoded, 1)
    assert again.class_counts() == decoded.class_counts()
    assert torch.equal(again.samples.sort(0).values, decoded.samples.sort(0).values)
    samples = decoded.samples[decoded.labels == 0]
    distance = (samples[:8].mean(0) - samples.mean(0)).norm()
    others = torch.stack([samples[start : start + 8].mean(0) for start in range(8, len(samples) - 7, 8)])
    assert distance < (others - samples.mean(0)).flatten(1).norm(dim=1).max()


def test_another_order_of_samples_keeps_to_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    real = memory_module.in_herding_order

    def larger(distilled: DistilledSet, seed: int) -> DistilledSet:
        """As if the order took more bytes: some samples come twice."""
        counts = distilled.class_counts()
        index = torch.arange(len(distilled)).repeat_interleave(2)
        return cut.selected(real(distilled, seed), index, [2 * count for count in counts])

    monkeypatch.setattr(memory_module, "in_herding_order", larger)
    assert 480 <= filled("progressive").size <= 600


def test_redistilling_makes_one_set_of_all_that_is_known() -> None:
    memory = filled("redistil")
    assert len(memory.entries) == 1
    assert memory.entries[0].seen == tuple(TRAIN.class_counts())


def test_a_set_whose_shared_part_is_too_large_is_distilled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried = tuple(replace(one, fit_steps=5) for one in epitome._SETTINGS)
    monkeypatch.setattr(epitome, "_SETTINGS", hurried)
    recipe = tiny_recipe("speed", ipc=None, steps=0)
    memory = CompressedMemory(MemoryConfig(1500, recipe, "progressive"))
    memory.add(of_classes(TRAIN, 0, 1), 1)
    large = memory.entries[0]
    memory.resize(400, 3)
    assert memory.size <= 400 < len(large.blob)
    assert all(count > 0 for count in memory.entries[0].counts[:2])


def test_domains_share_what_a_class_has() -> None:
    memory = CompressedMemory(config(policy="progressive"))
    half = TRAIN.subset(torch.arange(0, len(TRAIN), 2))
    counts = half.class_counts()
    assert memory.shares([counts]) == [600]
    assert memory.shares([counts, counts]) == [300, 300]
    assert memory.shares([counts, counts, [2 * n for n in counts]]) == [150, 150, 300]
    assert memory.shares([[5, 0, 0, 0], [0, 9, 9, 0]]) == [200, 400]
    memory.add(half, 1)
    memory.add(TRAIN.subset(torch.arange(1, len(TRAIN), 2)), 2)
    assert memory.size <= 600 and len(memory.entries) == 2


def test_labels_of_a_teacher_are_stored_and_counted() -> None:
    weights = torch.randn(36, CLASSES, generator=torch.Generator().manual_seed(0))

    def teacher(samples: torch.Tensor) -> torch.Tensor:
        return samples.flatten(1) @ weights

    memory = CompressedMemory(config(policy="progressive"))
    memory.add(of_classes(TRAIN, 0, 1), 1, teacher)
    memory.add(of_classes(TRAIN, 2, 3), 2, teacher)
    assert 500 <= memory.size <= 600
    for decoded in memory.decode():
        assert decoded.soft_labels is not None
        torch.testing.assert_close(
            decoded.soft_labels.logits.detach(), teacher(decoded.samples), rtol=1e-3, atol=1e-2
        )
    assert len(memory) < len(filled("progressive"))


def test_a_memory_pickles_to_its_bytes_and_a_little() -> None:
    memory = filled("fixed", capacity=3000)
    pickled = pickle.dumps(memory)
    assert len(pickled) <= memory.size + 4096
    again = pickle.loads(pickled)
    assert list(again.blobs()) == list(memory.blobs())
    assert again.config == memory.config


def test_the_state_of_a_checkpoint_needs_no_pickle() -> None:
    memory = filled("progressive")
    buffer = io.BytesIO()
    torch.save(memory.state(), buffer)
    assert buffer.tell() <= memory.size + (64 << 10)
    buffer.seek(0)
    again = CompressedMemory(memory.config)
    again.restore(torch.load(buffer, weights_only=True))
    assert again.entries == memory.entries


def test_what_does_not_fit_changes_nothing() -> None:
    memory = filled("progressive")
    before = list(memory.entries)
    with pytest.raises(BudgetError, match="too small"):
        memory.resize(60, 5)
    assert memory.entries == before and memory.config.capacity == 600
    memory.resize(400, 5)
    assert memory.size <= 400 and memory.config.capacity == 400


def test_samples_of_another_task_are_refused() -> None:
    memory = filled("progressive")
    other = data_set().train
    wrong = type(other)(type(other.spec)("other", (1, 6, 6), 4, (0.1,), (0.2,)), other.samples, other.labels)
    with pytest.raises(MismatchError, match="other"):
        memory.add(wrong, 3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"capacity": 0}, "0 bytes"),
        ({"policy": "lazy"}, "'lazy'"),
        ({"policy": "fixed", "quotas": None}, "quotas"),
        ({"policy": "progressive", "quotas": 3}, "no quotas"),
    ],
)
def test_wrong_settings_are_one_sentence(settings: dict[str, object], words: str) -> None:
    usual = {"capacity": 10, "recipe": tiny_recipe("random"), "policy": "fixed", "quotas": 2}
    with pytest.raises(ConfigError, match=words):
        MemoryConfig(**{**usual, **settings})  # type: ignore[arg-type]


def test_blobs_are_blobs() -> None:
    for blob in filled("fixed").blobs():
        assert container.inspect(blob)["bytes"] == len(blob)
