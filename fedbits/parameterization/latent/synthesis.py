"""The synthesis network, whatever the arithmetic: floating point in training, integers at a receiver.

It is described once, in terms of an :class:`Arithmetic`, so that what is trained and what is received cannot
differ but in rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from fedbits.parameterization.latent.form import UPSAMPLING_BITS, Form, interpolation, spread
from fedbits.parameterization.transform import basis

Layer = tuple[Tensor, Tensor]  # weights [out, in, rows, columns] and bias [out]
LARGEST_FEATURE = 4096.0


class Arithmetic(Protocol):
    """The operations of a synthesis network on features ``[n, channels, height, width]``."""

    def convolve(self, values: Tensor, layer: int) -> Tensor:
        """By the layer of that number; as many rows and columns come out, with zeros beyond the border."""
        ...

    def interpolate(self, values: Tensor, coarse: int, fine: int) -> Tensor:
        """From the grid of one factor to that of another, bilinearly."""
        ...

    def enlarge(self, values: Tensor, grid: int) -> Tensor:
        """From that grid to the size of samples, by its learned kernel."""
        ...

    def add(self, left: Tensor, right: Tensor) -> Tensor: ...


def synthesise(form: Form, arithmetic: Arithmetic, latents: Tensor) -> Tensor:
    """Samples ``[n, channels, height, width]`` of ``latents`` ``[n, latents]``, means of classes included."""
    grids = [
        part.reshape(-1, 1, *side)
        for part, side in zip(latents.split(form.sizes, dim=1), form.sides, strict=True)
    ]
    if form.synthesis == "stacked":
        return _stacked(form, arithmetic, grids)
    return _pyramid(form, arithmetic, grids)


def _stacked(form: Form, arithmetic: Arithmetic, grids: Sequence[Tensor]) -> Tensor:
    whole = []
    for number, (values, factor) in enumerate(zip(grids, form.scales, strict=True)):
        if form.upsampling == "learned":
            whole.append(arithmetic.enlarge(values, number))
        else:
            whole.append(_resized(arithmetic, values, factor, 1))
    features = arithmetic.convolve(torch.cat(whole, dim=1), 0).relu()
    features = arithmetic.convolve(features, 1)
    for number in range(form.convolutions):
        features = arithmetic.add(features, arithmetic.convolve(features.relu(), 2 + number))
    return features


def _pyramid(form: Form, arithmetic: Arithmetic, grids: Sequence[Tensor]) -> Tensor:
    layer, before, carried = 0, form.scales[0], None
    for place, (factor, numbers) in enumerate(form.levels):
        values = torch.cat([grids[number] for number in numbers], dim=1)
        if carried is not None:
            carried = _resized(arithmetic, carried, before, factor)
            values = torch.cat([carried, values], dim=1)
        features = arithmetic.convolve(values, layer)
        layer, before = layer + 1, factor
        if form.dense and not place:
            before = form.factors[1]
            features = features.reshape(-1, form.hidden, *form.at(before))
        else:
            features = features.relu()
        for _ in range(form.convolutions):
            features = arithmetic.add(features, arithmetic.convolve(features, layer).relu())
            layer += 1
        carried = features
    assert carried is not None
    return arithmetic.convolve(_resized(arithmetic, carried, before, 1), layer)


def _resized(arithmetic: Arithmetic, values: Tensor, coarse: int, fine: int) -> Tensor:
    return values if coarse == fine else arithmetic.interpolate(values, coarse, fine)


class Floating:
    """Floating point, differentiable."""

    def __init__(self, form: Form, kernels: Sequence[Tensor], layers: Sequence[Tensor]) -> None:
        """Learned ``kernels``, if any, and weights and bias of each layer."""
        self._form, self._kernels, self._layers = form, kernels, list(layers)
        if form.dense:
            self._layers[:2] = [_as_maps(form, tensor) for tensor in layers[:2]]

    def convolve(self, values: Tensor, layer: int) -> Tensor:
        weight, bias = self._layers[2 * layer : 2 * layer + 2]
        padding = (weight.shape[2] // 2, weight.shape[3] // 2)
        return _clamped(F.conv2d(values, weight, bias, padding=padding))

    def interpolate(self, values: Tensor, coarse: int, fine: int) -> Tensor:
        sizes = zip(values.shape[2:], self._form.at(fine), strict=True)
        matrices = [torch.from_numpy(interpolation(coarse, fine, *size)).to(values) for size in sizes]
        return self._upsampled(values, *matrices)

    def enlarge(self, values: Tensor, grid: int) -> Tensor:
        kernel, factor = self._kernels[grid] * 2.0**UPSAMPLING_BITS, self._form.scales[grid]
        sizes = zip(values.shape[2:], self._form.sample[1:], strict=True)
        matrices = [torch.from_numpy(spread(factor, *size)).to(kernel) @ kernel for size in sizes]
        return self._upsampled(values, *matrices)

    @staticmethod
    def _upsampled(values: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        scale = 2.0**-UPSAMPLING_BITS
        return _clamped((rows * scale) @ values @ (columns * scale).T)

    def add(self, left: Tensor, right: Tensor) -> Tensor:
        return _clamped(left + right)


def _as_maps(form: Form, tensor: Tensor) -> Tensor:
    """Weights or biases of the dense layer, from their cosine transforms."""
    rows, columns = (basis(side).to(tensor) for side in form.at(form.factors[1]))
    coefficients = tensor.reshape(form.hidden, len(rows), len(columns), -1)
    return torch.einsum("cuvd,uy,vx->cyxd", coefficients, rows, columns).reshape(tensor.shape)


def _clamped(values: Tensor) -> Tensor:
    """As a receiver, whose integers have a largest one; no set that trains comes near it."""
    return values.clamp(-LARGEST_FEATURE, LARGEST_FEATURE)
