"""FReeNet, SPEED's feature-recurrent network (Eqs. 2–4), in floating point: what training differentiates.

What a receiver computes is :mod:`fedbits.parameterization.epitome.exact`, in integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fedbits.parameterization.epitome.form import BLOCK_TENSORS, Form
from fedbits.parameterization.transform import basis

LARGEST_FEATURE = 4096.0  # magnitude of activations: see exact.py
EPSILON = 1e-5  # added to a variance
TOKEN_DEVIATION = 0.2  # of tokens and codes where they start at random (SPEED, appendix I)


def initial_network(form: Form, generator: torch.Generator) -> list[Tensor]:
    """Xavier weights, zero biases, and gains of 1 (stored as 0)."""
    tensors = []
    for shape in form.network_shapes:
        tensor = torch.zeros(shape)
        if len(shape) == 2:
            bound = math.sqrt(6 / sum(shape))
            tensor = (2 * torch.rand(shape, generator=generator) - 1) * bound
        tensors.append(tensor)
    return tensors


def sparse_coding(form: Form, tokens: Tensor, codes: Tensor) -> Tensor:
    """``[E¹A¹, …, E^H A^H]`` of Eq. 3, ``[n·J, D]``, from ``tokens`` ``[K, D]``, codes ``[n, H, K, J]``."""
    heads, width = form.heads, form.width // form.heads
    pools = tokens.reshape(form.tokens, heads, width).transpose(0, 1)
    rows = codes.permute(1, 0, 3, 2).reshape(heads, -1, form.tokens)
    return torch.bmm(rows, pools).transpose(0, 1).reshape(-1, form.width)


def synthesise(form: Form, tokens: Tensor, codes: Tensor, network: Sequence[Tensor]) -> Tensor:
    """Patches ``[n, J, L]`` from codes ``[n, H, K, J]`` (Eqs. 3 and 4)."""
    coded = _clamped(sparse_coding(form, tokens, codes))
    features = coded if not form.blocks else torch.zeros_like(coded)
    for block in range(form.blocks):
        features = _block(coded, features, network[BLOCK_TENSORS * block :][:BLOCK_TENSORS])
    weight, bias = (as_pixels(form, tensor) for tensor in network[-2:])
    return F.linear(features, weight, bias).reshape(-1, form.patches, form.patch_elements)


def as_pixels(form: Form, tensor: Tensor) -> Tensor:
    """What makes patches, ``[L]`` or ``[L, D]``, from the cosine transform in which it is stored."""
    if not form.transformed:
        return tensor
    rows, columns = (basis(side).to(tensor) for side in form.cut)
    pixels = torch.einsum("cuvd,uy,vx->cyxd", tensor.reshape(-1, *form.cut, tensor[0].numel()), rows, columns)
    return pixels.reshape(tensor.shape)


def _block(coded: Tensor, features: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    project, offset, gain, shift, first, bias, second, last, gain_2, shift_2 = tensors
    middle = _normalised(_clamped(F.linear(coded, project, offset)) + features, gain, shift)
    hidden = _clamped(F.linear(middle, first, bias)).relu()
    return _normalised(_clamped(F.linear(hidden, second, last)) + middle, gain_2, shift_2)


def _clamped(values: Tensor) -> Tensor:
    """As a receiver, whose integers have a largest one; no set that trains comes near it."""
    return values.clamp(-LARGEST_FEATURE, LARGEST_FEATURE)


def _normalised(values: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    return F.layer_norm(values, (values.shape[-1],), 1 + gain, shift, EPSILON)
