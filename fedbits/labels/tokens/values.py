"""The numbers of a label, the likeliest tokens' probabilities and the mass that remains, by a codec.

A codec sees square roots: to second order, the Kullback-Leibler divergence of two distributions is twice the
squared distance of their roots, so what codecs minimise is what is lost. (On SmolLM2's labels, VQAE of the
same bits lost six times less than on probabilities themselves.) Decoding is in integers, or in float64 that
holds integers exactly, so that probabilities are the same on every machine: of codebook and decoder, which
travel as integers, a sum is formed, taken to steps of 2**-15, squared, and divided by the sum of all.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedbits.coding.weights import QuantisedTensor
from fedbits.errors import ConfigError, CorruptError, unknown
from fedbits.labels.codec import CodecConfig, LabelCodec, Table
from fedbits.labels.simple import Float16, Scalar
from fedbits.labels.vector import Vector, VectorAutoencoder

KINDS: dict[str, type[LabelCodec]] = {
    kind.name: kind for kind in (Float16, Scalar, Vector, VectorAutoencoder)
}
DEFAULT = CodecConfig("vqae", width=9, segment=3, levels=256)
ONE = 1 << 24  # a probability of one; those of a label sum to it
_ROOT_BITS = 15
_EXACT = 2.0**53


def kind_named(name: str) -> type[LabelCodec]:
    """Raise :class:`ConfigError` where token labels have no such codec."""
    if name not in KINDS:
        raise ConfigError(unknown("codec of token labels", name, KINDS))
    return KINDS[name]


def roots_of(top: Tensor) -> Tensor:
    """What codecs see of probabilities ``top`` ``[n, k]``: ``[n, k + 1]`` float32."""
    rest = (1 - top.double().sum(1, keepdim=True)).clamp(min=0)
    return torch.cat([top.double(), rest], 1).sqrt().float()


def check_exact(codec: LabelCodec) -> None:
    """Raise :class:`CorruptError` where sums of the codec's tensors need not be exact in float64."""
    largest = [float(abs(tensor.values).max(initial=0)) for tensor in codec.tensors]
    if isinstance(codec, VectorAutoencoder):
        width = codec.config.width
        if largest[0] * largest[1] * width >= _EXACT:
            raise CorruptError("the labels' codebook and decoder have numbers that no encoder writes")


def probabilities(codec: LabelCodec, symbols: Table) -> NDArray[np.int64]:
    """``[n, k + 1]``, in units of 2**-24, positive, and summing to 1; last comes the rest.

    Args:
        symbols: ``[n, columns]``.
    """
    roots = np.clip(np.floor(np.ldexp(_roots(codec, symbols), _ROOT_BITS)), 0, 1 << _ROOT_BITS)
    weights = np.square(roots.astype(np.int64))
    weights[:, 0] += weights.sum(1) == 0
    shared = ONE - weights.shape[1]
    found = 1 + weights * shared // weights.sum(1, keepdims=True)
    found[:, 0] += ONE - found.sum(1)
    return found


def _roots(codec: LabelCodec, symbols: Table) -> NDArray[np.float64]:
    """``[n, k + 1]``, exactly what symbols stand for."""
    if isinstance(codec, Float16):
        stored = np.ascontiguousarray(symbols.astype(np.uint8)).view(">f2").astype(np.float64)
        return np.nan_to_num(stored, posinf=1.0, neginf=0.0)
    codes = symbols.astype(np.int64)
    first = codec.tensors[0].floats()
    if isinstance(codec, Scalar):
        return first[codes]
    if not isinstance(codec, VectorAutoencoder):
        return first[codes].reshape(len(codes), -1)[:, : codec.classes]
    second = codec.tensors[1]
    sums = _integers(codec.tensors[0])[codes].reshape(len(codes), -1) @ _integers(second)
    return np.ldexp(sums, -codec.tensors[0].fraction_bits - second.fraction_bits)


def _integers(tensor: QuantisedTensor) -> NDArray[np.float64]:
    return tensor.values.astype(np.float64)
