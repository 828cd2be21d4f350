"""Neural feature regression: its closed form is ridge regression, and students live as they should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from making import make_data
from sklearn.linear_model import Ridge
from stopping import StopAt
from torch import Tensor, nn

from fedbits import acceleration, networks, recipes
from fedbits import optimise as optimising
from fedbits.container import encode
from fedbits.data import TensorData
from fedbits.distill import distill
from fedbits.errors import ConfigError
from fedbits.matching import RegressionConfig, RegressionMatching, Setting, Synthetic
from fedbits.matching.regression import regression_error
from fedbits.matching.students import StudentsConfig
from fedbits.progress import SILENT
from fedbits.recipe import Recipe

SEED = 5
CPU = torch.device("cpu")
IMAGES = make_data((1, 8, 8), [20, 20])
STUDENTS = StudentsConfig(networks=2, lifetime=4, steps=1, batch=6)
TINY = RegressionConfig(width=4, real_batch=6, students=STUDENTS)


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared with float32 arithmetic must not be bfloat16, even where the machine has it."""
    monkeypatch.setattr(acceleration, "_has_bfloat16", lambda device: False)


def prepared(data: TensorData, extractor: nn.Module | None = None, **settings: Any) -> RegressionMatching:
    students = replace(STUDENTS, **settings.pop("students", {}))
    config = replace(TINY, students=students, **settings)
    objective = RegressionMatching(config, Setting(SEED, CPU, 1, extractor))
    objective.prepare(data, SILENT)
    return objective


def start(data: TensorData, per_class: int = 3) -> Synthetic:
    """Noisy samples of each class that can receive gradients."""
    index = torch.cat([where[:per_class] for where in data.class_indices()])
    samples, labels = data.batch(index)
    noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(3))
    return Synthetic((samples + noise).requires_grad_(), labels, labels)


def loss_of(data: TensorData, objective: RegressionMatching, synthetic: Synthetic, step: int) -> Tensor:
    return objective.loss(data.batch(objective.real_indices(step)), synthetic, step)


@pytest.mark.parametrize(("rows", "features"), [(7, 12), (12, 12), (30, 5)])
def test_the_error_is_that_of_ridge_regression(rows: int, features: int) -> None:
    draws = np.random.default_rng(rows)
    x, z = draws.normal(1.0, 2.0, (rows, features)), draws.normal(1.0, 2.0, (9, features))
    y, t = draws.dirichlet([1, 1, 1], rows), np.eye(3)[draws.integers(0, 3, 9)]
    singular = np.linalg.svd(x - x.mean(0), compute_uv=False)
    alpha = 0.2 * (singular**2).sum() / min(rows, features)
    expected = np.square(Ridge(alpha=alpha).fit(x, y).predict(z) - t).sum(1).mean()
    found = regression_error(*map(torch.from_numpy, (x, y, z, t)), ridge=0.2)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    x, z = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (5, 6))
    y, t = torch.eye(3).double()[[0, 1, 2, 0, 1]], torch.eye(3).double()[[2, 1, 0, 0, 1, 2]]
    # The unit of the ridge is a constant to the gradient, so it is kept where it was.
    x.requires_grad_()
    (slope,) = torch.autograd.grad(regression_error(x, y, z, t, 0.3), x)
    unit = float((x - x.mean(0)).square().sum().detach())
    for place in ((0, 0), (2, 3), (4, 1)):
        values = []
        for step in (1e-3, -1e-3):
            moved = x.detach().clone()
            moved[place] += step
            ridge = 0.3 * unit / float((moved - moved.mean(0)).square().sum())
            values.append(float(regression_error(moved, y, z, t, ridge).double()))
        assert float(slope[place]) == pytest.approx((values[0] - values[1]) / 2e-3, rel=2e-2, abs=2e-4)


def test_the_loss_is_the_error_and_the_distance_of_means() -> None:
    synthetic = start(IMAGES)
    alone, both = (prepared(IMAGES, augmented=False, means=means) for means in (0.0, 2.0))
    error, total = (loss_of(IMAGES, objective, synthetic, 0) for objective in (alone, both))
    real = IMAGES.batch(both.real_indices(0))
    theirs, ours = both._features(real.samples), both._features(synthetic.samples)
    spread = theirs.std(0).mean()
    apart = 0.0
    for c in range(2):
        difference = ours[synthetic.labels == c].mean(0) - theirs[real.labels == c].mean(0)
        apart += float((difference.detach() / spread).square().mean()) / 2
    assert float(total.detach()) == pytest.approx(float(error.detach()) + 2 * apart, rel=1e-5)
    targets = [F.one_hot(labels, 2).float() for labels in (synthetic.labels, real.labels)]
    expected = regression_error(ours, targets[0], theirs, targets[1], TINY.ridge)
    assert float(error.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_a_single_class_has_something_to_learn() -> None:
    data = make_data((1, 8, 8), [0, 20, 0])
    synthetic = start(data)
    (slope,) = torch.autograd.grad(loss_of(data, prepared(data), synthetic, 0), synthetic.samples)
    assert slope.isfinite().all()
    assert slope.abs().max() > 1e-6


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 2, 9), (12,)])
def test_samples_of_every_form(shape: tuple[int, ...]) -> None:
    data = make_data(shape, [20, 0, 3], dtype="float32")
    synthetic = start(data)
    (slope,) = torch.autograd.grad(
        loss_of(data, prepared(data, augmented=False, width=16), synthetic, 0), synthetic.samples
    )
    assert slope.isfinite().all()
    assert slope.abs().sum(tuple(range(1, slope.dim()))).min() > 0


def test_targets_receive_gradients() -> None:
    hard = start(IMAGES)
    targets = F.one_hot(hard.labels, 2).float().requires_grad_()
    soft = hard._replace(targets=targets)
    expected = loss_of(IMAGES, prepared(IMAGES), hard, 0)
    found = loss_of(IMAGES, prepared(IMAGES), soft, 0)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)
    (slope,) = torch.autograd.grad(found, targets)
    assert slope.abs().max() > 0


def test_students_are_of_different_ages_and_die() -> None:
    objective = prepared(IMAGES, students={"networks": 2, "lifetime": 4, "steps": 2})
    synthetic, ages = start(IMAGES), []
    for step in range(6):
        loss_of(IMAGES, objective, synthetic, step)
        ages.append([None if s is None else s.age for s in objective._students._students])
    assert ages == [[2, None], [2, 4], [4, 4], [4, 2], [2, 2], [2, 4]]


def test_a_student_is_trained_by_sgd() -> None:
    objective = prepared(IMAGES, augmented=False, students={"networks": 1, "lifetime": 9, "augmented": False})
    synthetic = start(IMAGES)
    loss_of(IMAGES, objective, synthetic, 0)
    student = objective._students._students[0]
    assert student is not None
    network = networks.build("convnet", IMAGES.spec, 4)
    torch.nn.utils.vector_to_parameters(student.theta, network.parameters())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    for parameter, velocity in zip(
        network.parameters(), student.velocity.split([p.numel() for p in network.parameters()]), strict=True
    ):
        optimizer.state[parameter]["momentum_buffer"] = velocity.view_as(parameter).clone()
    drawn: list[Tensor] = []
    forward = objective._students._forward
    objective._students._forward = lambda samples: (drawn.append(samples.clone()), forward(samples))[1]
    loss_of(IMAGES, objective, synthetic, 1)
    samples = synthetic.samples.detach()
    index = torch.stack([(samples == row).flatten(1).all(1).nonzero()[0, 0] for row in drawn[0]])
    F.cross_entropy(network(samples[index]), synthetic.targets[index]).backward()
    optimizer.step()
    assert torch.allclose(torch.nn.utils.parameters_to_vector(network.parameters()), student.theta, atol=1e-6)


def test_a_given_network_is_where_students_start() -> None:
    given = networks.build("convnet", IMAGES.spec, 8, 77)
    before = torch.nn.utils.parameters_to_vector(given.parameters()).detach().clone()
    objective = prepared(
        IMAGES, extractor=given, students={"networks": 1, "lifetime": 1, "learning_rate": 1e-9}
    )
    for step in range(2):
        loss_of(IMAGES, objective, start(IMAGES), step)
        held = torch.nn.utils.parameters_to_vector(objective._students._parameters)
        assert torch.allclose(held, before, atol=1e-6)
    assert torch.equal(torch.nn.utils.parameters_to_vector(given.parameters()), before)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (RegressionConfig, {"ridge": 0.0}),
        (RegressionConfig, {"ridge": float("nan")}),
        (RegressionConfig, {"means": -1.0}),
        (RegressionConfig, {"width": 0}),
        (RegressionConfig, {"real_batch": 0}),
        (StudentsConfig, {"networks": 0}),
        (StudentsConfig, {"lifetime": 0}),
        (StudentsConfig, {"steps": 0}),
        (StudentsConfig, {"batch": 0}),
        (StudentsConfig, {"learning_rate": 0.0}),
    ],
)
def test_settings_out_of_range_are_refused(kind: type, settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(ConfigError, match=f"{name}.* is"):
        kind(**settings)


def recipe(**settings: Any) -> Recipe:
    return recipes.get("quadd", objective=replace(TINY, **settings), ipc=2, bits=3, steps=9)


def test_students_that_diverge_are_told_of() -> None:
    wild = recipe(students=replace(STUDENTS, learning_rate=1e9, lifetime=50))
    with pytest.raises(ConfigError, match=r"the loss is nan at step \d+: optimisation diverged"):
        distill(IMAGES, replace(wild, steps=40), None)


def test_resumed_is_as_never_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimising, "CHECKPOINT_EVERY", 2)
    data = make_data((1, 8, 8), [20, 0, 20])
    whole = encode(distill(data, recipe(), None, seed=1))
    assert whole == encode(distill(data, recipe(), None, seed=1))
    assert whole != encode(distill(data, recipe(), None, seed=2))
    path = tmp_path / "checkpoint"
    how: dict[str, Any] = {"seed": 1, "checkpoint": path}
    for stop in (3, 6):
        with pytest.raises(KeyboardInterrupt):
            distill(data, recipe(), None, **how, resume=path.exists(), progress=StopAt(stop))
    assert whole == encode(distill(data, recipe(), None, **how, resume=True))


@pytest.mark.parametrize("augmented", [False, True])
def test_the_loss_falls(augmented: bool) -> None:
    objective = prepared(IMAGES, augmented=augmented, width=8, real_batch=20)
    synthetic, losses = start(IMAGES), []
    optimizer = torch.optim.Adam([synthetic.samples], lr=0.05)
    for step in range(60):
        loss = loss_of(IMAGES, objective, synthetic, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-20:]) < 0.7 * sum(losses[:20])
