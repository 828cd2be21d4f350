"""An epitome's message and its streams of symbols: writing, reading, what decoding takes, where bits went."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedbits.coding import CODERS, Meter, RangeReader, SymbolCoder, code_grid, coding_work, least_stream
from fedbits.coding.grid import OWN
from fedbits.coding.range_coder import Symbols, Weights
from fedbits.coding.weights import FRACTION_BITS, code_weights, encode_weights, weights_work
from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError, CorruptError
from fedbits.parameterization.base import Part
from fedbits.parameterization.epitome.codes import zero_symbol
from fedbits.parameterization.epitome.config import EpitomeConfig
from fedbits.parameterization.epitome.exact import CHUNK_NUMBERS, Dictionary
from fedbits.parameterization.epitome.form import Form
from fedbits.parameterization.transform import transform_work
from fedbits.wire import distilled_set_pb2 as pb

_CODERS = (7, 6, 2, 1)  # that are tried; the others are for images
_SLOW, _DENSE = (7, 6), 6
_MOST_WORK = 1 << 27  # to decode codes for which a slow coder is tried
_SHARE = 1 / 4  # of the symbols that are not zero, from which on the coder of dense ones is tried
_CHUNK = 1 << 20  # symbols that are turned into codes at once
_MULTIPLICATIONS = 64  # of a matrix product, in a unit of work of 100 ns
_NORMALISED = 2  # units of work for each number that a block makes, in all its other steps


def symbols_shape(form: Form) -> tuple[int, int, int]:
    """Channels, rows and columns of one sample's symbols: a row of heads, in them tokens, in these patches.

    On Fashion-MNIST this takes 1 to 4 % fewer bits than a grid of patches whose channels are heads and
    tokens, or one of patches and tokens: there are too few non-zeros to learn from each channel.
    """
    return 1, 1, math.prod(form.codes)


def _arranged(integers: Tensor, form: Form, bits: int) -> NDArray[np.int64]:
    """Symbols ``[n, 1, 1, H·K·J]`` of integer codes ``[n, H, K, J]``."""
    return (integers.reshape(-1, *symbols_shape(form)) + zero_symbol(bits)).numpy()


def smallest(
    parts: Sequence[tuple[Tensor, Tensor]], form: Form, bits: int, quick: bool = False
) -> tuple[int, float]:
    """The coder that spends the fewest bits on ``parts``, and how many.

    Each is integers ``[n, H, K, J]`` and the classes of their samples; ``quick`` tries but one coder.
    """
    sizes: dict[int, float] = {}
    grids = [(_arranged(codes, form, bits), labels.numpy()) for codes, labels in parts]
    others = sum(int(codes.count_nonzero()) for codes, _ in parts)
    dense = others > _SHARE * sum(codes.numel() for codes, _ in parts)
    for number in _CODERS:
        work = sum(coding_work((*grid.shape,), 1 << bits, number) for grid, _ in grids)
        slow = number in _SLOW and work > _MOST_WORK
        if slow or (number == _DENSE and not dense) or (quick and sizes):
            continue
        meter = Meter()
        for grid, labels in grids:
            code_grid(meter, number, 1 << bits, (*grid.shape,), grid, labels)
        sizes[number] = max(meter.bits, 8.0 * least_stream(work))
    best = min(sizes, key=lambda number: sizes[number])
    return best, sizes[best]


def write(
    message: pb.Epitome,
    config: EpitomeConfig,
    dictionary: Dictionary,
    integers: Tensor,
    parts: Sequence[Part],
    quick: bool,
) -> None:
    """Fill ``message``, and spend the codes of all ``parts``, ``integers`` ``[n, H, K, J]``."""
    form, bits = dictionary.form, config.bits
    codes = integers.split([len(labels) for labels, _ in parts])
    known = [(some, labels.cpu()) for some, (labels, _) in zip(codes, parts, strict=True)]
    number, _ = smallest(known, form, bits, quick)
    message.tokens, message.width, message.heads = config.tokens, config.width, config.heads
    message.blocks, message.patch, message.nonzeros = config.blocks, config.patch, config.nonzeros
    message.bits, message.coder = bits, number
    message.fraction_bits.extend(dictionary.steps)
    message.token_weights = encode_weights([dictionary.tokens])
    message.network_weights = encode_weights(dictionary.network)
    for (some, labels), (_, coder) in zip(known, parts, strict=True):
        grid = _arranged(some, form, bits)
        code_grid(coder, number, 1 << bits, (*grid.shape,), grid, labels.numpy())


def read(
    message: pb.Epitome, spec: DataSpec, samples: int, parts: Iterable[Part]
) -> tuple[EpitomeConfig, Dictionary, Tensor]:
    """What :func:`write` was given; codes are int16 ``[samples, H, K, J]``.

    Raises:
        CorruptError: there is no such epitome, or its numbers are ones that none can send.
    """
    config = checked(message, spec)
    dictionary = _read_dictionary(message, config, spec)
    form, start = dictionary.form, 0
    codes = torch.empty((samples, *form.codes), dtype=torch.int16)
    for labels, coder in parts:
        shape = (len(labels), *symbols_shape(form))
        symbols = code_grid(coder, message.coder, 1 << config.bits, shape, labels=labels.numpy())
        many = max(1, _CHUNK // math.prod(shape[1:]))
        for first in range(0, len(labels), many):
            some = torch.from_numpy(symbols[first : first + many].astype(np.int16)).reshape(-1, *form.codes)
            some -= zero_symbol(config.bits)
            least, most = -zero_symbol(config.bits) + 1, int((some != 0).flatten(2).sum(2).max())
            if most > config.nonzeros or int(some.min()) < least:
                raise CorruptError(f"the codes are not of {config.nonzeros} coefficients in their range")
            codes[start + first : start + first + len(some)] = some
        start += len(labels)
    return config, dictionary, codes


def checked(message: pb.Epitome, spec: DataSpec) -> EpitomeConfig:
    """What ``message`` declares, before anything is computed or memory taken for it.

    Raises:
        CorruptError: there is no such epitome of samples of ``spec``.
    """
    try:
        config = EpitomeConfig(
            message.tokens,
            message.width,
            message.heads,
            message.blocks,
            message.nonzeros,
            message.patch,
            message.bits,
        )
    except ConfigError as error:
        raise CorruptError(f"the blob declares an epitome that does not exist: {error}") from error
    if message.coder not in CODERS or message.coder == OWN:
        raise CorruptError(f"unknown coder {message.coder} of sparse codes")
    if len(message.fraction_bits) != config.heads:
        raise CorruptError(f"the blob declares {len(message.fraction_bits)} steps for {config.heads} heads")
    if any(bits not in FRACTION_BITS for bits in message.fraction_bits):
        raise CorruptError(f"a step of coefficients is none of 2^-{FRACTION_BITS[-1]} to 2^16")
    return config


def _read_dictionary(message: pb.Epitome, config: EpitomeConfig, spec: DataSpec) -> Dictionary:
    form = config.form(spec)
    tokens = code_weights(RangeReader(message.token_weights), [form.token_shape])[0]
    network = code_weights(RangeReader(message.network_weights), form.network_shapes)
    dictionary = Dictionary(form, tokens, tuple(message.fraction_bits), tuple(network))
    dictionary.check(config.bits)
    return dictionary


@dataclass(frozen=True)
class DecodingCost:
    """What decoding takes, from a message that was checked.

    Sizes are computed of any, however large; of work, only what is asked for: ``shared_work`` itself takes
    long where there are more parameters than a receiver allows.

    Attributes:
        form: of the samples.
        levels, coder: of the symbols.
        sample_elements: of a sample, numbers.
    """

    form: Form
    levels: int
    coder: int
    sample_elements: int

    @classmethod
    def of(cls, message: pb.Epitome, spec: DataSpec) -> DecodingCost:
        """Of a message for which :func:`checked` raises nothing."""
        form = Form.of(spec, message.tokens, message.width, message.heads, message.blocks, message.patch)
        return cls(form, 1 << message.bits, message.coder, spec.elements)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the symbols of one sample."""
        return symbols_shape(self.form)

    @property
    def parameters(self) -> int:
        """Of tokens and network."""
        return self.form.parameters

    @property
    def sample_bytes(self) -> int:
        """Of each sample, besides its symbols and their margins: codes as int16 and float32, the sample."""
        return 6 * math.prod(self.form.codes) + 4 * self.sample_elements

    def shared_elements(self, samples: int) -> int:
        """Numbers of 8 bytes that decoding takes once: for a chunk of samples, tokens and network."""
        form = self.form
        each = 16 * form.patches * max(form.width, form.patch_elements, form.heads * form.tokens)
        return max(each, min(CHUNK_NUMBERS, each * samples)) + 8 * form.parameters

    @property
    def sample_work(self) -> int:
        """For each sample, besides its symbols, in units of 100 ns."""
        form = self.form
        products = form.tokens * form.width + form.blocks * 3 * form.width**2
        products += form.patch_elements * form.width
        features = _NORMALISED * (form.blocks + 1) * form.width + form.patch_elements // 8
        features += form.heads * form.tokens // 8
        return form.patches * (1 + products // _MULTIPLICATIONS + features)

    @property
    def shared_work(self) -> int:
        """Once, in units of 100 ns."""
        form = self.form
        return (
            form.width * transform_work(1, (form.sample[0], *form.cut))
            + weights_work([form.token_shape])
            + weights_work(form.network_shapes)
        )

    def work(self, samples: int) -> int:
        """Of decoding so many in one stream, in units of 100 ns."""
        symbols = coding_work((samples, *self.shape), self.levels, self.coder)
        return symbols + self.shared_work + samples * self.sample_work


def shares(
    message: pb.Epitome, spec: DataSpec, parts: Iterable[tuple[Tensor, SymbolCoder]], bits: int
) -> dict[str, int]:
    """The ``bits`` of an epitome's streams, split into ``positions`` and ``coefficients``.

    Positions are what it takes to code where coefficients are not zero, by the same coder; coefficients are
    the rest. ``parts`` are read.
    """
    form, total, where = checked(message, spec).form(spec), Meter(), Meter()
    shape, levels = symbols_shape(form), 1 << message.bits
    for labels, coder in parts:
        known, of_part = labels.numpy(), (len(labels), *shape)
        grid = code_grid(_Metered(coder, total), message.coder, levels, of_part, labels=known)
        zero = zero_symbol(message.bits)
        code_grid(where, message.coder, levels, of_part, (grid != zero).astype(np.int64) + zero, known)
    share = min(1.0, where.bits / total.bits) if total.bits else 0.0
    positions = round(share * bits)
    return {"positions": positions, "coefficients": bits - positions}


class _Metered:
    """Reads symbols, and counts their bits."""

    def __init__(self, reader: SymbolCoder, meter: Meter) -> None:
        self._reader, self._meter = reader, meter

    def code(self, symbols: Symbols | None, weights: Weights) -> Symbols:
        return self._meter.code(self._reader.code(symbols, weights), weights)
