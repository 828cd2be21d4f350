"""Differentiating through training: the same gradients as a graph of the whole run gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from making import make_data
from torch import Tensor

from fedbits import networks
from fedbits.augment import augment, draw
from fedbits.errors import ConfigError
from fedbits.matching.functional import FlatNetwork
from fedbits.matching.unroll import Unrolled, second_order, tape, train, unroll
from fedbits.rng import torch_stream

STEPS = 6
Inner = Callable[[Tensor, int], Tensor]
Outer = Callable[[Tensor], Tensor]


def with_graph(
    inner: Inner, theta: Tensor, rate: Tensor, steps: int, inputs: Sequence[Tensor], outer: Outer, first: int
) -> Unrolled:
    """The plain way: one graph of all steps from ``first`` on, the parameters detached before."""
    rate = rate.detach().requires_grad_()
    theta = theta.detach().requires_grad_()
    for step in range(steps):
        if step == first:
            theta = theta.detach().requires_grad_()
        (slope,) = torch.autograd.grad(inner(theta, step), theta, create_graph=True)
        theta = theta - (rate if step >= first else rate.detach()) * slope
    value = outer(theta)
    *gradients, rate_gradient = torch.autograd.grad(value, [*inputs, rate])
    return Unrolled(value.detach(), tuple(gradients), rate_gradient, theta.detach())


class Problem:
    """A network that learns minibatches of augmented samples with soft targets, in float64."""

    def __init__(self, shape: tuple[int, ...], soft: bool) -> None:
        data = make_data(shape, [5, 2, 5])
        name = networks.default_network(data.spec)
        self.network = FlatNetwork(networks.build(name, data.spec, 6, 1).double())
        batch = data.batch(torch.arange(12))
        self.samples = batch.samples[:8].double().requires_grad_()
        logits = torch.randn(8, 3, generator=torch_stream(3, "logits"), dtype=torch.float64)
        self.logits = logits.requires_grad_()
        self.soft, self.labels = soft, batch.labels[:8]
        self.real, self.classes = batch.samples[4:].double(), batch.labels[4:]
        self.inputs = [self.samples, self.logits] if soft else [self.samples]

    def inner(self, theta: Tensor, step: int) -> Tensor:
        generator = torch_stream(3, "inner", step)
        index = torch.randperm(8, generator=generator)[:5]
        samples = augment(self.samples[index], draw(5, generator))
        targets = (self.logits.softmax(1) if self.soft else self.labels)[index]
        return F.cross_entropy(self.network.logits(theta, samples), targets)

    def outer(self, theta: Tensor) -> Tensor:
        return F.cross_entropy(self.network.logits(theta, self.real), self.classes)


@pytest.mark.parametrize("window", [None, 1, 3, STEPS, 99])
@pytest.mark.parametrize(("shape", "soft"), [((1, 8, 8), True), ((3, 5, 4), False), ((7,), True)])
def test_gradients_are_those_of_the_whole_graph(
    shape: tuple[int, ...], soft: bool, window: int | None
) -> None:
    problem = Problem(shape, soft)
    theta, rate = problem.network.vector(), torch.tensor(0.2, dtype=torch.float64)
    ours = unroll(problem.inner, theta, rate, STEPS, problem.inputs, problem.outer, window)
    first = 0 if window is None else max(0, STEPS - window)
    reference = with_graph(problem.inner, theta, rate, STEPS, problem.inputs, problem.outer, first)
    torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-13)
    assert float(ours.gradients[0].abs().sum()) > 0
    assert not any(tensor.requires_grad for tensor in (ours.value, *ours.gradients, ours.rate, ours.theta))


def test_the_rate_gradient_is_the_slope_of_the_outer_loss() -> None:
    problem = Problem((1, 8, 8), True)
    theta = problem.network.vector()

    def at(rate: float) -> Unrolled:
        tensor = torch.tensor(rate, dtype=torch.float64)
        return unroll(problem.inner, theta, tensor, STEPS, problem.inputs, problem.outer)

    numeric = (at(0.2 + 1e-6).value - at(0.2 - 1e-6).value) / 2e-6
    assert at(0.2).rate.item() == pytest.approx(numeric.item(), rel=1e-5)


def test_an_outer_function_may_look_at_the_inputs_too() -> None:
    problem = Problem((7,), False)
    theta, rate = problem.network.vector(), torch.tensor(0.1, dtype=torch.float64)

    def outer(end: Tensor) -> Tensor:
        return problem.outer(end) * problem.samples.square().sum()

    ours = unroll(problem.inner, theta, rate, 2, problem.inputs, outer)
    torch.testing.assert_close(ours, with_graph(problem.inner, theta, rate, 2, problem.inputs, outer, 0))


def test_inputs_that_nothing_depends_on_get_zeros() -> None:
    idle = torch.ones(3, requires_grad=True)
    start, rate = torch.ones(2), torch.tensor(0.5)
    ours = unroll(lambda theta, step: theta.sum(), start, rate, 3, [idle], lambda theta: theta.square().sum())
    assert ours.gradients[0].tolist() == [0, 0, 0]
    assert ours.theta.tolist() == [-0.5, -0.5]
    assert ours.rate.item() == pytest.approx(6.0)  # d/dr of 2·(1 − 3r)² at r = 1/2


def test_second_order_is_the_hessian_along_a_vector() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    taped = tape(lambda theta: (x * theta.pow(3)).sum(), torch.tensor([2.0, 3.0]))
    slope, curved, (mixed,) = second_order(taped, [x], torch.tensor([1.0, -1.0]))
    assert slope.tolist() == [12, 54]
    assert curved.tolist() == [12, -36]
    assert mixed.tolist() == [12, -27]


def test_training_ends_where_sgd_does() -> None:
    def loss(theta: Tensor, step: int) -> Tensor:
        return 0.5 * theta.square().sum()

    end = train(loss, torch.tensor([16.0]), torch.tensor(0.5), 4)
    assert (end.tolist(), end.requires_grad) == ([1], False)


@pytest.mark.parametrize(("memory", "kept"), [(0, 1), (1, STEPS)])
def test_as_many_graphs_are_kept_as_memory_allows(memory: int, kept: int) -> None:
    """Of all steps but those, the graph is made anew; what is found is the same."""
    problem, calls = Problem((1, 8, 8), True), []

    def counted(theta: Tensor, step: int) -> Tensor:
        calls.append(step)
        return problem.inner(theta, step)

    theta, rate = problem.network.vector(), torch.tensor(0.2, dtype=torch.float64)
    ours = unroll(counted, theta, rate, STEPS, problem.inputs, problem.outer, memory=memory << 30)
    assert calls == [*range(STEPS), *reversed(range(STEPS - kept))]
    reference = with_graph(problem.inner, theta, rate, STEPS, problem.inputs, problem.outer, 0)
    torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-13)


def test_some_graphs_are_kept_where_all_would_take_too_much() -> None:
    problem, calls = Problem((1, 8, 8), False), []

    def counted(theta: Tensor, step: int) -> Tensor:
        calls.append(step)
        return problem.inner(theta, step)

    theta, rate = problem.network.vector(), torch.tensor(0.2, dtype=torch.float64)
    unroll(counted, theta, rate, STEPS, problem.inputs, problem.outer, memory=1 << 18)
    assert STEPS < len(calls) < 2 * STEPS - 1


@pytest.mark.parametrize(("steps", "window"), [(0, None), (3, 0)])
def test_there_must_be_something_to_differentiate(steps: int, window: int | None) -> None:
    problem = Problem((7,), False)
    with pytest.raises(ConfigError, match="at least one of each"):
        unroll(
            problem.inner,
            problem.network.vector(),
            torch.tensor(0.1),
            steps,
            problem.inputs,
            problem.outer,
            window,
        )


@pytest.mark.parametrize("shape", [(3, 8, 8), (7,)])
def test_a_flat_network_is_the_network(shape: tuple[int, ...]) -> None:
    data = make_data(shape, [4, 4])
    network = networks.build(networks.default_network(data.spec), data.spec, 6, 1)
    other = networks.build(networks.default_network(data.spec), data.spec, 6, 2)
    flat, samples = FlatNetwork(network), data.batch().samples
    theta = flat.vector()
    assert flat.size == len(theta) == sum(parameter.numel() for parameter in network.parameters())
    torch.testing.assert_close(flat.logits(theta, samples), network(samples))
    torch.testing.assert_close(flat.features(theta, samples), network.features(samples))  # type: ignore[operator]
    assert {name: view.shape for name, view in flat.unflatten(theta).items()} == {
        name: parameter.shape for name, parameter in network.named_parameters()
    }
    both = torch.stack([theta, FlatNetwork(other).vector()])
    at_once = torch.func.vmap(flat.logits, (0, None))(both, samples)
    torch.testing.assert_close(at_once, torch.stack([network(samples), other(samples)]))
    assert torch.equal(flat.vector(), theta)
