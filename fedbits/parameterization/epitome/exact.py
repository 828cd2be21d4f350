"""The synthesis of samples in integers: the same on every machine, whatever the numbers in a blob.

Activations have 12 fractional bits. Matrix products are of integers held in float64, whose sums stay below
2⁵² in magnitude and so are exact in any order; whatever else is computed, is so in int64. Everything is
clamped where it could grow too large, so that no blob makes anything overflow; weights that could break the
bound of a product are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedbits.coding.weights import QuantisedTensor
from fedbits.errors import CorruptError
from fedbits.parameterization import transform
from fedbits.parameterization.epitome.form import BLOCK_TENSORS, Form
from fedbits.parameterization.fixed_point import (
    ACTIVATION_BITS,
    EXACT,
    LARGEST,
    LARGEST_WEIGHT,
    SAMPLE_BITS,
    rescaled,
)

GAIN_BITS = range(31)  # fractional ones, of gains
_EPSILON = 168  # 1e-5 in units of the square of an activation's
_ROOT_BITS = 12  # fractional bits of a variance whose root is taken: half as many are the root's
_CHUNK = 1 << 18  # numbers of features or patches that are computed at once
CHUNK_NUMBERS = 16 * _CHUNK  # of 8 bytes, that a chunk takes in all, at most (unless one sample takes more)


@dataclass(frozen=True)
class Dictionary:
    """Integer tokens ``[K, D]``, fractional bits of each head's coefficients, and network tensors."""

    form: Form
    tokens: QuantisedTensor
    steps: tuple[int, ...]
    network: tuple[QuantisedTensor, ...]

    def check(self, bits: int) -> None:
        """Refuse numbers with which sums of products could be inexact, for coefficients of ``bits``.

        Raises:
            CorruptError: a token or a weight is too large.
        """
        if any(int(abs(t.values).max(initial=0)) > LARGEST_WEIGHT for t in (self.tokens, *self.network)):
            raise CorruptError(f"a token or weight is larger than {LARGEST_WEIGHT} steps")
        columns = int(abs(self.tokens.values).sum(0).max(initial=0)) << (bits - 1)
        weights = [*self.network[:-2], self.patch_tensors()[0]]
        rows = [abs(t.values).sum(1).max(initial=0) for t in weights if t.values.ndim == 2]
        gains = [t for block in self._blocks() for t in (block[2], block[8])]
        if any(t.fraction_bits not in GAIN_BITS for t in gains):
            raise CorruptError(f"a gain has not {GAIN_BITS[0]} to {GAIN_BITS[-1]} fractional bits")
        if columns >= EXACT or any(int(row) * LARGEST >= EXACT for row in rows):
            raise CorruptError("tokens or weights are so large that sums of their products are not exact")

    def patch_tensors(self) -> tuple[QuantisedTensor, QuantisedTensor]:
        """The weights and biases that make patches, of which images' are sent as their cosine transform."""
        if not self.form.transformed:
            return self.network[-2], self.network[-1]
        weight, bias = (self._as_pixels(tensor) for tensor in self.network[-2:])
        return weight, bias

    def _as_pixels(self, tensor: QuantisedTensor) -> QuantisedTensor:
        shape, bits = tensor.values.shape, transform.FRACTION_BITS
        coefficients = torch.from_numpy(tensor.floats()).reshape(self.form.patch_elements, -1).T
        pixels = transform.inverse(coefficients.reshape(-1, *self.form.cut))
        integers = (pixels.reshape(-1, self.form.patch_elements).T * 2.0**bits).long()
        return QuantisedTensor(integers.reshape(shape).numpy(), bits)

    def _blocks(self) -> Iterator[tuple[QuantisedTensor, ...]]:
        starts = range(0, BLOCK_TENSORS * self.form.blocks, BLOCK_TENSORS)
        return (self.network[start : start + BLOCK_TENSORS] for start in starts)


class Synthesis:
    """Computes samples from integer codes; ``device``: where."""

    def __init__(self, dictionary: Dictionary, device: torch.device | str = "cpu") -> None:
        form = self._form = dictionary.form
        self._device, self._steps = torch.device(device), dictionary.steps
        self._token_bits = dictionary.tokens.fraction_bits
        pools = self._float(dictionary.tokens).reshape(form.tokens, form.heads, -1)
        self._pools = pools.transpose(0, 1).contiguous()
        self._network = [
            (self._float(t), t.fraction_bits) for t in (*dictionary.network[:-2], *dictionary.patch_tensors())
        ]

    def _float(self, tensor: QuantisedTensor) -> Tensor:
        return torch.from_numpy(tensor.values).to(self._device, torch.float64)

    def __call__(self, codes: Tensor) -> Tensor:
        """Float32 samples ``[n, channels, height, width]``, multiples of 2⁻¹⁰, of codes ``[n, H, K, J]``."""
        samples = torch.empty(len(codes), *self._form.sample, device=self._device)
        for rows in self._chunks(len(codes)):
            samples[rows] = self._form.join(self._patches(codes[rows].to(self._device))).float()
        return samples.mul_(2.0**-SAMPLE_BITS)

    def _chunks(self, n: int) -> Iterator[slice]:
        form = self._form
        largest = form.patches * max(form.width, form.patch_elements, form.heads * form.tokens)
        many = max(1, _CHUNK // largest)
        return (slice(start, start + many) for start in range(0, n, many))

    def _patches(self, codes: Tensor) -> Tensor:
        """Integers in float64 ``[n, J, L]``."""
        form = self._form
        coded = self._coded(codes)
        features = torch.zeros_like(coded) if form.blocks else coded
        for block in range(form.blocks):
            features = self._block(coded, features, self._network[BLOCK_TENSORS * block :][:BLOCK_TENSORS])
        patches = _linear(features, self._network[-2], self._network[-1], SAMPLE_BITS)
        return patches.reshape(-1, form.patches, form.patch_elements)

    def _coded(self, codes: Tensor) -> Tensor:
        """Products of codes and tokens ``[n·J, D]``, as activations."""
        form = self._form
        rows = codes.permute(1, 0, 3, 2).reshape(form.heads, -1, form.tokens).double()
        products = torch.bmm(rows, self._pools)
        scaled = [
            rescaled(product, bits + self._token_bits, ACTIVATION_BITS)
            for product, bits in zip(products, self._steps, strict=True)
        ]
        return torch.cat(scaled, dim=1)

    def _block(self, coded: Tensor, features: Tensor, tensors: Sequence[tuple[Tensor, int]]) -> Tensor:
        project, offset, gain, shift, first, bias, second, last, gain_2, shift_2 = tensors
        middle = _normalised(_linear(coded, project, offset) + features, gain, shift)
        hidden = _linear(middle, first, bias).clamp_(min=0)
        return _normalised(_linear(hidden, second, last) + middle, gain_2, shift_2)


def _linear(
    values: Tensor, weight: tuple[Tensor, int], bias: tuple[Tensor, int], wanted: int = ACTIVATION_BITS
) -> Tensor:
    """Clamped ``values @ weight.T + bias``, with ``wanted`` fractional bits."""
    products = values @ weight[0].T
    sums = rescaled(products, ACTIVATION_BITS + weight[1], wanted) + rescaled(*bias, wanted)
    return sums.clamp_(-LARGEST, LARGEST)


def _normalised(values: Tensor, gain: tuple[Tensor, int], shift: tuple[Tensor, int]) -> Tensor:
    """Layer normalisation, with a gain that is stored as what it is above 1.

    Deviations from the mean are at most 2²⁵; so 1,024 of their squares add up to 2⁶⁰.
    """
    integers = values.clamp(-LARGEST, LARGEST).long()
    width = integers.shape[1]
    mean = _divided(integers.sum(1, keepdim=True), width)
    deviation = integers - mean
    variance = deviation.square().sum(1, keepdim=True) // width
    root = _square_root((variance + _EPSILON) << _ROOT_BITS)
    unit = _divided(deviation << (ACTIVATION_BITS + _ROOT_BITS // 2), root)  # at most 32 in fixed point
    one = 2.0 ** gain[1]
    scaled = rescaled(unit.double() * (gain[0] + one), ACTIVATION_BITS + gain[1], ACTIVATION_BITS)
    return (scaled + rescaled(*shift, ACTIVATION_BITS)).clamp_(-LARGEST, LARGEST)


def _divided(values: Tensor, by: Tensor | int) -> Tensor:
    """The nearest integers to quotients (halves go up), of int64 by positive ones."""
    return torch.div(2 * values + by, 2 * by, rounding_mode="floor")


def _square_root(values: Tensor) -> Tensor:
    """The largest integers whose squares are at most ``values``, int64 below 2⁶²."""
    root = values.double().sqrt().long()  # off by one at most, however it was rounded
    root = root - (root * root > values).long()
    return root + ((root + 1) * (root + 1) <= values).long()
