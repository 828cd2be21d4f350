"""What training starts from: latents with details of the samples in them, and networks that know nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from fedbits.coding.own import FRACTIONS
from fedbits.parameterization.latent.form import UPSAMPLING_BITS, Form, Shape, bilinear
from fedbits.parameterization.latent.weights import start_fractions
from fedbits.parameterization.transform import forward
from fedbits.rng import torch_stream

if TYPE_CHECKING:
    from fedbits.parameterization.latent.stored import Fractions

_LEAST_BETA = 1e-4
_REACH = 100  # magnitudes that latents have at first, at most
_SIGNS = torch.tensor([1.0, -1.0])  # of the features that add up to a linear pyramid's samples
_SMALL = 0.1  # of the usual random weights, where others do the work at first
_FINEST = 24  # fractional bits of the synthesis network's weights, at most


def parts(
    samples: Tensor, labels: Tensor, form: Form, beta: float, seed: int
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Latents ``[n, latents]`` of ``samples`` ``[n, *shape]``, and tensors of both networks of all groups.

    They reproduce the samples, up to rounding, as a linear pyramid does.
    """
    draws = torch_stream(seed, "latent", "start")
    # A step of size s in samples leaves s² / 12 of error; that this changes by 2 ln 2 times itself with a bit
    # makes the step that is best at beta.
    step = math.sqrt(6 / math.log(2) * max(beta, _LEAST_BETA))
    latents, directions = _details(samples, form, draws)
    step = max(step, float(latents.abs().max()) / _REACH if latents.numel() else 0.0)
    latents /= step
    synthesis: list[Tensor] = []
    entropy: list[Tensor] = []
    for group in range(form.groups):
        synthesis += _means(latents, labels, form, group)
        synthesis += [
            torch.from_numpy(bilinear(factor)).float() * 2.0**-UPSAMPLING_BITS
            for factor in (form.scales if form.kernel_shapes else ())
        ]
        synthesis += _layers(form, step, directions, draws)
        entropy += _entropy(form, draws)
    return latents, synthesis, entropy


def _means(latents: Tensor, labels: Tensor, form: Form, group: int) -> list[Tensor]:
    """Of the classes of a group, grid by grid; they are taken from ``latents``."""
    if not form.class_means:
        return []
    means = torch.zeros(form.group_classes, form.latents)
    for label in range(form.group_classes):
        of_class = labels == group * form.group_classes + label
        if bool(of_class.any()):
            means[label] = latents[of_class].mean(0)
            latents[of_class] -= means[label]
    return [part.contiguous() for part in means.split(form.sizes, dim=1)]


def _details(samples: Tensor, form: Form, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """On each grid what the coarser ones lack, as coefficients of unit vectors.

    Single numbers are scores of principal components; second are these, below them the mean: ``[components
    + 1, height, width]``. On a grid of the same factor as another there is little, at random.
    """
    rest = samples.reshape(-1, *form.sample).mean(1, keepdim=True)
    directions, found, before = rest.new_zeros(0, *form.sample[1:]), [], 0
    for factor, (height, width) in zip(form.scales, form.sides, strict=True):
        if height * width == 1 and form.dense:
            if not len(directions):
                scores, directions, rest = _principal(rest, form.scales.count(factor))
                found.append(scores)
        elif factor == before:
            found.append(0.5 * torch.randn(len(samples), height * width, generator=draws))
        else:
            small = F.adaptive_avg_pool2d(rest, (height, width))
            rest = rest - F.interpolate(small, form.sample[1:], mode="bilinear")
            found.append(factor * small.flatten(1))
        before = factor
    return torch.cat(found, dim=1), directions


def _principal(values: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """``count`` scores of ``values`` ``[n, 1, height, width]``, directions and mean, and what is left."""
    flat, mean = values.flatten(1), values.flatten(1).mean(0, keepdim=True)
    found = torch.linalg.svd(flat - mean, full_matrices=False)[2][:count]
    directions = torch.cat([found, found.new_zeros(count - len(found), flat.shape[1])])
    scores = (flat - mean) @ directions.T
    left = flat - mean - scores @ directions
    every = torch.cat([directions, mean]).reshape(count + 1, *values.shape[2:])
    return scores, every, left.reshape(values.shape)


def _layers(form: Form, step: float, directions: Tensor, draws: torch.Generator) -> list[Tensor]:
    """Small random weights; but the first two features are a linear pyramid's samples and their negatives."""
    tensors = []
    for shape in form.layer_shapes:
        tensor = torch.zeros(shape)
        if len(shape) > 1:
            deviation = math.sqrt(2 / math.prod(shape[1:]))
            tensor = deviation * torch.randn(shape, generator=draws)
        tensors.append(tensor)
    if form.hidden < 2 and not (form.dense and len(form.levels) == 1):
        return tensors
    gains = [
        step / factor if at == form.scales.index(factor) else 0.0 for at, factor in enumerate(form.scales)
    ]
    if form.synthesis == "stacked":
        _linear(tensors[0], 0, gains)
        _read_out(tensors[2], 2)
        for residual in tensors[4::2]:
            residual.mul_(_SMALL)
        return tensors
    weights, carried = iter(tensors[::2]), 0
    for place, (_, grids) in enumerate(form.levels):
        first = next(weights)
        if form.dense and not place:
            _spread_out(first, tensors[1], form, directions, step)
            carried = 1
        else:
            _linear(first, form.hidden if carried else 0, [gains[grid] for grid in grids])
            _centre(first)[0, :carried], _centre(first)[1, :carried] = _SIGNS[:carried], -_SIGNS[:carried]
            carried = 2
        for _ in range(form.convolutions):
            next(weights).mul_(_SMALL)
    _read_out(next(weights), carried)
    return tensors


def _spread_out(weight: Tensor, bias: Tensor, form: Form, directions: Tensor, step: float) -> None:
    """The first feature of a dense layer is a sum of ``directions``, and their mean."""
    side = form.at(form.factors[1])
    small = forward(F.adaptive_avg_pool2d(directions[:, None], side)[:, 0]).flatten(1)
    dense = weight.reshape(form.hidden, small.shape[1], -1)
    dense.mul_(_SMALL)
    dense[0] = step * small[:-1].T
    bias[: small.shape[1]] = small[-1]


def _centre(weight: Tensor) -> Tensor:
    return weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2]


def _linear(weight: Tensor, first: int, gains: Sequence[float]) -> None:
    """The first two outputs are inputs from ``first`` on times ``gains``, and the negative of that."""
    weight[:2] = 0
    for place, gain in enumerate(gains):
        _centre(weight)[0, first + place], _centre(weight)[1, first + place] = gain, -gain


def _read_out(weight: Tensor, carried: int) -> None:
    weight.mul_(_SMALL)
    weight[:, :carried] = 0
    _centre(weight)[:, :carried] = _SIGNS[:carried]


def _entropy(form: Form, draws: torch.Generator) -> list[Tensor]:
    tensors = []
    for shape in form.entropy_shapes:
        tensor = torch.zeros(shape)
        if len(shape) > 1:
            tensor = torch.randn(shape, generator=draws) / math.sqrt(shape[1])
        tensors.append(tensor)
    unseen = torch.from_numpy((form.around == form.latents).all(axis=0))
    tensors[0][:, : len(unseen)][:, unseen] = 0
    components = form.context.components
    tensors[-2].mul_(0.1)
    tensors[-1][-components:] = torch.linspace(-2, 0, components) if components > 1 else -1.0
    return tensors


def fractions(synthesis: Iterable[Tensor], entropy: Iterable[Tensor], precision: float) -> Fractions:
    """Steps at which tensors are rounded before they are searched."""
    synthesis, entropy = list(synthesis), list(entropy)
    most = [FRACTIONS[0] if tensor.ndim > 1 else FRACTIONS[1] for tensor in entropy]
    finest = [_FINEST] * len(synthesis)
    return start_fractions(synthesis, precision, finest), start_fractions(entropy, precision, most)


def shapes(form: Form) -> tuple[list[Shape], list[Shape]]:
    """Of all tensors of all groups."""
    return form.synthesis_shapes * form.groups, form.entropy_shapes * form.groups
