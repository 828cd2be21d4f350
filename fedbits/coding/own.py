"""The coder that trusts a network which travels in the stream, before the symbols."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedbits.coding.network import (
    ACTIVATION_BITS,
    COMPONENTS,
    WEIGHT_BITS,
    EntropyNetwork,
    Layer,
    Mixture,
)
from fedbits.coding.neural import code_view
from fedbits.coding.range_coder import SymbolCoder, Symbols
from fedbits.coding.surroundings import inputs_of, surroundings
from fedbits.coding.view import GridShape, View
from fedbits.coding.weights import QuantisedTensor, code_weights
from fedbits.errors import CorruptError

HIDDEN = range(1, 65)  # widths of the hidden layer
FRACTIONS = (WEIGHT_BITS, WEIGHT_BITS + ACTIVATION_BITS)  # of weights and of biases, as they are used


class OwnNetwork:
    """As :class:`fedbits.coding.neural.Neural`, under a network with one hidden layer that was sent along."""

    grouped: ClassVar[bool] = False

    def __init__(self, shape: GridShape, levels: int) -> None:
        self._channels, self._levels = shape[1], levels
        self._network: EntropyNetwork

    def open(self, coder: SymbolCoder, network: EntropyNetwork | None) -> None:
        """Code the network, or read it (None), ahead of the symbols.

        Raises:
            CorruptError: weights have more fractional bits than a network works with.
        """
        hidden = None if network is None else np.array([len(network.layers[0].bias) - HIDDEN[0]])
        width = HIDDEN[int(coder.code(hidden, np.ones((1, len(HIDDEN)), np.int64))[0])]
        shapes = _shapes(self._channels, width)
        tensors = None if network is None else _tensors(network)
        self._network = EntropyNetwork(as_layers(code_weights(coder, shapes, tensors)))

    def code(self, coder: SymbolCoder, view: View, symbols: Symbols | None) -> Symbols:
        return code_view(coder, view, symbols, self._levels, self._expectation)

    def _expectation(self, view: View) -> Mixture:
        seen = surroundings(view, self._levels)
        return self._network.mixture(seen.inputs, seen.centre, seen.octave, self._levels)


def _shapes(channels: int, hidden: int) -> list[tuple[int, ...]]:
    outputs = 3 * COMPONENTS
    return [(hidden, inputs_of(channels)), (hidden,), (outputs, hidden), (outputs,)]


def largest_shapes(channels: int) -> list[tuple[int, ...]]:
    """Shapes of the most weights that a stream may bring."""
    return _shapes(channels, HIDDEN[-1])


def most_parameters(channels: int) -> int:
    """Parameters of the largest network that a stream may bring."""
    return sum(math.prod(shape) for shape in largest_shapes(channels))


def _tensors(network: EntropyNetwork) -> list[QuantisedTensor]:
    """Weights and biases, layer after layer, less the trailing zero bits that all of each share."""
    tensors = []
    for layer in network.layers:
        for values, fraction in zip((layer.weights, layer.bias), FRACTIONS, strict=True):
            integers = np.asarray(values, np.int64)
            shared = int(np.bitwise_or.reduce(integers.reshape(-1)))
            spare = min((shared & -shared).bit_length() - 1, fraction) if shared else fraction
            tensors.append(QuantisedTensor(integers >> spare, fraction - spare))
    return tensors


def as_layers(tensors: Sequence[QuantisedTensor]) -> list[Layer]:
    """Weights and biases, layer after layer, as a network uses them.

    Raises:
        CorruptError: they are too large, or have more fractional bits than a network works with.
    """
    found: list[NDArray[np.int64]] = []
    for number, tensor in enumerate(tensors):
        spare, bits = FRACTIONS[number % 2] - tensor.fraction_bits, (15, 31)[number % 2]
        largest = (1 << bits) - 1
        if not 0 <= spare <= FRACTIONS[number % 2] or (abs(tensor.values) > largest >> spare).any():
            raise CorruptError("the stream's network has weights that no network of this format has")
        found.append(tensor.values << spare)
    pairs = zip(found[::2], found[1::2], strict=True)
    return [Layer(weights.astype(np.int16), bias.astype(np.int32)) for weights, bias in pairs]
