"""Bi-level distillation: training on the synthetic samples, and its loss on the real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from making import make_data
from stopping import StopAt
from torch import Tensor

from fedbits import networks
from fedbits import optimise as optimising
from fedbits.augment import augment, draw
from fedbits.container import decode, encode
from fedbits.data import TensorData
from fedbits.data.tensors import Batch
from fedbits.distill import distill
from fedbits.errors import ConfigError
from fedbits.matching import BilevelConfig, BilevelMatching, Setting, Synthetic, bilevel
from fedbits.matching.pool import PoolConfig
from fedbits.progress import SILENT
from fedbits.quantization import QuantizerConfig
from fedbits.recipe import OptimizerConfig, Recipe
from fedbits.rng import derive_seed, torch_stream

SEED = 5
DATA = make_data((1, 8, 8), [30, 0, 12])
TINY: dict[str, Any] = {"width": 4, "inner_steps": 3, "inner_learning_rate": 0.1, "real_batch": 6}


def prepared(data: TensorData, **settings: Any) -> BilevelMatching:
    objective = BilevelMatching(BilevelConfig(**{**TINY, **settings}), Setting(SEED, torch.device("cpu")))
    objective.prepare(data, SILENT)
    return objective


def parts(data: TensorData, objective: BilevelMatching, step: int, soft: bool) -> tuple[Batch, Synthetic]:
    """The real batch of a step, and synthetic samples that can receive gradients."""
    real = data.batch(objective.real_indices(step))
    index = torch.cat([where[:2] for where in data.class_indices()])
    samples, labels = data.batch(index)
    targets = F.one_hot(labels, data.spec.classes).float() * 0.8 + 0.05
    return real, Synthetic(samples.requires_grad_(), labels, targets.requires_grad_() if soft else labels)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("data", [DATA, make_data((9,), [8, 3, 1]), make_data((1, 8, 8), [4])])
def test_the_loss_is_that_of_a_plain_loop(data: TensorData, soft: bool) -> None:
    objective = prepared(data)
    real, synthetic = parts(data, objective, 7, soft)
    network = networks.build(networks.default_network(data.spec), data.spec, 4, 0)
    networks.initialise(network, derive_seed(SEED, "network", 7))
    names = [name for name, _ in network.named_parameters()]
    weights = {name: weight.detach().requires_grad_() for name, weight in network.named_parameters()}
    for number in range(3):
        drawn = draw(len(synthetic.samples), torch_stream(SEED, "inner", 7, number))
        samples = augment(synthetic.samples, drawn)
        loss = F.cross_entropy(torch.func.functional_call(network, weights, samples), synthetic.targets)
        slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {name: weights[name] - 0.1 * slope for name, slope in zip(names, slopes, strict=True)}
    expected = F.cross_entropy(torch.func.functional_call(network, weights, real.samples), real.labels)
    learned = [synthetic.samples, synthetic.targets] if soft else [synthetic.samples]
    ours = objective.loss(real, synthetic, 7)
    torch.testing.assert_close(ours, expected)
    gradients = torch.autograd.grad(ours, learned)
    for gradient, whole in zip(gradients, torch.autograd.grad(expected, learned), strict=True):
        torch.testing.assert_close(gradient, whole, rtol=1e-3, atol=1e-5 * float(whole.abs().max()))
        assert bool(gradient.any()) == (data.spec.classes > 1)


def test_real_batches_are_drawn_from_each_class_that_is_there() -> None:
    data = make_data((1, 4, 4), [2, 0, 20])
    index = prepared(data).real_indices(3)
    assert data.labels[index].tolist() == [0] * 6 + [2] * 6
    assert len(set(index[6:].tolist())) == 6
    assert sorted(index[:6].tolist()) == sorted(data.class_indices()[0].tolist() * 3)
    assert not torch.equal(index, prepared(data).real_indices(4))


def test_implicit_and_unrolled_agree_where_training_has_nearly_ended() -> None:
    """As many last steps as a Neumann series has terms; conjugate gradients, damped to look as far back."""
    common: dict[str, Any] = {"augmented": False, "inner_steps": 200, "inner_learning_rate": 0.2}
    unrolled = gradient(prepared(DATA, window=30, **common))
    common |= {"method": "implicit", "iterations": 30}
    series = gradient(prepared(DATA, solver="neumann", damping=0.0, **common))
    solved = gradient(prepared(DATA, solver="cg", damping=1 / (30 * 0.2), **common))
    assert (series - unrolled).norm().item() < 0.1 * unrolled.norm().item()
    assert F.cosine_similarity(solved.flatten(), unrolled.flatten(), dim=0).item() > 0.9


def gradient(objective: BilevelMatching) -> Tensor:
    real, synthetic = parts(DATA, objective, 0, True)
    return torch.autograd.grad(objective.loss(real, synthetic, 0), synthetic.samples)[0]


@pytest.mark.parametrize("method", ["unrolled", "implicit"])
def test_a_network_lives_on_by_one_step_of_training(method: str) -> None:
    objective = prepared(DATA, method=method, lifetime=2)

    def begins(step: int) -> Tensor:
        objective.loss(*parts(DATA, objective, step, False), step)
        theta = objective.state()["theta"]
        assert isinstance(theta, Tensor)
        return theta

    thetas = [begins(step) for step in range(4)]
    fresh, later = (thetas[1] - thetas[0]).norm().item(), (thetas[2] - thetas[1]).norm().item()
    assert 0 < fresh < 0.3 * later
    assert 0 < (thetas[3] - thetas[2]).norm().item() < 0.3 * later
    resumed = prepared(DATA, method=method, lifetime=2)
    resumed.restore({"theta": thetas[2], "failures": 0})
    resumed.loss(*parts(DATA, resumed, 3, False), 3)
    assert torch.equal(resumed.state()["theta"], thetas[3])


def test_training_that_diverges_gives_no_gradient_and_at_last_an_error() -> None:
    objective = prepared(DATA, inner_learning_rate=1e30, lifetime=5)
    real, synthetic = parts(DATA, objective, 0, True)
    for step in range(9):
        loss = objective.loss(real, synthetic, step)
        assert loss.item() == pytest.approx(torch.tensor(3.0).log().item())
        assert not torch.autograd.grad(loss, synthetic.samples)[0].any()
    with pytest.raises(ConfigError, match=r"inner_learning_rate 1e\+30 has diverged 10 times"):
        objective.loss(real, synthetic, 9)


@pytest.mark.parametrize(
    "settings",
    [
        {"inner_steps": 0},
        {"window": 0},
        {"method": "magic"},
        {"solver": "lu"},
        {"inner_learning_rate": 0.0},
        {"damping": -1.0},
    ],
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        BilevelConfig(**settings)


def recipe(method: str = "unrolled", steps: int = 9, **settings: Any) -> Recipe:
    objective = BilevelConfig(**{**TINY, "method": method, "lifetime": 4, "iterations": 3})
    base = Recipe(
        "bcdc", steps=steps, objective=objective, quantizer=QuantizerConfig("uniform"), ipc=1, bits=3
    )
    return replace(base, **settings)


@pytest.mark.parametrize(("method", "labels"), [("unrolled", "soft"), ("implicit", "hard")])
def test_resumed_is_as_never_interrupted(
    method: str, labels: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimising, "CHECKPOINT_EVERY", 3)
    monkeypatch.setattr(bilevel, "_TEACHER", PoolConfig(networks=1, stages=(3,)))
    wanted, path = recipe(method, labels=labels), tmp_path / "checkpoint"
    whole = encode(distill(DATA, wanted, None, seed=3))
    assert whole != encode(distill(DATA, wanted, None, seed=4))
    with pytest.raises(KeyboardInterrupt):
        distill(DATA, wanted, None, seed=3, checkpoint=path, progress=StopAt(7))
    assert encode(distill(DATA, wanted, None, seed=3, checkpoint=path, resume=True)) == whole
    assert decode(whole).class_counts() == [1, 0, 1]


@pytest.mark.parametrize(("method", "inner_steps"), [("unrolled", 8), ("implicit", 25)])
def test_networks_that_train_on_the_set_come_to_a_lower_loss_on_real_samples(
    method: str, inner_steps: int
) -> None:
    settings: dict[str, Any] = {
        "inner_steps": inner_steps,
        "inner_learning_rate": 0.2,
        "augmented": False,
        "damping": 0.05,
    }
    wanted = recipe(method, bits=8, optimizer=OptimizerConfig(learning_rate=0.05))
    wanted = replace(wanted, objective=replace(wanted.objective, lifetime=1, iterations=8, **settings))
    judge = prepared(DATA, window=1, **settings)

    def loss(steps: int) -> float:
        """Of other networks, on other batches than those of the distillation."""
        distilled = distill(DATA, replace(wanted, steps=steps), None)
        synthetic = Synthetic(distilled.samples, distilled.labels, distilled.labels)
        losses = [judge.loss(DATA.batch(judge.real_indices(i)), synthetic, i) for i in range(100, 110)]
        return torch.stack(losses).mean().item()

    assert loss(25) < 0.95 * loss(0)
