"""Correctly classified samples come first."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from making import make_data

from fedbits.data import TensorData
from fedbits.selection import correct
from fedbits.selection.correct import correctly_classified


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    training = replace(correct._TRAINING, width=8, steps=25, batch=32, bfloat16=False)
    monkeypatch.setattr(correct, "_TRAINING", training)


def with_wrong_labels(wrong: int) -> TensorData:
    """Two classes of 40; the first ``wrong`` samples of class 0 are of class 1."""
    data = make_data((1, 8, 8), [40, 40])
    zeros, ones = data.class_indices()
    samples = data.samples.clone()
    samples[zeros[:wrong]] = samples[ones[:wrong]]
    return TensorData(data.spec, samples, data.labels)


def test_what_a_network_gets_wrong_comes_last() -> None:
    data = with_wrong_labels(5)
    zeros = data.class_indices()[0]
    chosen = correctly_classified(data, 0)(zeros, 40)
    assert sorted(chosen.tolist()) == zeros.tolist()
    assert set(chosen[-5:].tolist()) == set(zeros[:5].tolist())
    assert chosen[:-5].tolist() == zeros[5:].tolist()
    assert correctly_classified(data, 0)(zeros, 7).tolist() == zeros[5:12].tolist()


def test_of_many_candidates_the_first_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correct, "CANDIDATES", 10)
    data = with_wrong_labels(5)
    zeros = data.class_indices()[0]
    order = correctly_classified(data, 0)(zeros, 40)
    assert order.tolist() == torch.cat([zeros[5:], zeros[:5]]).tolist()


def test_one_network_serves_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    train = correct.train
    monkeypatch.setattr(correct, "train", lambda *args, **given: (trained.append(1), train(*args, **given)))
    data = with_wrong_labels(0)
    order = correctly_classified(data, 0)
    for index in data.class_indices():
        order(index, 3)
    assert len(trained) == 1
