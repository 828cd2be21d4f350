"""Gradients at an optimum: solvers against a direct solution, the whole against unrolled training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fedbits.errors import ConfigError
from fedbits.matching.implicit import Curvature, Product, Solution, conjugate_gradients, neumann
from fedbits.matching.unroll import train, unroll
from fedbits.rng import torch_stream

DECAY = 0.1
RATE = torch.tensor(0.3, dtype=torch.float64)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch_stream(0, "implicit", *shape), dtype=torch.float64)


def system(curvatures: list[float]) -> tuple[Tensor, Tensor]:
    """A symmetric matrix with these eigenvalues, and a right side."""
    size = len(curvatures)
    basis, _ = torch.linalg.qr(normal(size, size))
    return basis @ torch.diag(torch.tensor(curvatures, dtype=torch.float64)) @ basis.T, normal(size)


def solve(solver: str, product: Product, b: Tensor, **settings: Any) -> Solution:
    if solver == "cg":
        return conjugate_gradients(product, b, **settings)
    return neumann(product, b, float(RATE), **settings)


@pytest.mark.parametrize("damping", [0.0, 0.5])
@pytest.mark.parametrize(("solver", "iterations"), [("cg", 12), ("neumann", 400)])
def test_solvers_find_the_direct_solution(solver: str, iterations: int, damping: float) -> None:
    matrix, b = system([0.2, 0.3, 0.5, 1, 1, 2, 3, 4, 5, 5.5])
    found = solve(solver, matrix.mv, b, damping=damping, iterations=iterations, tolerance=1e-9)
    direct = torch.linalg.solve(matrix + damping * torch.eye(10, dtype=torch.float64), b)
    assert found.ended == "converged"
    assert found.iterations < iterations
    torch.testing.assert_close(found.vector, direct, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("solver", ["cg", "neumann"])
@pytest.mark.parametrize("iterations", [1, 3, 7])
def test_the_residual_is_what_is_left(solver: str, iterations: int) -> None:
    matrix, b = system([0.1, 0.4, 1, 2, 3, 4, 5, 6])
    found = solve(solver, matrix.mv, b, damping=0.1, iterations=iterations)
    left = b - matrix @ found.vector - 0.1 * found.vector
    assert (found.ended, found.iterations) == ("iterations", iterations)
    assert found.residual == pytest.approx((left.norm() / b.norm()).item(), rel=1e-9)


@pytest.mark.parametrize(
    ("solver", "curvatures", "ended"),
    [
        ("cg", [1.0, 2, 3, -1], "negative curvature"),
        ("cg", [-1.0, -2], "negative curvature"),
        ("neumann", [-1.0, -2], "negative curvature"),
        ("neumann", [1.0, 2, 3, -1], "diverged"),
        ("neumann", [1.0, 2, 3, 8], "diverged"),
        ("cg", [1.0, float("nan")], "not finite"),
        ("neumann", [1.0, float("inf")], "not finite"),
    ],
)
def test_solvers_stop_where_they_would_go_astray(solver: str, curvatures: list[float], ended: str) -> None:
    matrix, b = system(curvatures)
    found = solve(solver, matrix.mv, b, iterations=500, tolerance=1e-12)
    assert found.ended == ended
    assert found.iterations < 500
    assert bool(found.vector.isfinite().all())


@pytest.mark.parametrize("solver", ["cg", "neumann"])
def test_right_sides_that_leave_nothing_to_solve(solver: str) -> None:
    matrix, b = system([1.0, 2])
    nothing = solve(solver, matrix.mv, torch.zeros_like(b))
    assert (nothing.ended, nothing.vector.tolist(), nothing.residual) == ("converged", [0, 0], 0)
    broken = solve(solver, matrix.mv, b / 0)
    assert (broken.ended, broken.vector.tolist()) == ("not finite", [0, 0])
    with pytest.raises(ConfigError, match="0 iterations"):
        solve(solver, matrix.mv, b, iterations=0)


@pytest.mark.parametrize(("solver", "iterations"), [("cg", 40), ("neumann", 600)])
def test_the_implicit_gradient_is_that_of_training_to_the_end(solver: str, iterations: int) -> None:
    """Logistic regression with a weight decay is strongly convex; SGD gets to its optimum."""
    samples, logits = normal(12, 5).requires_grad_(), normal(12, 3).requires_grad_()
    real, labels = normal(40, 5), torch.arange(40) % 3

    def data_loss(theta: Tensor) -> Tensor:
        return F.cross_entropy(samples @ theta.view(5, 3), logits.softmax(1))

    def inner(theta: Tensor, step: int = 0) -> Tensor:
        return data_loss(theta) + DECAY / 2 * theta.square().sum()

    def outer(theta: Tensor) -> Tensor:
        return F.cross_entropy(real @ theta.view(5, 3), labels)

    start = normal(15)
    unrolled = unroll(inner, start, RATE, 600, [samples, logits], outer)
    theta = train(inner, start, RATE, 600).requires_grad_()
    (slope,) = torch.autograd.grad(outer(theta), theta)
    curvature = Curvature(data_loss, theta, [samples, logits])
    torch.testing.assert_close(curvature.slope, -DECAY * theta.detach(), rtol=1e-6, atol=1e-9)
    found = solve(solver, curvature.times, slope, damping=DECAY, iterations=iterations, tolerance=1e-9)
    for part, expected in zip(curvature.mixed(found.vector), unrolled.gradients, strict=True):
        assert ((-part - expected).norm() / expected.norm()).item() < 1e-6


def test_ridge_regression_has_a_closed_form() -> None:
    samples, targets = normal(9, 4).requires_grad_(), normal(9).requires_grad_()
    aim = normal(4)
    gram = samples.T @ samples + DECAY * torch.eye(4, dtype=torch.float64)
    optimum = torch.linalg.solve(gram, samples.T @ targets)
    expected = torch.autograd.grad((optimum - aim).square().sum(), [samples, targets])
    theta = optimum.detach()
    curvature = Curvature(
        lambda theta: 0.5 * (samples @ theta - targets).square().sum(), theta, [samples, targets]
    )
    found = conjugate_gradients(
        curvature.times, 2 * (theta - aim), damping=DECAY, iterations=10, tolerance=1e-12
    )
    for part, whole in zip(curvature.mixed(found.vector), expected, strict=True):
        torch.testing.assert_close(-part, whole, rtol=1e-8, atol=1e-10)


def test_a_linear_loss_does_not_curve() -> None:
    x = torch.ones(2, requires_grad=True)
    curvature = Curvature(torch.sum, torch.ones(2), [x])
    assert curvature.times(torch.ones(2)).tolist() == curvature.mixed(torch.ones(2))[0].tolist() == [0, 0]
