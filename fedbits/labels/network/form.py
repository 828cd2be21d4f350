"""Which small networks label views: their layers, and what they compute.

A form is a kind and a width; the shapes of its tensors follow from these and from the task, so that only
their values travel. Nothing depends on the batch: a view has the same label whatever it is labelled with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from fedbits.coding.weights import Shape
from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError

Kind = Literal["mlp", "convnet"]
KINDS: tuple[Kind, ...] = get_args(Kind)  # their numbers are part of the wire format
WIDEST = 1024
SMALLEST_GRID = 12  # sides from which grids are looked at by convolutions
# After the stem: features out, in widths, and the stride. Each is a depthwise and a pointwise convolution.
_STAGES = ((2, 1), (2, 1), (4, 2), (4, 1))
_STEM_STRIDE = 2
_SMALLEST_VARIANCE = 1e-5


@dataclass(frozen=True)
class NetworkForm:
    """A network for samples of a task.

    Attributes:
        kind: ``mlp``, of two hidden layers of ``width`` units; or ``convnet``, of depthwise-separable
            convolutions (Howard et al., 2017) from ``width`` to 4 × ``width`` features.
        width: 1 to :data:`WIDEST`.
    """

    kind: Kind
    width: int

    def check(self, spec: DataSpec) -> None:
        """Raise :class:`ConfigError` unless there is such a network for samples of ``spec``."""
        if self.kind not in KINDS:
            raise ConfigError(f"the network of labels is {self.kind!r}: expected {' or '.join(KINDS)}")
        if not 1 <= self.width <= WIDEST:
            raise ConfigError(f"the width of the network of labels is {self.width}: expected 1 to {WIDEST}")
        if self.kind == "convnet" and not spec.is_grid:
            raise ConfigError(f"samples of {spec.name} are flat: a convnet cannot label them, an mlp can")

    def shapes(self, spec: DataSpec) -> list[Shape]:
        """Of the tensors, in the order of the layers."""
        width, classes = self.width, spec.classes
        if self.kind == "mlp":
            return [(width, spec.elements), (width,), (width, width), (width,), (classes, width), (classes,)]
        shapes: list[Shape] = [(width, spec.shape[0], 3, 3), (width,)]
        features = width
        for times, _ in _STAGES:
            shapes += [(features, 1, 3, 3), (times * width, features), (times * width,)]
            features = times * width
        return [*shapes, (classes, features), (classes,)]

    def products(self, spec: DataSpec) -> int:
        """Multiplications for one sample, about."""
        shapes = self.shapes(spec)
        if self.kind == "mlp":
            return sum(math.prod(shape) for shape in shapes)
        _, height, width = spec.grid_shape
        places, strides = [], [_STEM_STRIDE, *(stride for _, stride in _STAGES)]
        for stride in strides:
            height, width = -(-height // stride), -(-width // stride)
            places.append(height * width)
        layers = [shapes[:2], *(shapes[2 + 3 * number : 5 + 3 * number] for number in range(len(_STAGES)))]
        each = (many * sum(map(math.prod, layer)) for many, layer in zip(places, layers, strict=True))
        return sum(each) + sum(map(math.prod, shapes[-2:]))

    def logits(self, tensors: Sequence[Tensor], samples: Tensor) -> Tensor:
        """``[n, classes]`` of normalised ``samples`` ``[n, *spec.shape]``."""
        return (_mlp if self.kind == "mlp" else _convnet)(tensors, samples)


def form_for(spec: DataSpec, width: int) -> NetworkForm:
    """The kind that suits samples of ``spec``: convolutions for all but flat samples and small grids."""
    large = spec.is_grid and min(spec.shape[1:]) >= SMALLEST_GRID
    return NetworkForm("convnet" if large else "mlp", width)


def _mlp(tensors: Sequence[Tensor], samples: Tensor) -> Tensor:
    values = samples.flatten(1)
    for weight, bias in zip(tensors[:-2:2], tensors[1:-2:2], strict=True):
        values = F.linear(values, weight, bias).relu()
    return F.linear(values, *tensors[-2:])


def _convnet(tensors: Sequence[Tensor], samples: Tensor) -> Tensor:
    values = F.conv2d(samples, tensors[0], stride=_STEM_STRIDE, padding=1)
    values = _activated(values, tensors[1])
    for number, (_, stride) in enumerate(_STAGES):
        each, across, bias = tensors[2 + 3 * number : 5 + 3 * number]
        found = F.conv2d(values, each, stride=stride, padding=1, groups=len(each))
        found = _activated(F.conv2d(found, across[:, :, None, None]), bias)
        values = values + found if found.shape == values.shape else found
    return F.linear(values.mean((2, 3)), *tensors[-2:])


def _activated(values: Tensor, bias: Tensor) -> Tensor:
    """Of mean 0 and variance 1 over all features and places of a sample; then a bias, and no negative."""
    normal = F.layer_norm(values, values.shape[1:], eps=_SMALLEST_VARIANCE)
    return F.relu(normal + bias[:, None, None])


def started(shapes: Sequence[Shape], generator: torch.Generator) -> list[Tensor]:
    """Tensors to train from: weights by their inputs (He et al., 2015), biases of 0."""
    found = []
    for shape in shapes:
        if len(shape) == 1:
            found.append(torch.zeros(shape))
            continue
        found.append(torch.randn(shape, generator=generator) * (2 / math.prod(shape[1:])) ** 0.5)
    return found
