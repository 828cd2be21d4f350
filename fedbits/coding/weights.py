"""Weights of a network as integers at power-of-two steps, and their coding.

A tensor is coded under a Laplace distribution whose scale takes six bits, as a sequence of decisions: is a
weight zero, which sign, how many bits long, and what the bits are. Under a Laplace these are independent, so
their probabilities are few and tabulated. Where it pays (a bit says whether), they are only where counting
starts: what a decision was before, in all and where weights of the same row and column are about as large,
moves its probability. So tensors of another shape than Laplace's cost less, and so do ones whose rows and
columns differ in scale. Everything that decides a probability is an integer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedbits.coding.adaptive import SCALE, AdaptiveModel
from fedbits.coding.range_coder import Meter, RangeReader, RangeWriter, SymbolCoder, Symbols
from fedbits.errors import LimitError

Integers = NDArray[np.int64]
Shape = tuple[int, ...]

LARGEST = (1 << 31) - 1  # magnitude of a quantised weight
FRACTION_BITS = range(-16, 48)  # of a step 2**-k, the k that can be coded
_SCALES = 64  # of the Laplace distribution: four to a doubling, from 2**-3
_LONGEST = 30  # magnitudes lie below 2**31
_LEAST_LONGER, _LEAST_ONE = 8, 6  # probabilities are at least 2**-8 and 2**-6: outliers must not cost much
_COUNTED, _NOT_COUNTED = 2, -2  # bits after the leading one that are learnt; others keep to the Laplace
_STRENGTH = 16  # observations that the Laplace distribution, and the counts of all, are worth
_LEVELS = 80  # of local magnitude
_MOST_SUMMED = (1 << 15) - 1  # what a magnitude adds at most to the sum of its row and column
_BATCH_WORK, _DECISION_WORK = 250, 2  # of one decision: what a batch and what a weight costs, in 100 ns


def scales() -> NDArray[np.float64]:
    """The scales that can be coded, in steps."""
    return np.exp2((np.arange(_SCALES) - 12) / 4)


def _tables() -> tuple[Integers, Integers, Integers]:
    """By scale, probabilities that a value is not zero, ``[..., n]`` is 2**(n+1) or more if it is 2**n or
    more, and has a one at place n below its leading one.
    """
    rates, places = [1 / float(scale) for scale in scales()], range(_LONGEST)
    other = [math.exp(-rate / 2) for rate in rates]
    longer = [[max(2.0**-_LEAST_LONGER, math.exp(-rate * 2**n)) for n in places] for rate in rates]
    one = [
        [max(2.0**-_LEAST_ONE, 1 / (1 + math.exp(min(99, rate * 2**n)))) for n in places] for rate in rates
    ]
    as_integers = (np.rint(SCALE * np.array(table)).astype(np.int64) for table in (other, longer, one))
    return tuple(as_integers)


_OTHER, _LONGER, _ONE = _tables()


@dataclass(frozen=True)
class QuantisedTensor:
    """``values`` int64, at most :data:`LARGEST` in magnitude, in units of ``2**-fraction_bits``."""

    values: NDArray[np.int64]
    fraction_bits: int

    def floats(self) -> NDArray[np.float64]:
        """What the values stand for, exactly."""
        return np.ldexp(self.values.astype(np.float64), -self.fraction_bits)


def quantise(tensor: NDArray[np.floating], fraction_bits: int) -> QuantisedTensor:
    """The nearest multiples of ``2**-fraction_bits`` (ties to even).

    Raises:
        ValueError: a weight is not finite or too large for the step, or the step is not one that is coded.
    """
    if fraction_bits not in FRACTION_BITS:
        raise ValueError(f"weights have -16 to 47 fractional bits, not {fraction_bits}")
    steps = np.ldexp(np.asarray(tensor, np.float64), fraction_bits)
    if not np.all(abs(steps) <= LARGEST):  # false for NaN
        raise ValueError(f"a weight is not finite, or too large for steps of 2^{-fraction_bits}")
    return QuantisedTensor(np.rint(steps).astype(np.int64), fraction_bits)


def fraction_bits_for(tensor: NDArray[np.floating], precision: float) -> int:
    """Those of the largest power-of-two step with a rounding error of at most ``precision`` of the tensor.

    Both are root mean squares; the error of a uniform rounding is taken, step / sqrt(12).
    """
    size = float(np.sqrt(np.mean(np.square(tensor, dtype=np.float64)))) if tensor.size else 0.0
    if not (math.isfinite(size) and precision > 0):
        raise ValueError("a precision needs finite weights, and to be above zero")
    if size == 0:
        return 0
    fits = math.ceil(-math.log2(math.sqrt(12) * precision * size))
    return min(max(fits, FRACTION_BITS[0]), FRACTION_BITS[-1])


def code_weights(
    coder: SymbolCoder,
    shapes: Sequence[Shape],
    tensors: Sequence[QuantisedTensor] | None = None,
    fraction_bits: Sequence[int] | None = None,
) -> list[QuantisedTensor]:
    """Write, measure or (``tensors`` left out) read tensors of ``shapes``.

    ``fraction_bits``: of each tensor, where both sides know them; left out, they are coded in six bits each.
    """
    coded = []
    for number, shape in enumerate(shapes):
        tensor = None if tensors is None else tensors[number]
        values = None if tensor is None else tensor.values.reshape(-1)
        if values is not None and (tensor.values.shape != shape or np.any(abs(values) > LARGEST)):  # type: ignore[union-attr]
            raise ValueError("a tensor has another shape than declared, or values too large")
        if fraction_bits is None:
            known = None if tensor is None else tensor.fraction_bits - FRACTION_BITS[0]
            bits = _uniform(coder, len(FRACTION_BITS), known) + FRACTION_BITS[0]
        else:
            bits = fraction_bits[number]
        scale = _uniform(coder, _SCALES, None if values is None else _best_scale(values))
        counted = _uniform(coder, 2, None if values is None else _counting_pays(scale, shape, values))
        found = _Magnitudes(scale, shape, bool(counted)).code(coder, values)
        coded.append(QuantisedTensor(found.reshape(shape), bits))
    return coded


def encode_weights(tensors: Sequence[QuantisedTensor]) -> bytes:
    """The tensors as bytes; their shapes are not in them."""
    writer = RangeWriter()
    code_weights(writer, [tensor.values.shape for tensor in tensors], tensors)
    return writer.bytes()


def decode_weights(
    stream: bytes, shapes: Sequence[Shape], parameters: int = 1 << 24
) -> list[QuantisedTensor]:
    """The tensors of ``shapes`` that :func:`encode_weights` was given.

    Raises:
        LimitError: the shapes have more than ``parameters`` weights, or as many dimensions in all.
        CorruptError: no encoder writes this stream.
    """
    declared = sum(math.prod(shape) + len(shape) for shape in shapes)
    if declared > parameters:
        raise LimitError(f"there are {declared:,} weights, more than the {parameters:,} allowed")
    return code_weights(RangeReader(stream), shapes)


def weight_bits(tensors: Sequence[QuantisedTensor]) -> float:
    """Bits that the tensors take."""
    meter = Meter()
    code_weights(meter, [tensor.values.shape for tensor in tensors], tensors)
    return meter.bits


def weights_work(shapes: Sequence[Shape], zeros: bool = False) -> int:
    """What :func:`code_weights` costs at most, in the unit of :func:`fedbits.coding.coding_work`.

    With ``zeros`` what it costs where all weights are 0, as they are where a stream has ended.
    """
    each, all_kinds = 2 * _LONGEST + 2, (_LONGEST + 1) * (_LONGEST + 4) // 2  # decisions of a weight; kinds
    if zeros:
        each = all_kinds = 1
    sizes = [math.prod(shape) for shape in shapes]
    batches = [stop - start for size in sizes for start, stop in _batches(size)]
    kinds = sum(min(all_kinds, each * batch) for batch in batches)
    return _BATCH_WORK * (kinds + 2 * len(sizes)) + _DECISION_WORK * each * sum(sizes)


def laplace_bits(values: NDArray[np.int64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bits of all ``values`` together under quantised Laplace distributions of each ``scale``, ideally."""
    zeros, others = int((values == 0).sum()), int((values != 0).sum())
    nats = zeros * -np.log(-np.expm1(-0.5 / scale))
    nats += others * (math.log(2) + 0.5 / scale - np.log(-np.expm1(-1 / scale)))
    nats += (float(abs(values).sum()) - others) / scale
    return nats / math.log(2)


def _best_scale(values: NDArray[np.int64]) -> int:
    return int(laplace_bits(values, scales()).argmin())


def _counting_pays(scale: int, shape: Shape, values: NDArray[np.int64]) -> int:
    meters = Meter(), Meter()
    for counted, meter in enumerate(meters):
        _Magnitudes(scale, shape, bool(counted)).code(meter, values)
    return int(meters[1].bits < meters[0].bits)


def _uniform(coder: SymbolCoder, levels: int, symbol: int | None) -> int:
    known = None if symbol is None else np.array([symbol])
    return int(coder.code(known, np.ones((1, levels), np.int64))[0])


class _Magnitudes:
    """The values of one tensor: decisions that start from a Laplace distribution, and may be counted."""

    def __init__(self, scale: int, shape: Shape, counted: bool) -> None:
        self._scale, self._counted = scale, _COUNTED if counted else _NOT_COUNTED
        self._size = math.prod(shape)
        self._columns = self._size // shape[0] if len(shape) > 1 and self._size else max(self._size, 1)
        self._models: dict[tuple[int, int], AdaptiveModel] = {}
        mean = max(1, round(16 * float(scales()[scale])))  # four fractional bits
        self._sums = [np.full(sides, 2 * mean) for sides in (-(-self._size // self._columns), self._columns)]
        self._counts = [np.full_like(sums, 2) for sums in self._sums]

    def code(self, coder: SymbolCoder, values: Symbols | None) -> Symbols:
        found = np.zeros(self._size, np.int64)
        for start, stop in _batches(self._size):
            known = None if values is None else values[start:stop]
            sides = np.divmod(np.arange(start, stop), self._columns)
            found[start:stop] = self._batch(coder, self._levels(sides), known)
            magnitudes = np.minimum(abs(found[start:stop]), _MOST_SUMMED)
            for sums, counts, side in zip(self._sums, self._counts, sides, strict=True):
                np.add.at(sums, side, magnitudes << 4)
                np.add.at(counts, side, 1)
        return found

    def _levels(self, sides: tuple[Symbols, Symbols]) -> Symbols:
        """How large magnitudes are around: four levels for a doubling of row and column together."""
        means = [s[side] // c[side] for s, c, side in zip(self._sums, self._counts, sides, strict=True)]
        return np.minimum(sum(_bit_length(mean * mean) for mean in means), _LEVELS - 1)

    def _batch(self, coder: SymbolCoder, levels: Symbols, values: Symbols | None) -> Symbols:
        magnitudes = None if values is None else abs(values)
        found = np.zeros_like(levels)
        who = np.arange(len(levels))
        above = None if magnitudes is None else magnitudes > 0
        who = who[self._ask(coder, (-1, 0), _OTHER[self._scale], levels, who, above) == 1]
        signs = None if values is None else (values[who] < 0).astype(np.int64)
        negative = who[coder.code(signs, np.ones((len(who), 2), np.int64)) == 1] if len(who) else who
        for length in range(_LONGEST + 1):
            if not len(who):
                break
            done = who
            if length < _LONGEST:
                likely = _LONGER[self._scale, length]
                above = None if magnitudes is None else magnitudes >= 2 << length
                longer = self._ask(coder, (length, length), likely, levels, who, above)
                done, who = who[longer == 0], who[longer == 1]
            found[done] = self._bits(coder, length, levels, done, magnitudes)
        found[negative] *= -1
        return found

    def _bits(
        self, coder: SymbolCoder, length: int, levels: Symbols, who: Symbols, magnitudes: Symbols | None
    ) -> Symbols:
        """Magnitudes of ``length`` bits after the leading one."""
        value = np.ones(len(who), np.int64)
        for place in range(length - 1, -1, -1):
            bits = None if magnitudes is None else magnitudes >> place & 1
            likely = _ONE[self._scale, place]
            value = value << 1 | self._ask(coder, (length, place), likely, levels, who, bits)
        return value

    def _ask(
        self,
        coder: SymbolCoder,
        decision: tuple[int, int],
        likely: int,
        levels: Symbols,
        who: Symbols,
        answers: NDArray[np.bool_] | Symbols | None,
    ) -> Symbols:
        """Code a decision about some of the batch, at first ``likely`` out of :data:`SCALE`."""
        if not len(who):
            return who
        if decision not in self._models:
            length, place = decision
            orders = (1, _LEVELS) if length - place <= self._counted else ()
            self._models[decision] = AdaptiveModel(np.array([SCALE - likely, likely]), orders, _STRENGTH)
        model = self._models[decision]
        contexts = [np.zeros_like(who), levels[who]][: len(model.sizes)]
        known = None if answers is None else answers[who].astype(np.int64)
        coded = coder.code(known, model.weights(contexts, len(who)))
        model.update(contexts, coded)
        return coded


def _batches(size: int) -> Iterator[tuple[int, int]]:
    """Ranges of weights; a batch is an eighth of what was coded before it."""
    start = 0
    while start < size:
        stop = min(size, start + max(1, min(start >> 3, 1 << 18)))
        yield start, stop
        start = stop


def _bit_length(values: Symbols) -> Symbols:
    return np.searchsorted(1 << np.arange(62), values, side="right")
