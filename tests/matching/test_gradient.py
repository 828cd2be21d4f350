"""Gradient matching: the batched distance is that of a plain loop, and the network lives as it should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from making import make_data
from stopping import StopAt
from torch import Tensor, nn

from fedbits import acceleration, networks, recipes
from fedbits import optimise as optimising
from fedbits.acceleration import Acceleration
from fedbits.augment import augment, draw
from fedbits.container import encode
from fedbits.data import TensorData
from fedbits.data.tensors import Batch
from fedbits.distill import distill
from fedbits.errors import ConfigError
from fedbits.matching import GradientConfig, GradientMatching, Setting, Synthetic
from fedbits.matching.class_gradients import members
from fedbits.matching.gradient import loops
from fedbits.progress import SILENT
from fedbits.recipe import Recipe
from fedbits.rng import derive_seed, torch_stream

SEED = 5
CPU = torch.device("cpu")
IMAGES = make_data((1, 8, 8), [20, 20])
TINY = GradientConfig(width=4, real_batch=6, outer=3, inner=2, network_learning_rate=0.1)


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared with float32 arithmetic must not be bfloat16, even where the machine has it."""
    monkeypatch.setattr(acceleration, "_has_bfloat16", lambda device: False)


def prepared(
    data: TensorData, how: Acceleration | None = None, extractor: nn.Module | None = None, **settings: Any
) -> GradientMatching:
    objective = GradientMatching(replace(TINY, **settings), Setting(SEED, CPU, 1, extractor), how)
    objective.prepare(data, SILENT)
    return objective


def start(data: TensorData, per_class: int = 2, soft: bool = False) -> Synthetic:
    """Noisy samples of each class that can receive gradients, as their soft targets can."""
    index = torch.cat([where[:per_class] for where in data.class_indices()])
    samples, labels = data.batch(index)
    generator = torch.Generator().manual_seed(3)
    samples = samples + torch.randn(samples.shape, generator=generator)
    targets = labels
    if soft:
        logits = torch.randn(len(labels), data.spec.classes, generator=generator)
        targets = (logits + 2 * F.one_hot(labels, data.spec.classes)).softmax(1).requires_grad_()
    return Synthetic(samples.requires_grad_(), labels, targets)


def loss_of(data: TensorData, objective: GradientMatching, synthetic: Synthetic, step: int) -> Tensor:
    return objective.loss(data.batch(objective.real_indices(step)), synthetic, step)


def plain_loss(
    network: nn.Module, real: Batch, synthetic: Synthetic, step: int, classes: int, augmented: bool
) -> Tensor:
    """As the papers write it: class by class, weight by weight, row by row."""
    weights = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    drawn = draw(classes, torch_stream(SEED, "siamese", step))
    drawn = replace(drawn, uniform=drawn.uniform.to(real.samples.dtype))

    def gradients(samples: Tensor, targets: Tensor, c: int) -> tuple[Tensor, ...]:
        if augmented:
            samples = augment(samples, drawn.of(torch.full((len(samples),), c)))
        loss = F.cross_entropy(network(samples), targets)
        return torch.autograd.grad(loss, weights, create_graph=True)

    total = torch.zeros((), dtype=real.samples.dtype)
    for c in sorted(set(real.labels.tolist()) & set(synthetic.labels.tolist())):
        mine, theirs = synthetic.labels == c, real.labels == c
        ours = gradients(synthetic.samples[mine], synthetic.targets[mine], c)
        wanted = gradients(real.samples[theirs], real.labels[theirs], c)
        for a, b in zip(ours, wanted, strict=True):
            for row, wanted_row in zip(a, b, strict=True):
                total = total + 1 - F.cosine_similarity(row.flatten(), wanted_row.detach().flatten(), dim=0)
    return total


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize(
    ("shape", "counts", "soft"),
    [
        ((3, 8, 8), [9, 9, 9], False),
        ((1, 7, 5), [0, 9, 1, 4], False),
        ((12,), [9, 4, 0, 2], False),
        ((12,), [9, 4, 0, 2], True),
        ((1, 8, 8), [3, 9], True),
        ((1, 8, 8), [1], False),
    ],
)
def test_the_batched_loss_is_that_of_a_loop_over_classes(
    shape: tuple[int, ...], counts: list[int], soft: bool, augmented: bool
) -> None:
    data = make_data(shape, counts)
    objective = prepared(data, augmented=augmented, outer=1)
    synthetic = start(data, per_class=3, soft=soft)
    leaves = [synthetic.samples, synthetic.targets] if soft else [synthetic.samples]
    for step in range(4):
        network = networks.build(networks.default_network(data.spec), data.spec, 4)
        networks.initialise(network, derive_seed(SEED, "network", step))
        real = data.batch(objective.real_indices(step))
        batched = objective.loss(real, synthetic, step)
        plain = plain_loss(network, real, synthetic, step, len(counts), augmented)
        assert batched.item() == pytest.approx(plain.item(), rel=1e-5, abs=1e-5)
        found = torch.autograd.grad(batched, leaves)
        for gradient, expected in zip(found, torch.autograd.grad(plain, leaves), strict=True):
            scale = expected.abs().max().item() + 1e-6
            assert torch.allclose(gradient, expected, rtol=0, atol=1e-4 * scale)


def test_the_loss_is_that_of_a_loop_in_float64() -> None:
    data = make_data((1, 8, 8), [9, 0, 9])
    objective = prepared(data, augmented=False, outer=1)
    synthetic = start(data)
    network = networks.build("convnet", data.spec, 4, derive_seed(SEED, "network", 0)).double()
    real = data.batch(objective.real_indices(0))
    doubled = synthetic._replace(samples=synthetic.samples.double())
    plain = plain_loss(network, Batch(real.samples.double(), real.labels), doubled, 0, 3, augmented=False)
    batched = objective.loss(real, synthetic, 0)
    assert batched.item() == pytest.approx(plain.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(batched, synthetic.samples)
    (expected,) = torch.autograd.grad(plain, synthetic.samples)
    assert F.cosine_similarity(gradient.flatten(), expected.flatten(), dim=0).item() > 1 - 1e-6


@pytest.mark.parametrize("samples_at_once", [1, 4, 7, 13])
def test_memory_changes_nothing(samples_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data((1, 8, 8), [9, 2, 0, 9, 5, 1])
    synthetic = start(data, soft=True)

    def found() -> tuple[Tensor, ...]:
        loss = loss_of(data, prepared(data), synthetic, 0)
        return loss, *torch.autograd.grad(loss, [synthetic.samples, synthetic.targets])

    whole = found()
    monkeypatch.setattr(Acceleration, "chunk", lambda self, activations: samples_at_once)
    for part, expected in zip(found(), whole, strict=True):
        assert torch.allclose(part, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_bfloat16_of_the_real_half_stays_close() -> None:
    data = make_data((1, 16, 16), [64, 64])
    synthetic = start(data, per_class=4)
    gradients = []
    for bfloat16 in (False, True):
        objective = prepared(data, Acceleration(CPU, bfloat16), width=16, real_batch=64)
        loss = loss_of(data, objective, synthetic, 0)
        gradients.append(torch.autograd.grad(loss, synthetic.samples)[0].flatten())
    assert F.cosine_similarity(*gradients, dim=0).item() > 0.99


def test_a_compiled_real_half_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes long, so what would be compiled only counts here which shapes it is called with."""
    shapes = set()

    def compiled(function: Any, **options: Any) -> Any:
        def called(*arguments: Any) -> Any:
            shapes.add(tuple(a.shape for a in arguments if isinstance(a, Tensor)))
            return function(*arguments)

        return called

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(Acceleration, "chunk", lambda self, activations: 12)
    data = make_data((1, 8, 8), [6, 2, 6, 1])
    synthetic = start(data)
    eager = loss_of(data, prepared(data, Acceleration(CPU)), synthetic, 0)
    fast = loss_of(data, prepared(data, Acceleration(CPU, compiled=True)), synthetic, 0)
    assert fast.item() == pytest.approx(eager.item(), rel=1e-5)
    assert len(shapes) == 1


def test_equal_sets_cost_nothing_and_only_synthetic_samples_receive_gradients() -> None:
    real = IMAGES.batch(prepared(IMAGES).real_indices(0))
    real.samples.requires_grad_()
    synthetic = Synthetic(real.samples.detach().clone().requires_grad_(), real.labels, real.labels)
    loss = prepared(IMAGES).loss(real, synthetic, 0)
    assert loss.item() == pytest.approx(0, abs=1e-4)
    loss.backward()
    assert real.samples.grad is None
    assert synthetic.samples.grad is not None


def test_real_batches_are_drawn_from_each_class_that_is_there() -> None:
    data = make_data((1, 4, 4), [2, 0, 20])
    objective = prepared(data)
    index = objective.real_indices(3)
    assert data.labels[index].tolist() == [0] * 2 + [2] * 6
    assert len(set(index.tolist())) == 8
    assert torch.equal(index, objective.real_indices(3))
    assert not torch.equal(index, objective.real_indices(4))


def test_members_of_classes_average_to_their_means() -> None:
    labels = torch.tensor([2, 0, 2, 3, 2, 0])
    found = members(labels, [0, 2, 3])
    assert found.share.sum(1).tolist() == pytest.approx([1, 1, 1])
    assert (labels[found.index] == torch.tensor([[0], [2], [3]])).all()
    values = torch.arange(6.0)
    assert (values[found.index] * found.share).sum(1).tolist() == pytest.approx([3, 2, 3])
    assert found.take(2, 3, trimmed=True).index.tolist() == [[3]]


def test_loops_are_the_published_ones() -> None:
    published = {1: (1, 1), 10: (10, 50), 50: (50, 10)}
    assert {per_class: loops(per_class) for per_class in published} == published
    assert loops(20) == (20, 25)
    assert loops(0.5) == (1, 1)
    assert loops(5000) == (50, 1)
    inner = [loops(n)[1] for n in range(1, 11)]
    assert inner == sorted(inner)


def weights_of(objective: GradientMatching) -> Tensor:
    return torch.cat([value.detach().flatten().clone() for value in objective._network.parameters()])


def test_the_network_starts_anew_and_is_trained_as_the_loops_say() -> None:
    objective = prepared(IMAGES, outer=3, inner=2, augmented=False, momentum=0.5)
    synthetic = start(IMAGES)
    for iteration in range(2):
        network = networks.build("convnet", IMAGES.spec, 4, derive_seed(SEED, "network", iteration))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.5)
        for position in range(3):
            for _ in range(2 if position else 0):
                optimizer.zero_grad()
                F.cross_entropy(network(synthetic.samples.detach()), synthetic.targets).backward()
                optimizer.step()
            loss_of(IMAGES, objective, synthetic, 3 * iteration + position)
            expected = torch.cat([value.detach().flatten() for value in network.parameters()])
            assert torch.allclose(weights_of(objective), expected, atol=1e-6)


def test_training_goes_through_the_set_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = prepared(IMAGES, batch=5, outer=2, inner=3)
    synthetic = start(IMAGES, per_class=4)
    sizes: list[int] = []
    forward = objective._forward

    def counted(samples: Tensor) -> Tensor:
        sizes.append(len(samples))
        return forward(samples)

    monkeypatch.setattr(objective, "_forward", counted)
    for step in range(3):
        loss_of(IMAGES, objective, synthetic, step)
    assert sizes == [4, 4] * 3


def test_a_given_network_is_where_each_iteration_starts() -> None:
    given = networks.build("convnet", IMAGES.spec, 8, 77)
    before = torch.cat([value.detach().flatten().clone() for value in given.parameters()])
    objective = prepared(IMAGES, extractor=given, outer=2)
    trained = []
    for step in range(3):
        loss_of(IMAGES, objective, start(IMAGES), step)
        trained.append(not torch.equal(weights_of(objective), before))
    assert trained == [False, True, False]
    assert torch.equal(torch.cat([value.detach().flatten() for value in given.parameters()]), before)


@pytest.mark.parametrize(
    "settings", [{"outer": 0}, {"real_batch": 0}, {"momentum": 1.0}, {"network_learning_rate": 0.0}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(ConfigError, match=f"{name} is"):
        GradientConfig(**settings)


def recipe(**settings: Any) -> Recipe:
    objective = replace(TINY, momentum=0.5, **settings)
    return recipes.get("quadd", objective=objective, ipc=2, bits=3, steps=9)


def test_resumed_is_as_never_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimising, "CHECKPOINT_EVERY", 2)
    data = make_data((1, 8, 8), [20, 0, 20])
    whole = encode(distill(data, recipe(outer=4), None, seed=1))
    assert whole == encode(distill(data, recipe(outer=4), None, seed=1))
    assert whole != encode(distill(data, recipe(outer=4), None, seed=2))
    path = tmp_path / "checkpoint"
    for stop in (3, 6):  # in the middle of an iteration
        with pytest.raises(KeyboardInterrupt):
            distill(
                data,
                recipe(outer=4),
                None,
                seed=1,
                checkpoint=path,
                resume=path.exists(),
                progress=StopAt(stop),
            )
    assert whole == encode(distill(data, recipe(outer=4), None, seed=1, checkpoint=path, resume=True))


@pytest.mark.parametrize("augmented", [False, True])
def test_the_loss_falls(augmented: bool) -> None:
    heard = StopAt()
    settings = recipe(augmented=augmented, outer=2, inner=1, width=8, real_batch=20)
    distill(IMAGES, replace(settings, steps=60, bits=8), None, progress=heard)
    assert len(heard.losses) == 60
    assert sum(heard.losses[-20:]) < 0.9 * sum(heard.losses[:20])
