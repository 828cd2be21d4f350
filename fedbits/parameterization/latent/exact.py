"""The synthesis of samples in integers: the same on every machine, whatever the numbers in a blob.

Features have 12 fractional bits. Convolutions are products of matrices of integers held in float64, whose
sums stay below 2⁵² in magnitude and so are exact in any order. Everything is clamped where it could grow too
large; weights that could break the bound are refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fedbits.coding.weights import QuantisedTensor
from fedbits.errors import CorruptError
from fedbits.parameterization import transform
from fedbits.parameterization.fixed_point import (
    ACTIVATION_BITS,
    EXACT,
    LARGEST,
    LARGEST_WEIGHT,
    SAMPLE_BITS,
    rescaled,
)
from fedbits.parameterization.latent.form import UPSAMPLING_BITS, Form, Line, bilinear_line, line_of_kernel
from fedbits.parameterization.latent.synthesis import synthesise

LARGEST_KERNEL = 1 << 12  # magnitude of the entries of a learned kernel: 16
_CHUNK = 1 << 18  # numbers that a convolution multiplies at once
CHUNK_NUMBERS = 12 * _CHUNK  # of 8 bytes, that a chunk takes in all, at most (unless one sample takes more)


@dataclass(frozen=True)
class SynthesisTensors:
    """Integer tensors of one group: means of classes, kernels, layers."""

    form: Form
    means: tuple[QuantisedTensor, ...]
    kernels: tuple[QuantisedTensor, ...]
    layers: tuple[QuantisedTensor, ...]

    @classmethod
    def of(cls, form: Form, tensors: Sequence[QuantisedTensor]) -> SynthesisTensors:
        """Of tensors in the order of :attr:`Form.synthesis_shapes`."""
        first = len(form.mean_shapes)
        second = first + len(form.kernel_shapes)
        return cls(form, tuple(tensors[:first]), tuple(tensors[first:second]), tuple(tensors[second:]))

    def check(self) -> None:
        """Refuse numbers with which sums of products could be inexact.

        Raises:
            CorruptError: a weight is too large.
        """
        every = (*self.means, *self.kernels, *self.layers)
        if any(int(abs(t.values).max(initial=0)) > LARGEST_WEIGHT for t in every):
            raise CorruptError(f"a weight of the synthesis network is larger than {LARGEST_WEIGHT} steps")
        for weight in self.used_layers()[::2]:
            rows = abs(weight.values).reshape(len(weight.values), -1).sum(1)
            if int(rows.max(initial=0)) * LARGEST >= EXACT:
                raise CorruptError("weights are so large that sums of their products are not exact")

    def used_layers(self) -> list[QuantisedTensor]:
        """Weights and biases as they are multiplied: those of a dense layer are sent transformed."""
        layers = list(self.layers)
        if self.form.dense:
            layers[:2] = [self._as_maps(tensor) for tensor in layers[:2]]
        return layers

    def _as_maps(self, tensor: QuantisedTensor) -> QuantisedTensor:
        form, bits = self.form, transform.FRACTION_BITS
        side = form.at(form.factors[1])
        stored = torch.from_numpy(tensor.floats()).reshape(form.hidden, math.prod(side), -1)
        coefficients = stored.transpose(1, 2).reshape(-1, *side)
        maps = (transform.inverse(coefficients) * 2.0**bits).long()
        found = maps.reshape(form.hidden, -1, math.prod(side)).transpose(1, 2)
        return QuantisedTensor(found.reshape(tensor.values.shape).numpy(), bits)


class Integers:
    """Integers in float64, of 12 fractional bits; see :class:`synthesis.Arithmetic`."""

    def __init__(self, tensors: SynthesisTensors, device: torch.device) -> None:
        def held(tensor: QuantisedTensor) -> tuple[Tensor, int]:
            return torch.from_numpy(tensor.values).to(device, torch.float64), tensor.fraction_bits

        self._form = tensors.form
        self._layers = [held(tensor) for tensor in tensors.used_layers()]
        kernels = [rescaled(*held(tensor), UPSAMPLING_BITS) for tensor in tensors.kernels]
        self._kernels = [kernel.clamp(-LARGEST_KERNEL, LARGEST_KERNEL) for kernel in kernels]

    def convolve(self, values: Tensor, layer: int) -> Tensor:
        weight, bits = self._layers[2 * layer]
        bias = rescaled(*self._layers[2 * layer + 1], ACTIVATION_BITS)
        n, _, height, width = values.shape
        rows, columns = weight.shape[2:]
        if rows * columns > 1:
            seen = F.unfold(values, (rows, columns), padding=(rows // 2, columns // 2))
        else:
            seen = values.flatten(2)
        sums = weight.flatten(1) @ seen
        made = rescaled(sums, ACTIVATION_BITS + bits, ACTIVATION_BITS) + bias[:, None]
        return made.clamp_(-LARGEST, LARGEST).reshape(n, -1, height, width)

    def interpolate(self, values: Tensor, coarse: int, fine: int) -> Tensor:
        sizes = zip(values.shape[2:], self._form.at(fine), strict=True)
        lines = [_held(bilinear_line(coarse, fine, *size), values) for size in sizes]
        return _upsampled(values, lines)

    def enlarge(self, values: Tensor, grid: int) -> Tensor:
        kernel, lines = self._kernels[grid], []
        for size in zip(values.shape[2:], self._form.sample[1:], strict=True):
            first, second, *entries = _held(line_of_kernel(self._form.scales[grid], *size), values)
            lines.append([first, second, *(kernel[entry] for entry in entries)])
        return _upsampled(values, lines)

    def add(self, left: Tensor, right: Tensor) -> Tensor:
        return (left + right).clamp_(-LARGEST, LARGEST)


def _held(line: Line, like: Tensor) -> list[Tensor]:
    return [torch.from_numpy(part).to(like.device) for part in line]


def _upsampled(values: Tensor, lines: Sequence[Sequence[Tensor]]) -> Tensor:
    """Rows, then columns, weighed sums of two cells each: below 2⁵² in all, as weights have 13 bits."""
    for axis, (first, second, one, other) in zip((-2, -1), lines, strict=True):
        shape = (-1, 1) if axis == -2 else (-1,)
        values = values.index_select(axis, first) * one.reshape(shape) + values.index_select(
            axis, second
        ) * other.reshape(shape)
    return rescaled(values, ACTIVATION_BITS + 2 * UPSAMPLING_BITS, ACTIVATION_BITS)


class Synthesis:
    """Computes the samples of one group; ``device``: where."""

    def __init__(self, tensors: SynthesisTensors, device: torch.device | str = "cpu") -> None:
        self._form, self._device = tensors.form, torch.device(device)
        self._integers = Integers(tensors, self._device)
        self._means = (
            torch.cat([_as_latents(mean) for mean in tensors.means], dim=1) if tensors.means else None
        )

    def __call__(self, latents: Tensor, classes: Tensor) -> Tensor:
        """Float32 samples ``[n, channels, height, width]``, multiples of 2⁻¹⁰.

        Of integer ``latents`` ``[n, latents]``, and the class of each within the group.
        """
        form = self._form
        samples = torch.empty(len(latents), *form.sample, device=self._device)
        many = max(1, _CHUNK // numbers_of_a_sample(form))
        for start in range(0, len(latents), many):
            rows = slice(start, start + many)
            values = latents[rows].to(self._device).double() * 2.0**ACTIVATION_BITS
            if self._means is not None:
                values += self._means.to(self._device)[classes[rows].to(self._device)]
            made = synthesise(form, self._integers, values.clamp_(-LARGEST, LARGEST))
            samples[rows] = rescaled(made, ACTIVATION_BITS, SAMPLE_BITS).float()
        return samples.mul_(2.0**-SAMPLE_BITS)


def _as_latents(mean: QuantisedTensor) -> Tensor:
    return rescaled(torch.from_numpy(mean.values).double(), mean.fraction_bits, ACTIVATION_BITS)


def numbers_of_a_sample(form: Form) -> int:
    """That the largest convolution multiplies for one sample, at most."""
    side = form.sample[1] * form.sample[2]
    if form.synthesis == "stacked":
        channels = max(form.hidden, len(form.scales), form.sample[0] * 9)
        return side * channels
    largest = [(form.hidden + len(grids)) * 9 * _size(form, f) for f, grids in form.levels]
    dense = form.hidden * _size(form, form.factors[1]) + len(form.levels[0][1]) if form.dense else 0
    return max(*largest, dense, form.hidden * 9 * side)


def _size(form: Form, factor: int) -> int:
    rows, columns = form.at(factor)
    return rows * columns
