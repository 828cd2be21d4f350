"""Distribution matching: the batched loss is the plain one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from making import make_data
from torch import Tensor, nn

from fedbits import acceleration, networks
from fedbits.augment import augment, draw
from fedbits.data import TensorData
from fedbits.data.tensors import Batch
from fedbits.matching import DistributionConfig, DistributionMatching, Setting, Synthetic
from fedbits.matching.pool import PoolConfig
from fedbits.progress import SILENT
from fedbits.rng import derive_seed, torch_stream

SEED = 5
POOL = PoolConfig(networks=2, stages=(0, 2), batch=8)


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared with float32 arithmetic must not be bfloat16, even where the machine has it."""
    monkeypatch.setattr(acceleration, "_has_bfloat16", lambda device: False)


def prepared(data: TensorData, extractor: nn.Module | None = None, **settings: Any) -> DistributionMatching:
    config = DistributionConfig(**{"width": 8, "real_batch": 6, "frequencies": 32, **settings})
    objective = DistributionMatching(config, Setting(SEED, torch.device("cpu"), 1, extractor))
    objective.prepare(data, SILENT)
    return objective


def parts(data: TensorData, objective: DistributionMatching, step: int) -> tuple[Batch, Synthetic]:
    """The real batch of a step, and synthetic samples that can receive gradients."""
    real = data.batch(objective.real_indices(step))
    index = torch.cat([where[:2] for where in data.class_indices()])
    samples, labels = data.batch(index)
    noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(step))
    return real, Synthetic((samples + noise).requires_grad_(), labels, labels)


def statistic_mean(features: Tensor, real: Tensor, step: int) -> Tensor:
    return features.mean(0)


def statistic_characteristic(features: Tensor, real: Tensor, step: int) -> Tensor:
    """Real and imaginary part of the mean of exp(i ⟨w, f⟩) over random frequencies w, scaled to the reals."""
    draws = torch_stream(SEED, "frequencies", step)
    frequencies = torch.randn(features.shape[1], 32, generator=draws)
    scale = real.std(dim=0).clamp(min=1e-6) * features.shape[1] ** 0.5
    phase = ((features - real.mean(0)) / scale) @ frequencies
    return torch.cat([phase.cos().mean(0), phase.sin().mean(0)]) / 32**0.5


STATISTICS = {"mean": statistic_mean, "characteristic": statistic_characteristic}


def plain_loss(
    network: nn.Module, statistic: str, real: Batch, synthetic: Synthetic, step: int, classes: int
) -> Tensor:
    """Class by class, each with its own forward passes."""
    drawn = draw(classes, torch_stream(SEED, "siamese", step))

    def features(batch: Batch, c: int) -> Tensor:
        samples = batch.samples[batch.labels == c]
        groups = torch.full((len(samples),), c)
        return network.features(augment(samples, drawn.of(groups)))  # type: ignore[operator]

    present = sorted(set(real.labels.tolist()))
    everything = torch.cat([features(real, c) for c in present]).detach()
    total = torch.zeros(())
    for c in present:
        real_value = STATISTICS[statistic](features(real, c).detach(), everything, step)
        value = STATISTICS[statistic](features(synthetic, c), everything, step)
        total = total + (real_value - value).square().sum()
    return total


@pytest.mark.parametrize(
    ("statistic", "shape", "counts"),
    [
        ("mean", (3, 8, 8), [9, 9, 9]),
        ("mean", (1, 7, 5), [0, 9, 0, 2]),
        ("mean", (12,), [9, 4, 0]),
        ("mean", (1, 8, 8), [1]),
        ("characteristic", (3, 8, 8), [9, 9, 9]),
        ("characteristic", (1, 7, 5), [0, 9, 0, 2]),
    ],
)
def test_the_batched_loss_is_that_of_a_loop_over_classes(
    statistic: str, shape: tuple[int, ...], counts: list[int]
) -> None:
    data = make_data(shape, counts)
    objective = prepared(data, statistic=statistic, width=16)
    for step in range(6):
        network = networks.build(networks.default_network(data.spec), data.spec, 16)
        networks.initialise(network, derive_seed(SEED, "network", step))
        real, synthetic = parts(data, objective, step)
        batched = objective.loss(real, synthetic, step)
        (gradient,) = torch.autograd.grad(batched, synthetic.samples)
        plain = plain_loss(network, statistic, real, synthetic, step, len(counts))
        (expected,) = torch.autograd.grad(plain, synthetic.samples)
        assert batched.item() == pytest.approx(plain.item(), rel=1e-3, abs=1e-6)
        scale = expected.abs().max().item() + 1e-6
        assert torch.allclose(gradient, expected, atol=2e-3 * scale)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_equal_sets_cost_nothing(statistic: str) -> None:
    data = make_data((1, 8, 8), [6, 6])
    objective = prepared(data, statistic=statistic)
    real, _ = parts(data, objective, 0)
    assert objective.loss(real, real, 0).item() == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("pool", [None, POOL])
def test_only_synthetic_samples_receive_gradients(pool: PoolConfig | None) -> None:
    data = make_data((1, 8, 8), [6, 6])
    objective = prepared(data, pool=pool)
    real, synthetic = parts(data, objective, 0)
    real.samples.requires_grad_()
    objective.loss(real, synthetic, 0).backward()
    assert real.samples.grad is None
    assert float(synthetic.samples.grad.abs().sum()) > 0
    assert not any(parameter.requires_grad for parameter in objective._network.parameters())


@pytest.mark.parametrize("pool", [None, POOL])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_step_is_the_same_whenever_it_is_computed(statistic: str, pool: PoolConfig | None) -> None:
    data = make_data((1, 8, 8), [6, 6])
    first = prepared(data, statistic=statistic, pool=pool)
    second = prepared(data, statistic=statistic, pool=pool)

    def value(objective: DistributionMatching, step: int) -> float:
        return objective.loss(*parts(data, objective, step), step).item()

    values = [value(first, step) for step in range(5)]
    assert [value(second, step) for step in reversed(range(5))] == values[::-1]
    assert len(set(values)) == 5


def test_real_batches_are_drawn_from_each_class_that_is_there() -> None:
    data = make_data((1, 4, 4), [2, 0, 20])
    objective = prepared(data)
    index = objective.real_indices(3)
    assert data.labels[index].tolist() == [0] * 6 + [2] * 6
    assert len(set(index[6:].tolist())) == 6
    assert sorted(index[:6].tolist()) == sorted(data.class_indices()[0].tolist() * 3)
    assert torch.equal(index, objective.real_indices(3))
    assert not torch.equal(index, objective.real_indices(4))


def test_a_given_extractor_is_used_as_it_is() -> None:
    data = make_data((1, 8, 8), [6, 6])
    extractor = networks.build("convnet", data.spec, 8, 77)
    weights = [parameter.clone() for parameter in extractor.parameters()]
    objective = prepared(data, extractor, pool=POOL)
    real, synthetic = parts(data, objective, 0)
    expected = plain_loss(extractor, "mean", real, synthetic, 0, 2)
    assert objective.loss(real, synthetic, 0).item() == pytest.approx(expected.item(), rel=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(weights, extractor.parameters(), strict=True))


def test_a_pool_holds_networks_at_several_stages() -> None:
    data = make_data((1, 8, 8), [20, 20])
    objective = prepared(data, pool=PoolConfig(networks=2, stages=(0, 1, 5), batch=8))
    pool = objective._pool
    assert pool is not None
    seen = set()
    for step in range(60):
        pool.load(step)
        seen.add(tuple(p.detach().sum().item() for p in objective._network.parameters()))
    assert len(seen) == 6
