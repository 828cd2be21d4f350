from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

pytest.importorskip("avalanche")

import torch
from avalanche.benchmarks.scenarios.online import split_online_stream
from making import make_data, tiny_recipe
from streams import data_set, of_classes, stream

from fedbits.data import TensorData
from fedbits.errors import BudgetError, ConfigError, MismatchError
from scenarios.benchmarks import benchmark
from scenarios.buffer import CompressedBuffer
from scenarios.memory import MemoryConfig
from scenarios.online import OnlineMemory


def memory(capacity: int = 400, **settings: object) -> OnlineMemory:
    return OnlineMemory(MemoryConfig(capacity, tiny_recipe("random", **settings), "online"))


def passed(held: OnlineMemory, data: TensorData, batch: int = 10, seed: int = 0) -> OnlineMemory:
    for number, part in enumerate(torch.arange(len(data)).split(batch)):
        held.observe(data.subset(part), seed + number)
        assert 0 < held.size <= held.config.capacity
    return held


def test_a_single_pass_fills_the_capacity_with_all_classes() -> None:
    data = data_set(60).train
    held = passed(memory(), data)
    assert held.size > 320 and held.seen == data.class_counts()
    assert max(held.counts) - min(held.counts) <= 2 and len(held) == len(held.union(data.spec))


def test_classes_that_come_later_get_their_share() -> None:
    data = data_set(60).train
    held = passed(memory(), of_classes(data, 0, 1))
    alone = held.counts
    passed(held, of_classes(data, 2, 3), seed=100)
    assert min(held.counts) > 0 and max(held.counts) - min(held.counts) <= 2
    assert held.counts[0] < alone[0]


def test_every_sample_of_a_class_is_as_likely() -> None:
    """One class whose samples are told apart by their brightness, which is their time of arrival."""
    levels = torch.linspace(0, 255, 40).to(torch.uint8)
    made = make_data((1, 2, 2), [40, 1])
    data = TensorData(
        made.spec, levels.view(-1, 1, 1, 1).expand(40, 1, 2, 2), torch.zeros(40, dtype=torch.long)
    )
    means = []
    for seed in range(0, 3000, 100):
        held = passed(memory(60, bits=8), data, batch=5, seed=seed)
        assert len(held) < 35
        means.append(float(held.union(data.spec).batch().samples.mean()))
    everything = data.batch().samples
    error = everything.std() / (30 * 10) ** 0.5
    assert abs(torch.tensor(means).mean() - everything.mean()) < 4 * error


def test_samples_are_quantised_once() -> None:
    data = data_set(60).train
    held = passed(memory(), data.subset(torch.arange(40)))
    before = {sample.numpy().tobytes() for sample in held.union(data.spec).batch().samples}
    held.resize(250, 5)
    assert held.size <= 250
    after = held.union(data.spec).batch().samples
    assert len(after) > 0 and all(sample.numpy().tobytes() in before for sample in after)


def test_thresholds_fall_and_keep_others_out() -> None:
    data = data_set(60).train
    held = passed(memory(), data)
    assert all(0 < limit < 1 for limit in held.thresholds)
    # Of n samples whose keys are uniform, those below the threshold: about as many as are held.
    for limit, seen, count in zip(held.thresholds, held.seen, held.counts, strict=True):
        assert abs(limit * seen - count) < 4 * (count**0.5 + 1)


def test_it_goes_on_from_its_state() -> None:
    data = data_set(60).train
    half = len(data) // 2
    whole = passed(memory(), data.subset(torch.arange(half)))
    buffer = io.BytesIO()
    torch.save(whole.state(), buffer)
    buffer.seek(0)
    again = memory()
    again.restore(torch.load(buffer, weights_only=True))
    for one in (whole, again):
        passed(one, data.subset(torch.arange(half, len(data))), seed=100)
    assert again == whole and list(again.blobs()) == list(whole.blobs())


def test_a_buffer_takes_the_small_experiences_of_an_online_stream() -> None:
    buffer = CompressedBuffer(data_set().spec, memory().config)
    small = split_online_stream(benchmark(stream()).train_stream, experience_size=20, shuffle=False)
    for experience in small:
        buffer.update(SimpleNamespace(experience=experience))
        assert 0 < buffer.size <= 400
    assert buffer.added == 6 and len(buffer.memory.entries) == 1
    assert len(buffer.buffer) == len(buffer.memory) and min(buffer.memory.entries[0].counts) > 0


def test_what_cannot_be_is_one_sentence() -> None:
    data = data_set().train
    for settings in ({"recipe": "quadd"}, {"recipe": "herding"}, {"recipe": "random", "ipc": 3}):
        name = settings.pop("recipe")
        with pytest.raises(ConfigError, match="single pass"):
            OnlineMemory(MemoryConfig(400, tiny_recipe(str(name), **settings), "online"))
    with pytest.raises(ConfigError, match="logits"):
        memory().add(data, 0, lambda samples: samples)
    with pytest.raises(BudgetError, match="too small"):
        memory(40).add(data, 0)
    held = passed(memory(), data)
    before = held.blob
    with pytest.raises(BudgetError, match="too small"):
        held.resize(40, 0)
    assert held.blob == before and held.config.capacity == 400
    with pytest.raises(MismatchError, match="made"):
        held.observe(make_data((1, 6, 6), [9] * 5), 0)
