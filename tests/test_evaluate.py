"""Training and testing by protocol."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest
import torch
from making import make_data, tiny_recipe

from fedbits import networks
from fedbits.data import TensorData, load
from fedbits.data.tensors import Batch, Labelled, Lesson
from fedbits.distill import distill
from fedbits.errors import ConfigError, MismatchError
from fedbits.evaluate import (
    PROTOCOLS,
    Evaluation,
    Protocol,
    accuracy,
    evaluate,
    protocol,
    settled,
    train,
)

DATA = make_data((1, 8, 8), [8, 8, 8])
QUICK = protocol("laptop", width=4, steps=4, batch=8)


def test_the_published_protocol() -> None:
    dsa = protocol("dsa")
    assert (dsa.width, dsa.epochs, dsa.batch, dsa.learning_rate) == (128, 1000, 256, 0.01)
    assert (dsa.momentum, dsa.weight_decay, dsa.augmented, dsa.bfloat16) == (0.9, 5e-4, True, False)
    assert dsa.total_steps(10) == 1000
    assert dsa.total_steps(257) == 2000
    assert protocol("laptop").total_steps(10**6) == 1500
    assert set(PROTOCOLS) == {"dsa", "mtt", "laptop"}
    assert protocol("mtt") == replace(dsa, name="mtt", learned_rate=True)


def test_protocols_are_changed_by_field() -> None:
    assert protocol("laptop", width=8, steps=None) == replace(PROTOCOLS["laptop"], width=8)
    with pytest.raises(ConfigError, match="unknown protocol 'paper': expected one of dsa, mtt, laptop"):
        protocol("paper")


def test_the_seed_decides_the_accuracies() -> None:
    noisy = TensorData(DATA.spec, DATA.samples, DATA.labels.flip(0))
    runs = [evaluate(DATA, noisy, QUICK, repeats=3, seed=seed).accuracies for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 3
    assert all(0 <= value <= 1 for value in runs[0])
    assert runs[0][:2] == evaluate(DATA, noisy, QUICK, repeats=2, seed=1).accuracies


def test_mean_and_deviation() -> None:
    evaluation = Evaluation((0.5, 0.7), 1.0)
    assert evaluation.mean == pytest.approx(0.6)
    assert evaluation.std == pytest.approx(0.1 * 2**0.5)
    assert Evaluation((0.5,), 1.0).std == 0


def test_a_few_real_digits_teach_far_more_than_chance() -> None:
    digits = load("digits")
    few = distill(digits.train, tiny_recipe("random", ipc=5, bits=4), None)
    result = evaluate(few, digits.test, protocol("laptop", width=16, steps=120, batch=50), repeats=1)
    assert result.mean > 0.6
    untrained = evaluate(few, digits.test, protocol("laptop", width=16, steps=0), repeats=1)
    assert untrained.mean < 0.3


def test_flat_samples_are_learnt_by_the_mlp() -> None:
    data = make_data((12,), [40, 40, 40])
    result = evaluate(data, make_data((12,), [40, 40, 40], 1), protocol("laptop", steps=60), repeats=1)
    assert result.mean > 0.8


def test_sets_of_another_task_are_refused() -> None:
    for other in (make_data((1, 8, 8), [8, 8]), make_data((3, 8, 8), [8] * 3), make_data((64,), [8] * 3)):
        with pytest.raises(MismatchError, match="the set is of made"):
            evaluate(DATA, other, QUICK, repeats=1)


def test_networks_that_do_not_exist_or_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="unknown network"):
        evaluate(DATA, DATA, protocol("laptop", network="lenet"), repeats=1)
    flat = make_data((64,), [2, 2])
    with pytest.raises(ConfigError, match="are flat: use mlp"):
        evaluate(flat, flat, protocol("laptop", network="convnet"), repeats=1)


def test_accuracy_counts_what_is_right() -> None:
    class Oracle(torch.nn.Module):
        """Knows the first 18 of 24 samples' classes, and is wrong about the others."""

        def __init__(self) -> None:
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def forward(self, samples: torch.Tensor) -> torch.Tensor:
            answers = DATA.labels.clone()
            answers[18:] = (answers[18:] + 1) % 3
            return torch.nn.functional.one_hot(answers, 3).float()

    assert accuracy(Oracle(), DATA) == 0.75


class Recorded:
    """A set that remembers which samples training asked for."""

    def __init__(self, data: TensorData) -> None:
        self._data, self.asked = data, list[list[int]]()
        self.spec, self.labels, self.targets = data.spec, data.labels, data.targets
        self.learning_rate: float | None = None

    def __len__(self) -> int:
        return len(self._data)

    def batch(self, index: torch.Tensor | None = None) -> Batch:
        return self._data.batch(index)

    def lesson(self, index: torch.Tensor, epoch: int, device: torch.device | str = "cpu") -> Lesson:
        self.asked.append(index.tolist())
        return self._data.lesson(index, epoch)._replace(targets=self.targets[index])


def test_each_epoch_visits_every_sample_once() -> None:
    recorded = Recorded(DATA)
    network = networks.build("convnet", DATA.spec, 4)
    train(network, recorded, replace(protocol("dsa"), width=4, epochs=3, batch=10), seed=0)
    assert [len(batch) for batch in recorded.asked] == [10, 10, 4] * 3
    epochs = [list(chain(*recorded.asked[start : start + 3])) for start in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(24)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def weights(data: Labelled, how: Protocol, seed: int = 0) -> torch.Tensor:
    """What a network is after training."""
    network = networks.build("mlp", data.spec, 4)
    train(network, data, how, seed=seed)
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_the_learned_rate_is_that_of_the_protocol_mtt_alone() -> None:
    taught = Recorded(DATA)
    taught.learning_rate = 0.05
    mtt = replace(protocol("mtt"), epochs=2, batch=8)
    assert torch.equal(weights(taught, mtt), weights(DATA, replace(mtt, learning_rate=0.05)))
    assert not torch.equal(weights(taught, mtt), weights(DATA, mtt))
    dsa = replace(mtt, learned_rate=False)
    assert torch.equal(weights(taught, dsa), weights(DATA, dsa))


def test_soft_targets_are_what_networks_learn() -> None:
    soft = Recorded(DATA)
    certain = torch.nn.functional.one_hot(DATA.labels, 3).float()
    soft.targets = certain
    torch.testing.assert_close(weights(soft, QUICK), weights(DATA, QUICK))
    soft.targets = certain.roll(1, dims=1)  # every sample now teaches another class
    assert evaluate(soft, DATA, replace(QUICK, steps=80, learning_rate=0.05), repeats=1).mean < 0.2


def test_networks_of_other_kinds_train_under_the_same_protocol() -> None:
    for name in ("alexnet", "resnet18"):
        one = replace(QUICK, network=name, steps=1)
        assert (
            evaluate(DATA, DATA, one, repeats=1).accuracies == evaluate(DATA, DATA, one, repeats=1).accuracies
        )


def test_settling_names_the_network_and_refuses_what_cannot_be() -> None:
    assert settled(QUICK, DATA.spec).network == "convnet"
    assert settled(replace(QUICK, network="vit"), DATA.spec).network == "vit"
    flat = make_data((64,), [2, 2]).spec
    assert settled(QUICK, flat).network == "mlp"
    with pytest.raises(ConfigError, match="'vit' needs images"):
        settled(replace(QUICK, network="vit"), flat)
