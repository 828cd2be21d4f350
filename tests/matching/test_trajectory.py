"""Trajectory matching: its loss and gradients, where it starts, and what reaches the receiver."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from making import make_data
from stopping import StopAt
from torch import Tensor

from fedbits import acceleration
from fedbits import optimise as optimising
from fedbits.augment import augment
from fedbits.container import decode, encode
from fedbits.data import TensorData
from fedbits.distill import distill
from fedbits.errors import ConfigError
from fedbits.matching import Setting, Synthetic, TrajectoryConfig, TrajectoryMatching
from fedbits.matching.experts import ExpertConfig
from fedbits.progress import SILENT
from fedbits.recipe import OptimizerConfig, Recipe

DATA = make_data((1, 8, 8), [12, 0, 14])
CONFIG = TrajectoryConfig(
    ExpertConfig(experts=2, epochs=4, batch=8, learning_rate=0.05, width=4),
    synthetic_steps=3,
    expert_epochs=1,
    learning_rate=0.05,
)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Full precision, and a cache of the test's own."""
    monkeypatch.setattr(acceleration, "_has_bfloat16", lambda device: False)
    monkeypatch.setenv("FEDBITS_CACHE", str(tmp_path / "cache"))


def prepared(data: TensorData = DATA, **settings: Any) -> TrajectoryMatching:
    objective = TrajectoryMatching(replace(CONFIG, **settings), Setting(5, torch.device("cpu")))
    objective.prepare(data, SILENT)
    return objective


def some(data: TensorData = DATA, soft: bool = False, per_class: int = 2) -> Synthetic:
    """Samples and targets with graphs of their own, as a parameterisation and soft labels hand them out."""
    index = torch.cat([where[:per_class] for where in data.class_indices()])
    samples, labels = data.batch(index)
    targets = labels
    if soft:
        logits = 3 * F.one_hot(labels, data.spec.classes).float()
        targets = logits.requires_grad_().softmax(1)
    return Synthetic(samples.clone().requires_grad_() * 1.0, labels, targets)


def reference(objective: TrajectoryMatching, synthetic: Synthetic, step: int, log_rate: Tensor) -> Tensor:
    """The loss by one graph through all training."""
    theta, goal = objective._segment(step)
    start = theta
    theta = theta.requires_grad_()
    for index, drawn in objective._plan(len(synthetic.samples), step):
        seen = synthetic.samples[index]
        seen = seen if drawn is None else augment(seen, drawn)
        loss = F.cross_entropy(objective._network.logits(theta, seen), synthetic.targets[index])
        (slope,) = torch.autograd.grad(loss, theta, create_graph=True)
        theta = theta - log_rate.exp() * slope
    return (theta - goal).square().sum() / (start - goal).square().sum()


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("shape", [(1, 8, 8), (12,)])
def test_gradients_are_those_of_a_graph_through_all_training(
    soft: bool, batch: int | None, shape: tuple[int, ...]
) -> None:
    data = make_data(shape, [12, 0, 14])
    objective = prepared(data, batch=batch, synthetic_steps=5)
    (group,) = objective.param_groups()
    (log_rate,) = group["params"]
    for step in range(3):
        synthetic = some(data, soft)
        wanted = [synthetic.samples, log_rate, *([synthetic.targets] if soft else [])]
        value = objective.loss(None, synthetic, step)
        found = torch.autograd.grad(value, wanted)
        plain = reference(objective, synthetic, step, log_rate)
        expected = torch.autograd.grad(plain, wanted)
        assert value.item() == pytest.approx(plain.item(), rel=1e-5)
        for gradient, other in zip(found, expected, strict=True):
            assert float(other.abs().max()) > 0
            assert torch.allclose(gradient, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


def test_staying_where_one_is_costs_one() -> None:
    objective = prepared(learning_rate=1e-9)
    assert objective.loss(None, some(), 0).item() == pytest.approx(1, abs=1e-5)


def test_the_experts_own_steps_cost_nothing() -> None:
    """Trained on the very batch that made the expert, a network ends where the expert does."""
    data = DATA.subset(torch.cat([where[:4] for where in DATA.class_indices()]).sort().values)
    config = replace(CONFIG.experts, batch=8, augmented=False)
    objective = prepared(data, experts=config, synthetic_steps=1, augmented=False)
    samples, labels = data.batch()
    assert objective.loss(None, Synthetic(samples, labels, labels), 0).item() == pytest.approx(0, abs=1e-6)


def test_memory_does_not_grow_with_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What graphs hold at once, beyond what they are allowed: with twice the steps, the same."""
    monkeypatch.setattr("fedbits.matching.unroll.GRAPH_BYTES", 0)

    def held(steps: int) -> int:
        objective = prepared(synthetic_steps=steps, augmented=False)
        now = most = 0

        class Kept:
            def __init__(self, tensor: Tensor) -> None:
                nonlocal now, most
                self.tensor, self.size = tensor, tensor.numel()
                now += self.size
                most = max(most, now)

            def __del__(self) -> None:
                nonlocal now
                now -= self.size

        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            objective.loss(None, some(), 0).backward()
        return most

    assert 0 < held(4) == held(8)


def test_starts_move_on_as_datm_has_it() -> None:
    objective = TrajectoryMatching(
        replace(
            CONFIG,
            experts=replace(CONFIG.experts, epochs=40),
            min_start=2,
            current_max=10,
            max_start=20,
            expansion_end=100,
        ),
        Setting(0, torch.device("cpu")),
    )
    lasts = [objective.starts(step)[-1] for step in range(120)]
    assert {objective.starts(step)[0] for step in range(120)} == {2}
    assert lasts[0] == 10
    assert lasts[50] == 15
    assert set(lasts[100:]) == {20}
    assert lasts == sorted(lasts)
    always = TrajectoryMatching(CONFIG, Setting(0, torch.device("cpu")))
    assert always.starts(0) == always.starts(99) == range(3)


def test_segments_are_drawn_from_all_experts_and_starts() -> None:
    objective = prepared(min_start=1, max_start=2)
    pairs = {tuple(theta.sum().item() for theta in objective._segment(step)) for step in range(60)}
    expected = {
        (objective._experts.theta(i, t).sum().item(), objective._experts.theta(i, t + 1).sum().item())
        for i in (0, 1)
        for t in (1, 2)
    }
    assert pairs == expected


def test_each_pass_trains_on_every_sample_once() -> None:
    objective = prepared(synthetic_steps=7, batch=3)
    batches = [index.tolist() for index, _ in objective._plan(7, 0)]
    assert [len(batch) for batch in batches] == [3, 3, 1, 3, 3, 1, 3]
    for first in (0, 3):
        seen = [sample for batch in batches[first : first + 3] for sample in batch]
        assert sorted(seen) == list(range(7))
    again = [index.tolist() for index, _ in objective._plan(7, 0)]
    assert again == batches != [index.tolist() for index, _ in objective._plan(7, 1)]


def test_steps_with_a_large_or_no_finite_loss_are_skipped() -> None:
    usual = prepared().loss(None, some(), 0)
    assert usual.requires_grad
    above = prepared(threshold=usual.item() * 1.01).loss(None, some(), 0)
    below = prepared(threshold=usual.item() * 0.99).loss(None, some(), 0)
    assert above.requires_grad
    assert not below.requires_grad
    assert below.item() == usual.item()
    diverging = prepared(learning_rate=1e30).loss(None, some(), 0)
    assert not diverging.requires_grad
    assert not math.isfinite(diverging.item())


def test_the_step_size_stays_positive_and_in_its_range() -> None:
    objective = prepared(learning_rate=0.02)
    (log_rate,) = objective.param_groups()[0]["params"]
    assert objective.learning_rate() == pytest.approx(0.02)
    with torch.no_grad():
        log_rate.fill_(-500)
    assert objective.learning_rate() == pytest.approx(0.0002)
    with torch.no_grad():
        log_rate.fill_(500)
    assert objective.learning_rate() == pytest.approx(2)
    state = objective.state()
    other = prepared(learning_rate=0.02)
    other.restore(state)
    assert other.learning_rate() == objective.learning_rate()


def test_a_step_size_that_is_not_learned() -> None:
    objective = prepared(learning_rate_rate=0.0)
    assert objective.param_groups() == []
    assert objective.learning_rate() == pytest.approx(0.05)
    assert objective.loss(None, some(), 0).requires_grad


def test_the_teacher_is_a_trained_expert() -> None:
    experts = replace(CONFIG.experts, epochs=40)
    objective = prepared(experts=experts)
    samples, labels = DATA.batch()
    logits = objective.teach(samples)
    assert logits.shape == (len(DATA), 3)
    assert (logits.argmax(1) == labels).float().mean() > 0.9


def test_runs_of_several_seeds_can_share_experts() -> None:
    def theta(seed: int, experts_seed: int | None) -> Tensor:
        config = replace(CONFIG, experts_seed=experts_seed)
        objective = TrajectoryMatching(config, Setting(seed, torch.device("cpu")))
        objective.prepare(DATA, SILENT)
        return objective._experts.theta(0, 1)

    assert torch.equal(theta(1, 9), theta(2, 9))
    assert not torch.equal(theta(1, None), theta(2, None))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"synthetic_steps": 0}, "synthetic_steps is 0"),
        ({"expert_epochs": 0}, "expert_epochs is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"max_start": 4}, "experts have 4 epochs: a start at 4 and 1 more need 5"),
        ({"min_start": 3}, "from epoch 3 to 2"),
        ({"current_max": 3}, "from epoch 0 to 3"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate_rate": -1.0}, "learning_rate_rate -1.0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **settings)


def recipe(**settings: Any) -> Recipe:
    """DATM in small, with 3-bit samples."""
    objective = settings.pop(
        "objective", replace(CONFIG, current_max=0, expansion_end=8, batch=3, threshold=9.0)
    )
    optimizer = OptimizerConfig("sgd", learning_rate=5.0, labels_rate=2.0)
    given = {"steps": 10, "labels": "soft", "ipc": 2, "bits": 3, **settings}
    return Recipe("trying", objective=objective, optimizer=optimizer, **given)


def test_soft_labels_and_the_step_size_reach_the_receiver() -> None:
    made = distill(DATA, recipe(), None, seed=1)
    received = decode(encode(made))
    assert received.soft_labels is not None
    assert torch.equal(received.targets, made.targets)
    assert torch.equal(received.samples, made.samples)
    assert made.learning_rate is not None
    assert received.learning_rate == made.learning_rate
    assert received.learning_rate != pytest.approx(CONFIG.learning_rate, rel=1e-4)
    start = distill(DATA, recipe(steps=1), None, seed=1)
    assert not torch.equal(start.targets, made.targets)
    assert not torch.equal(start.samples, made.samples)


def test_the_loss_falls() -> None:
    progress = StopAt()
    config = replace(CONFIG, max_start=0, experts=replace(CONFIG.experts, experts=1), augmented=False)
    distill(DATA, recipe(objective=config, steps=60, bits=8), None, progress=progress)
    assert sum(progress.losses[-15:]) < 0.9 * sum(progress.losses[:15])


def test_a_skipped_step_moves_nothing() -> None:
    config = replace(CONFIG, threshold=1e-9)
    moved = distill(DATA, recipe(objective=config), None, seed=2)
    still = distill(DATA, recipe(objective=config, steps=1), None, seed=2)
    assert encode(moved) == encode(still)
    assert moved.learning_rate == pytest.approx(CONFIG.learning_rate)


def test_resumed_is_as_never_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimising, "CHECKPOINT_EVERY", 4)
    path = tmp_path / "checkpoint"
    whole = encode(distill(DATA, recipe(), None, seed=3))
    assert encode(distill(DATA, recipe(), None, seed=3)) == whole
    assert encode(distill(DATA, recipe(), None, seed=4)) != whole
    with pytest.raises(KeyboardInterrupt):
        distill(DATA, recipe(), None, seed=3, checkpoint=path, progress=StopAt(6))
    assert encode(distill(DATA, recipe(), None, seed=3, checkpoint=path, resume=True)) == whole
