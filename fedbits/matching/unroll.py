"""Differentiating through training: the exact gradient of what a run of SGD ends with, in little memory.

Reverse accumulation (as in DD, Wang et al., 2018; Maclaurin et al., 2015): of most steps only the
parameters are kept, and their graphs are made anew on the way back. A graph of the whole run would take as
many times the memory as there are steps. Graphs of the last steps, as many as fit into an allowance, are
kept nevertheless: each spares a quarter of its step's time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fedbits.errors import ConfigError

GRAPH_BYTES = 4 << 30  # of a processor's memory, for graphs; of a GPU's, the share below
_GRAPH_SHARE = 0.4


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


class Taped(NamedTuple):
    """Parameters ``[p]``, a leaf, and the gradient ``[p]`` of a loss there, with its graph."""

    theta: Tensor
    slope: Tensor


def unroll(
    inner: Callable[[Tensor, int], Tensor],
    theta: Tensor,
    rate: Tensor,
    steps: int,
    inputs: Sequence[Tensor],
    outer: Callable[[Tensor], Tensor],
    window: int | None = None,
    memory: int | None = None,
) -> Unrolled:
    """Train by ``θ ← θ − rate · ∂inner(θ, step)/∂θ`` and differentiate ``outer(θ)`` at the end.

    Args:
        inner: the scalar loss of a step (0 to ``steps`` − 1). It is called up to twice for a step and must
            give the same both times, so it draws its randomness from ``step``; what it makes of ``inputs``
            it makes in the call.
        theta: parameters ``[p]`` to start from; no gradient goes to them.
        rate: the learning rate, a scalar tensor on the device of ``theta``.
        inputs: leaf tensors that require gradients, which ``inner`` (and ``outer``, if it likes) depends on.
        outer: the scalar to differentiate.
        window: differentiate only the last ``window`` steps, as if training had begun there; None all.
        memory: bytes that graphs may take; one is always kept. None allows 4 GiB, or 40 % of a GPU's.

    Raises:
        ConfigError: ``steps`` or ``window`` is not positive.
    """
    if steps < 1 or (window is not None and window < 1):
        raise ConfigError(f"{steps} steps with a window of {window}: expected at least one of each")
    rate = rate.detach()
    first = 0 if window is None else max(0, steps - window)
    theta = train(inner, theta.detach(), rate, first)
    theta, path = _taped_training(inner, theta, rate, range(first, steps), _allowance(memory, theta.device))
    theta = theta.requires_grad_()
    value = outer(theta)
    adjoint, *gradients = _gradients(value, theta, inputs)
    rate_gradient = torch.zeros_like(rate)
    for step in reversed(range(first, steps)):
        kept = path.pop()
        taped = kept if isinstance(kept, Taped) else tape(_at(inner, step), kept)
        slope, curved, mixed = second_order(taped, inputs, adjoint)
        del kept, taped  # before the next graph is made
        rate_gradient -= slope.dot(adjoint)
        gradients = [total.sub_(rate * part) for total, part in zip(gradients, mixed, strict=True)]
        adjoint = adjoint - rate * curved
    return Unrolled(value.detach(), tuple(gradients), rate_gradient, theta.detach())


def _allowance(memory: int | None, device: torch.device) -> int:
    if memory is not None:
        return memory
    if device.type != "cuda":
        return GRAPH_BYTES
    return int(_GRAPH_SHARE * torch.cuda.get_device_properties(device).total_memory)


def _taped_training(
    inner: Callable[[Tensor, int], Tensor], theta: Tensor, rate: Tensor, steps: range, memory: int
) -> tuple[Tensor, list[Taped | Tensor]]:
    """The parameters after ``steps``, and those before each step: of the last ones with their graphs."""
    path: list[Taped | Tensor] = []
    kept = 1
    for step in steps:
        loss = _at(inner, step)
        if step == steps.start:
            taped, size = _measured(loss, theta)
            kept = max(1, memory // max(1, size))
        keeps = step >= steps.stop - kept
        if step > steps.start:
            taped = tape(loss, theta) if keeps else Taped(theta, _slope(loss, theta))
        path.append(taped if keeps else theta)
        theta = theta - rate * taped.slope.detach()
        del taped  # a graph that is not kept, before the next one is made
    return theta, path


def _measured(loss: Callable[[Tensor], Tensor], theta: Tensor) -> tuple[Taped, int]:
    """The gradient of ``loss``, and how many bytes its graph takes."""
    blocks: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        blocks[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        taped = tape(loss, theta)
    return taped, sum(blocks.values())


def train(inner: Callable[[Tensor, int], Tensor], theta: Tensor, rate: Tensor, steps: int) -> Tensor:
    """The parameters after ``steps`` from ``theta`` on, detached."""
    for step in range(steps):
        theta = theta - rate * _slope(_at(inner, step), theta)
    return theta.detach()


def tape(loss: Callable[[Tensor], Tensor], theta: Tensor) -> Taped:
    """The gradient of ``loss`` at ``theta`` ``[p]``, to be differentiated itself."""
    leaf = theta.detach().requires_grad_()
    return Taped(leaf, torch.autograd.grad(loss(leaf), leaf, create_graph=True)[0])


def second_order(
    taped: Taped, inputs: Sequence[Tensor], along: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Derivatives of the loss whose gradient g ``taped`` is, along the vector ``along`` ``[p]``.

    Its graph is used up.

    Returns:
        g ``[p]``, (∂g/∂θ)ᵀ·along ``[p]``, and (∂g/∂x)ᵀ·along of the shape of each input x; all detached.
    """
    theta, slope = taped
    if not slope.requires_grad:  # the loss is linear
        return slope, torch.zeros_like(theta), [torch.zeros_like(x) for x in inputs]
    curved, *mixed = _gradients(slope.dot(along), theta, inputs)
    return slope.detach(), curved, mixed


def _slope(loss: Callable[[Tensor], Tensor], theta: Tensor) -> Tensor:
    leaf = theta.detach().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf)[0]


def _at(inner: Callable[[Tensor, int], Tensor], step: int) -> Callable[[Tensor], Tensor]:
    return lambda theta: inner(theta, step)


def _gradients(value: Tensor, theta: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Of ``value`` with respect to ``theta`` and ``inputs``; zeros where it does not depend on them."""
    return list(torch.autograd.grad(value, [theta, *inputs], allow_unused=True, materialize_grads=True))
