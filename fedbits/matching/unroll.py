"""Differentiating through training: the exact gradient of what a run of SGD ends with, in little memory.

Reverse accumulation (as in DD, Wang et al., 2018; Maclaurin et al., 2015): only the parameters of every
step are kept, and each step's graph is made anew on the way back. A graph of the whole run would take as
many times the memory as there are steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fedbits.errors import ConfigError


class Unrolled(NamedTuple):
    """What a run ended with, and how it would change.

    Attributes:
        value: the outer function at the end, a detached scalar.
        gradients: of ``value``, one of the shape of each input.
        rate: gradient with respect to the learning rate, a scalar.
        theta: the parameters at the end, detached.
    """

    value: Tensor
    gradients: tuple[Tensor, ...]
    rate: Tensor
    theta: Tensor


def unroll(
    inner: Callable[[Tensor, int], Tensor],
    theta: Tensor,
    rate: Tensor,
    steps: int,
    inputs: Sequence[Tensor],
    outer: Callable[[Tensor], Tensor],
    window: int | None = None,
) -> Unrolled:
    """Train by ``θ ← θ − rate · ∂inner(θ, step)/∂θ`` and differentiate ``outer(θ)`` at the end.

    Args:
        inner: the scalar loss of a step (0 to ``steps`` − 1). It is called twice for a step and must give
            the same both times, so it draws its randomness from ``step``; what it makes of ``inputs`` it
            makes in the call.
        theta: parameters ``[p]`` to start from; no gradient goes to them.
        rate: the learning rate, a scalar tensor on the device of ``theta``.
        inputs: leaf tensors that require gradients, which ``inner`` (and ``outer``, if it likes) depends on.
        outer: the scalar to differentiate.
        window: differentiate only the last ``window`` steps, as if training had begun there; None all.

    Raises:
        ConfigError: ``steps`` or ``window`` is not positive.
    """
    if steps < 1 or (window is not None and window < 1):
        raise ConfigError(f"{steps} steps with a window of {window}: expected at least one of each")
    rate = rate.detach()
    first = 0 if window is None else max(0, steps - window)
    theta, path = train(inner, theta.detach(), rate, steps, first)
    theta = theta.requires_grad_()
    value = outer(theta)
    adjoint, *gradients = _gradients(value, theta, inputs)
    rate_gradient = torch.zeros_like(rate)
    for step in reversed(range(first, steps)):
        slope, curved, mixed = second_order(_at(inner, step), path.pop(), inputs, adjoint)
        rate_gradient -= slope.dot(adjoint)
        gradients = [total.sub_(rate * part) for total, part in zip(gradients, mixed, strict=True)]
        adjoint = adjoint - rate * curved
    return Unrolled(value.detach(), tuple(gradients), rate_gradient, theta.detach())


def train(
    inner: Callable[[Tensor, int], Tensor], theta: Tensor, rate: Tensor, steps: int, first: int | None = None
) -> tuple[Tensor, list[Tensor]]:
    """The parameters after ``steps``, and those before each step from ``first`` on (none if left out)."""
    path = []
    for step in range(steps):
        if first is not None and step >= first:
            path.append(theta)
        leaf = theta.detach().requires_grad_()
        (slope,) = torch.autograd.grad(inner(leaf, step), leaf)
        theta = theta - rate * slope
    return theta, path


def second_order(
    loss: Callable[[Tensor], Tensor], theta: Tensor, inputs: Sequence[Tensor], along: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Derivatives of ``loss`` at ``theta`` ``[p]``, whose gradient is g, along the vector ``along`` ``[p]``.

    Returns:
        g ``[p]``, (∂g/∂θ)ᵀ·along ``[p]``, and (∂g/∂x)ᵀ·along of the shape of each input x; all detached.
    """
    theta = theta.detach().requires_grad_()
    (slope,) = torch.autograd.grad(loss(theta), theta, create_graph=True)
    if not slope.requires_grad:  # the loss is linear
        return slope, torch.zeros_like(theta), [torch.zeros_like(x) for x in inputs]
    curved, *mixed = _gradients(slope.dot(along), theta, inputs)
    return slope.detach(), curved, mixed


def _at(inner: Callable[[Tensor, int], Tensor], step: int) -> Callable[[Tensor], Tensor]:
    return lambda theta: inner(theta, step)


def _gradients(value: Tensor, theta: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Of ``value`` with respect to ``theta`` and ``inputs``; zeros where it does not depend on them."""
    return list(torch.autograd.grad(value, [theta, *inputs], allow_unused=True, materialize_grads=True))
