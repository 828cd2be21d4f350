"""Differentiating through an optimum: products with the Hessian, and the linear systems it stands in.

Where training has ended at θ* with ∂L/∂θ = 0, the implicit function theorem gives
∂θ*/∂x = −(∂²L/∂θ²)⁻¹ ∂²L/∂x∂θ (BCDC, Eq. 9). The gradient of an outer loss is then −(∂g/∂x)ᵀ v, where g is
∂L/∂θ and v solves (∂²L/∂θ² + damping) v = ∂L_outer/∂θ. The damping stands for the curvature that the loss of
a network lacks in most directions; it is that of a weight decay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fedbits.errors import ConfigError

Product = Callable[[Tensor], Tensor]
Ending = Literal["converged", "iterations", "negative curvature", "diverged", "not finite"]


class Curvature:
    """Second derivatives of ``loss`` at the parameters ``theta`` ``[p]``, from one graph made once."""

    def __init__(self, loss: Callable[[Tensor], Tensor], theta: Tensor, inputs: Sequence[Tensor]) -> None:
        """``inputs`` are tensors that require gradients, which ``loss`` depends on."""
        self._theta, self._inputs = theta.detach().requires_grad_(), list(inputs)
        (self._slope,) = torch.autograd.grad(loss(self._theta), self._theta, create_graph=True)

    @property
    def slope(self) -> Tensor:
        """The gradient g ``[p]`` of the loss, detached."""
        return self._slope.detach()

    def times(self, vector: Tensor) -> Tensor:
        """The Hessian times ``vector`` ``[p]``."""
        return self._product([self._theta], vector)[0]

    def mixed(self, vector: Tensor) -> tuple[Tensor, ...]:
        """(∂g/∂x)ᵀ·``vector`` of the shape of each input x."""
        return self._product(self._inputs, vector)

    def _product(self, of: list[Tensor], vector: Tensor) -> tuple[Tensor, ...]:
        if not self._slope.requires_grad:  # the loss is linear
            return tuple(torch.zeros_like(tensor) for tensor in of)
        return torch.autograd.grad(
            self._slope, of, vector, retain_graph=True, allow_unused=True, materialize_grads=True
        )


class Solution(NamedTuple):
    """An approximate solution of a linear system A·v = b.

    Attributes:
        vector: v, always finite.
        iterations: products with A that it took.
        residual: ‖b − A·v‖ / ‖b‖ of what is returned.
        ended: why the solver stopped; it keeps what it had before a direction in which A does not curve
            upwards, a term that is larger than the last one, or a number that is not finite.
    """

    vector: Tensor
    iterations: int
    residual: float
    ended: Ending


def conjugate_gradients(
    product: Product, b: Tensor, *, damping: float = 0.0, iterations: int = 20, tolerance: float = 1e-3
) -> Solution:
    """Solve (H + ``damping``)·v = ``b`` ``[p]``, where ``product`` multiplies a vector by the symmetric H.

    Stops when the relative residual is at most ``tolerance``. Where H + damping does not curve upwards
    along ``b`` itself, the solution is zero.

    Raises:
        ConfigError: ``iterations`` is not positive.
    """
    _check(iterations)
    vector, residual, direction = torch.zeros_like(b), b, b
    start = size = float(b.dot(b))
    for iteration in range(iterations):
        if not math.isfinite(size):
            return Solution(vector, iteration, math.inf, "not finite")
        if size <= tolerance**2 * start:
            return Solution(vector, iteration, _relative(size, start), "converged")
        along = product(direction) + damping * direction
        curvature = float(direction.dot(along))
        if not curvature > 0:  # nor a number
            ended: Ending = "negative curvature" if math.isfinite(curvature) else "not finite"
            return Solution(vector, iteration + 1, _relative(size, start), ended)
        step = size / curvature
        residual = residual - step * along
        before, size = size, float(residual.dot(residual))
        if not math.isfinite(size):
            return Solution(vector, iteration + 1, _relative(before, start), "not finite")
        vector = vector + step * direction
        direction = residual + (size / before) * direction
    ended = "converged" if size <= tolerance**2 * start else "iterations"
    return Solution(vector, iterations, _relative(size, start), ended)


def neumann(
    product: Product,
    b: Tensor,
    rate: float,
    *,
    damping: float = 0.0,
    iterations: int = 20,
    tolerance: float = 1e-3,
) -> Solution:
    """As :func:`conjugate_gradients`, by v = ``rate`` · Σⱼ (I − rate·(H + damping))ʲ · b.

    The sum is what unrolling as many steps of SGD with the learning rate ``rate``, all at the optimum, gives
    (Lorraine et al., 2020). It converges where all curvatures are in (0, 2/rate).
    """
    _check(iterations)
    total, term = torch.zeros_like(b), b
    start = size = float(b.dot(b))
    if not math.isfinite(size):
        return Solution(total, 0, math.inf, "not finite")
    for iteration in range(iterations):
        if size <= tolerance**2 * start:
            return Solution(rate * total, iteration, _relative(size, start), "converged")
        along = product(term) + damping * term
        curvature = float(term.dot(along))
        following = term - rate * along
        after = float(following.dot(following))
        if not (math.isfinite(curvature) and math.isfinite(after)):
            return Solution(rate * total, iteration + 1, _relative(size, start), "not finite")
        if curvature <= 0 or after > size:  # more terms would only grow
            ended: Ending = "negative curvature" if curvature <= 0 else "diverged"
            return Solution(rate * total, iteration + 1, _relative(size, start), ended)
        total, term, size = total + term, following, after
    ended = "converged" if size <= tolerance**2 * start else "iterations"
    return Solution(rate * total, iterations, _relative(size, start), ended)


def _relative(size: float, start: float) -> float:
    return math.sqrt(size / start) if start else 0.0


def _check(iterations: int) -> None:
    if iterations < 1:
        raise ConfigError(f"{iterations} iterations of a solver: expected at least one")
