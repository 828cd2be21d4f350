"""A small causal network that predicts symbols, in exact integers.

It sees what was coded before around a position (:mod:`fedbits.coding.surroundings`) and gives a mixture of
logistic distributions over the symbol. Weights are int16, activations integers of 8 fractional bits; all sums
are formed in float64, where integers below 2**53 are exact in any order, so every machine finds the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

WEIGHT_BITS = 10  # fractional bits of weights
ACTIVATION_BITS = 8  # fractional bits of inputs, activations and outputs
_LARGEST_ACTIVATION = (1 << 15) - 1
_OCTAVE = 8  # steps of a doubling in tables of widths
_NARROWEST, _WIDEST = -5 * _OCTAVE, 9 * _OCTAVE  # log2 of widths, in levels
_SIGMOID_BITS, _REACH = 6, 12  # the sigmoid is tabulated at steps of 2**-6, up to 12
_ONE = 1 << 16
CERTAIN = 1 << 32  # a probability of one, of a mixture
LOGIT_BITS = 12
_LEAST = 1 << 8  # of CERTAIN: no logit is formed of a smaller probability
_LARGEST_LOGIT = 12 << LOGIT_BITS
COMPONENTS = 4  # of a mixture
# Widths of the shipped networks' layers, inputs first: for one channel, and for several.
SHAPES = {"grey": (30, 96, 96, 12), "colour": (57, 96, 96, 12)}


def _sigmoids() -> Integers:
    """Entry i is the logistic function at (i - half) / 2**6, of 16 fractional bits."""
    half = _REACH << _SIGMOID_BITS
    return np.array([round(_ONE / (1 + math.exp(-i / (1 << _SIGMOID_BITS)))) for i in range(-half, half + 1)])


def _inverse_widths() -> Integers:
    """2**16 over each width, in levels."""
    return np.array([round(_ONE * 2 ** (-i / _OCTAVE)) for i in range(_NARROWEST, _WIDEST + 1)])


def _shares() -> Integers:
    """e**-x of 16 fractional bits, for x in steps of 1/16 up to 12."""
    return np.array([max(1, round(_ONE * math.exp(-i / 16))) for i in range(12 * 16 + 1)])


def _scales() -> Integers:
    """2**(i / 8) of 8 fractional bits, from the narrowest width to the widest."""
    return np.array([round(256 * 2 ** (i / _OCTAVE)) for i in range(_NARROWEST, _WIDEST + 1)])


def _logarithms() -> Integers:
    """ln(1 + i / 1024) of 12 fractional bits."""
    return np.array([round(math.log1p(i / 1024) * (1 << LOGIT_BITS)) for i in range(1024)])


_SIGMOIDS, _INVERSE_WIDTHS, _SHARES = _sigmoids(), _inverse_widths(), _shares()
_SCALES, _LOGARITHMS = _scales(), _logarithms()
_LN_2 = round(math.log(2) * (1 << LOGIT_BITS))


@dataclass(frozen=True)
class Layer:
    """``weights`` ``[outputs, inputs]`` and ``bias`` ``[outputs]``, integers of 10 and 18 fractional bits."""

    weights: NDArray[np.int16]
    bias: NDArray[np.int32]

    @classmethod
    def rounded(
        cls, weights: NDArray[np.float32], bias: NDArray[np.float32], fraction_bits: int = WEIGHT_BITS
    ) -> Layer:
        """The nearest multiples of ``2**-fraction_bits`` (at most 10); weights reach from -32 to 32."""
        largest = ((1 << 15) - 1) >> (WEIGHT_BITS - fraction_bits)
        coarse = np.clip(np.rint(weights * 2.0**fraction_bits), -largest, largest).astype(np.int64)
        bias_steps = np.rint(bias * 2.0**fraction_bits).astype(np.int64)
        spare = WEIGHT_BITS - fraction_bits
        return cls(
            (coarse << spare).astype(np.int16), (bias_steps << (spare + ACTIVATION_BITS)).astype(np.int32)
        )


def write_layers(layers: list[Layer]) -> bytes:
    """Weights, output by output, as little-endian int16, then the bias as int32, layer after layer."""
    return b"".join(
        layer.weights.astype("<i2").tobytes() + layer.bias.astype("<i4").tobytes() for layer in layers
    )


class EntropyNetwork:
    """A multilayer perceptron with ReLUs; its last layer gives K times (share, mean, log2 width)."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self._floats = [
            (layer.weights.T.astype(np.float64), layer.bias.astype(np.float64)) for layer in layers
        ]

    def __call__(self, inputs: Integers) -> NDArray[np.float64]:
        """``inputs`` ``[n, features]`` of 8 fractional bits to outputs ``[n, 3 K]`` of 8 fractional bits."""
        values = inputs.astype(np.float64)
        for weights, bias in self._floats[:-1]:
            values = np.floor((values @ weights + bias) * 2.0**-WEIGHT_BITS)
            np.clip(values, 0, _LARGEST_ACTIVATION, out=values)
        weights, bias = self._floats[-1]
        return np.floor((values @ weights + bias) * 2.0**-WEIGHT_BITS)

    def mixture(self, inputs: Integers, centre: Integers, octave: Integers, levels: int) -> Mixture:
        """The distribution of symbols; ``centre`` ``[n]`` and ``octave`` ``[n]`` place and scale it."""
        shares, means, widths = np.split(self(inputs).astype(np.int64), 3, axis=1)
        scale = _SCALES[octave - _NARROWEST][:, None]
        located = (centre[:, None] << 8) + ((np.clip(means, -(1 << 15), 1 << 15) * scale) >> 8)
        steps = (widths * _OCTAVE >> 8) + octave[:, None]
        places = np.clip(steps, _NARROWEST, _WIDEST) - _NARROWEST
        below = np.minimum((shares.max(axis=1, keepdims=True) - shares) >> 4, 12 * 16)
        parts = _SHARES[below]
        parts = (parts << 16) // parts.sum(axis=1, keepdims=True)
        return Mixture(parts.T, located.T, _INVERSE_WIDTHS[places].T, levels)


@dataclass(frozen=True)
class Mixture:
    """Logistic distributions: ``shares`` (16 bits), ``means`` (8 bits) and ``inverse`` widths, ``[K, n]``."""

    shares: Integers
    means: Integers
    inverse: Integers
    levels: int

    def up_to(self, symbols: Integers) -> Integers:
        """:data:`CERTAIN` times the probability of a symbol of at most ``symbols`` ``[n]``."""
        distance = (symbols << 8) + 128 - self.means
        half = _REACH << _SIGMOID_BITS
        places = np.clip((distance * self.inverse) >> (16 + 8 - _SIGMOID_BITS), -half, half) + half
        below = (self.shares * _SIGMOIDS[places]).sum(axis=0)
        return np.where(symbols < 0, 0, np.where(symbols >= self.levels - 1, CERTAIN, below))


def logit(yes: Integers, no: Integers) -> Integers:
    """ln(yes / no) of 12 fractional bits, for integers below 2**33; both are at least 2**8."""
    return np.clip(_logarithm(yes) - _logarithm(no), -_LARGEST_LOGIT, _LARGEST_LOGIT)


def _logarithm(values: Integers) -> Integers:
    mantissa, exponent = np.frexp(np.maximum(values, _LEAST).astype(np.float64))
    place = np.floor((2 * mantissa - 1) * 1024).astype(np.int64)
    return _LOGARITHMS[place] + (exponent.astype(np.int64) - 1) * _LN_2


def read_layers(stored: bytes, widths: tuple[int, ...]) -> tuple[list[Layer], bytes]:
    """Layers of ``widths``, inputs first, and the bytes that follow them: see :func:`write_layers`."""
    layers = []
    for inputs, outputs in pairwise(widths):
        weights = np.frombuffer(stored, "<i2", inputs * outputs).reshape(outputs, inputs)
        stored = stored[weights.nbytes :]
        layers.append(Layer(weights.astype(np.int16), np.frombuffer(stored, "<i4", outputs).astype(np.int32)))
        stored = stored[4 * outputs :]
    return layers, stored


@lru_cache
def shipped() -> dict[str, EntropyNetwork]:
    """The networks that every fedbits knows (benchmarks/train_prior.py made them)."""
    stored = (resources.files("fedbits.coding") / "prior.bin").read_bytes()
    networks = {}
    for kind, widths in SHAPES.items():
        layers, stored = read_layers(stored, widths)
        networks[kind] = EntropyNetwork(layers)
    return networks


def prior(channels: int) -> EntropyNetwork:
    """The shipped network for grids of so many channels."""
    return shipped()["grey" if channels == 1 else "colour"]
