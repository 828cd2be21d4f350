from __future__ import annotations

import io
from pathlib import Path

import pytest

pytest.importorskip("avalanche")

import torch
from streams import config, data_set, stream

from fedbits.errors import BudgetError, ConfigError
from fedbits.progress import SILENT
from scenarios.avalanche_learner import AvalancheLearner
from scenarios.config import COMPRESSED, STOCK
from scenarios.raw import RawMemory, raw_samples, sample_bytes
from scenarios.strategies import COMPRESSED as BUILT_COMPRESSED
from scenarios.strategies import STOCK as BUILT_STOCK
from scenarios.strategies import Setting, Training


def learner(name: str, folder: Path, capacity: int = 600) -> AvalancheLearner:
    training = Training(width=8, epochs=2, batch=8)
    memory = config(capacity, "progressive")
    return AvalancheLearner(name, Setting(stream(), memory, training, 0, "cpu", SILENT, folder))


def test_the_command_knows_what_there_is() -> None:
    assert tuple(BUILT_COMPRESSED) == COMPRESSED and tuple(BUILT_STOCK) == STOCK


@pytest.mark.parametrize("name", [*COMPRESSED, *STOCK])
def test_a_strategy_keeps_to_its_bytes_and_goes_on_from_its_state(name: str, tmp_path: Path) -> None:
    whole = learner(name, tmp_path / "whole")
    first = whole.learn(0, SILENT)
    saved = io.BytesIO()
    torch.save(whole.state(), saved)
    saved.seek(0)
    assert 0 < whole.memory_bytes <= 600 and whole.memory_samples > 0
    scores = whole.learn(1, SILENT)
    assert len(first) == 1 and len(scores) == 2 and all(score.total == 40 for score in scores)
    held = whole.memory()
    assert held is not None and len(held) == whole.memory_samples
    assert set(held.labels.tolist()) == {0, 1, 2, 3} and whole.memory_bytes <= 600
    again = learner(name, tmp_path / "again")
    again.restore(torch.load(saved, weights_only=True))
    assert again.learn(1, SILENT) == scores
    assert again.memory_bytes == whole.memory_bytes and again.blobs() == whole.blobs()
    pairs = zip(whole.strategy.model.parameters(), again.strategy.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    learner("stock-replay", tmp_path).learn(0, SILENT)
    assert torch.equal(torch.get_rng_state(), before)


def test_logs_are_avalanches(tmp_path: Path) -> None:
    learner("stock-replay", tmp_path).learn(0, SILENT)
    rows = (tmp_path / "eval_results.csv").read_text().splitlines()
    assert rows[0].startswith("eval_exp,training_exp,eval_accuracy") and len(rows) == 2
    assert list(tmp_path.glob("events.out.tfevents*"))


def test_raw_samples_are_counted_with_their_logits() -> None:
    spec = data_set().spec
    assert sample_bytes(spec) == 36 and sample_bytes(spec, logits=True) == 36 + 4 * 4
    assert raw_samples(600, spec) == 16 and raw_samples(600, spec, logits=True) == 11
    with pytest.raises(BudgetError, match="36 bytes"):
        raw_samples(35, spec)


def test_too_little_memory_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="144 bytes"):
        learner("stock-icarl", tmp_path, 143)
    with pytest.raises(ConfigError, match="'lwf'"):
        learner("lwf", tmp_path)


def test_raw_memory_has_quotas_or_shares() -> None:
    made = stream()
    fixed, shared = RawMemory(made.data.spec, 600, quotas=4), RawMemory(made.data.spec, 600)
    sizes = []
    for k in range(2):
        fixed.add(made.train(k), k)
        shared.add(made.train(k), k)
        sizes.append((fixed.size, shared.size))
    assert sizes == [(8 * 36, 16 * 36), (16 * 36, 16 * 36)]
    union = shared.union(made.data.spec)
    assert union.class_counts() == [4] * 4
    train = made.data.train
    real = {
        (label, sample.numpy().tobytes())
        for sample, label in zip(train.samples, train.labels.tolist(), strict=True)
    }
    held = zip(union.samples, union.labels.tolist(), strict=True)
    assert all((label, sample.numpy().tobytes()) in real for sample, label in held)
    again = RawMemory(made.data.spec, 600)
    again.restore(shared.state())
    assert torch.equal(again.union(made.data.spec).samples, union.samples)
    with pytest.raises(BudgetError, match="144 bytes"):
        RawMemory(made.data.spec, 100, quotas=4).add(made.train(0), 0)
