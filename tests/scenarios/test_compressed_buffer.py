from __future__ import annotations

import gc
import pickle
import sys
import weakref
from types import FunctionType, ModuleType
from typing import Any

import pytest

pytest.importorskip("avalanche")

import torch
from avalanche.benchmarks import ni_benchmark
from avalanche.training.plugins import GDumbPlugin, ReplayPlugin
from avalanche.training.templates import SupervisedTemplate
from streams import config, data_set, stream

from fedbits import networks
from fedbits.errors import ConfigError
from scenarios import CompressedBuffer
from scenarios.benchmarks import benchmark
from scenarios.datasets import StoredSamples, as_dataset, as_samples
from scenarios.quiet import quiet
from scenarios.randomness import seeded


class Agent:
    """As much of a strategy as a policy looks at."""

    def __init__(self, experience: Any) -> None:
        self.experience, self.device = experience, "cpu"
        self.model = networks.build("convnet", data_set().spec, 4, 0)


def adapted(buffer: CompressedBuffer, experiences: Any) -> CompressedBuffer:
    for experience in experiences:
        buffer.update(Agent(experience))
    return buffer


def template(plugin: Any, epochs: int = 1) -> SupervisedTemplate:
    model = networks.build("convnet", data_set().spec, 8, 0)
    return SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
        train_mb_size=8,
        train_epochs=epochs,
        eval_mb_size=64,
        plugins=[plugin],
        evaluator=None,
    )


def accuracy(model: torch.nn.Module) -> float:
    test = data_set().test.batch()
    with torch.no_grad():
        return float((model(test.samples).argmax(1) == test.labels).float().mean())


def test_what_is_replayed_is_what_is_stored() -> None:
    buffer = adapted(CompressedBuffer(data_set().spec, config()), benchmark(stream()).train_stream)
    dataset, union = buffer.buffer, buffer.memory.union(data_set().spec)
    assert 480 <= buffer.size <= buffer.max_size == 600
    assert len(dataset) == len(union) and list(dataset.targets) == union.labels.tolist()
    sample, label, task = dataset[3]
    assert torch.equal(sample, union.batch().samples[3]) and (label, task) == (int(union.labels[3]), 0)


def test_decoded_samples_are_shared_and_go_with_the_last_user() -> None:
    buffer = adapted(CompressedBuffer(data_set().spec, config()), benchmark(stream()).train_stream)
    first, second = buffer.buffer, buffer.buffer
    first[0]
    assert buffer._decoded is not None
    held = buffer._decoded()
    assert held is not None and "_decoded" in held.__dict__
    second[0]
    assert buffer._decoded() is held
    del first, second, held
    gc.collect()
    assert buffer._decoded() is None


def reachable(thing: object) -> list[object]:
    """All that ``thing`` keeps alive, but for code."""
    found: dict[int, object] = {}
    waiting = [thing]
    while waiting:
        one = waiting.pop()
        if id(one) not in found and not isinstance(one, type | ModuleType | FunctionType):
            found[id(one)] = one
            waiting += gc.get_referents(one)
    return list(found.values())


def test_nothing_of_the_stream_is_held() -> None:
    built = benchmark(stream())
    samples = weakref.ref(built.train_stream[0].dataset._flat_data._datasets[0])
    buffer = adapted(CompressedBuffer(data_set().spec, config()), built.train_stream)
    pickled = pickle.dumps(buffer)
    assert len(pickled) <= buffer.size + 4096
    del built
    gc.collect()
    assert samples() is None
    held = reachable(buffer)
    assert not any(isinstance(one, torch.Tensor | torch.utils.data.Dataset) for one in held)
    assert sum(sys.getsizeof(one) for one in held) <= buffer.size + (64 << 10)
    again = pickle.loads(pickled)
    assert list(again.memory.blobs()) == list(buffer.memory.blobs())
    assert len(again.buffer) == len(buffer.memory)


def test_replay_and_gdumb_plugins_take_it() -> None:
    for plugin_of, epochs in ((_replay, 4), (_gdumb, 30)):
        buffer = CompressedBuffer(data_set().spec, config(1200))
        with quiet(), seeded(0, "test"):
            strategy = template(plugin_of(buffer), epochs)
            for experience in benchmark(stream()).train_stream:
                strategy.train(experience)
        assert buffer.added == 2 and accuracy(strategy.model) > 0.6  # one experience alone: at most a half


def _replay(buffer: CompressedBuffer) -> ReplayPlugin:
    return ReplayPlugin(buffer.max_size, storage_policy=buffer)


def _gdumb(buffer: CompressedBuffer) -> GDumbPlugin:
    plugin = GDumbPlugin(buffer.max_size)
    plugin.storage_policy = buffer
    return plugin


def test_domains_that_repeat_all_classes() -> None:
    data = data_set()
    built = ni_benchmark(
        StoredSamples(data.train), StoredSamples(data.test), n_experiences=3, task_labels=False, seed=1
    )
    buffer = CompressedBuffer(data.spec, config(policy="progressive"))
    sizes = [adapted(buffer, [experience]).size for experience in built.train_stream]
    assert all(0 < size <= 600 for size in sizes) and len(buffer.memory.entries) == 3
    for entry in buffer.memory.entries:
        assert min(entry.counts) > 0


def test_logits_come_with_samples() -> None:
    buffer = CompressedBuffer(data_set().spec, config(policy="progressive"), logits=True)
    adapted(buffer, benchmark(stream()).train_stream)
    sample, _, _, logits = buffer.buffer[0]
    model = networks.build("convnet", data_set().spec, 4, 0)
    with torch.no_grad():
        torch.testing.assert_close(logits, model(sample[None])[0], rtol=1e-2, atol=1e-2)
    assert buffer.size <= 600


def test_it_is_resized_in_bytes_and_not_written_to() -> None:
    buffer = adapted(CompressedBuffer(data_set().spec, config()), benchmark(stream()).train_stream)
    buffer.resize(None, 400)
    assert buffer.size <= 400 == buffer.max_size
    with pytest.raises(ConfigError, match="as they are"):
        buffer.buffer = buffer.buffer


def test_samples_survive_the_way_through_avalanche() -> None:
    data = data_set().train
    samples = StoredSamples(data)
    logits = torch.arange(4.0).expand(len(data), 4)
    back, taught = as_samples(as_dataset(samples, samples.targets, logits), data.spec)
    assert torch.equal(back.samples, data.samples) and torch.equal(back.labels, data.labels)
    assert taught is not None and torch.equal(taught, logits)
