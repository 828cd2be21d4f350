"""An independent reader of fedbits blobs, written from docs/format.md alone.

It shares no code with fedbits and uses neither protobuf nor constriction nor torch, so that what it decodes
depends on the document only. Headings and comments name the document's sections; 4.7 and 6.23 are in
reader_labels.py, 4.8 in reader_labeller.py, 5 and the rest of 6 in reader_stream.py, 7.8 in
reader_epitome.py, 7.9 in reader_latent.py. It is slow (thousands of symbols a second), and refuses what
section 9 says that every decoder must refuse.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from golden import reader_latent
from golden.reader_epitome import Epitome, codes_of, read_tensors, samples_of
from golden.reader_labeller import Labeller
from golden.reader_labels import ViewLabels
from golden.reader_stream import CODERS, Array, read_grid, require, work

# --- Section 3: the message ---------------------------------------------------------------------------------

VARINT, BYTES, FIXED32 = 0, 2, 5  # wire types


class Message:
    """The fields of a protobuf message; one of another wire type than is asked for does not exist."""

    def __init__(self, *pieces: bytes) -> None:
        self._fields = [field for data in pieces for field in _fields(data)]  # number, wire type, value

    def all(self, number: int, kind: int) -> list[Any]:
        return [value for n, k, value in self._fields if (n, k) == (number, kind)]

    def number(self, number: int) -> int:
        return [0, *self.all(number, VARINT)][-1] % 2**32

    def flag(self, number: int) -> bool:
        return [0, *self.all(number, VARINT)][-1] != 0

    def bytes(self, number: int) -> bytes:
        return [b"", *self.all(number, BYTES)][-1]

    def text(self, number: int) -> str:
        return ["", *(value.decode() for value in self.all(number, BYTES))][-1]

    def numbers(self, number: int) -> list[int]:
        found = []
        for n, kind, value in self._fields:
            if n == number and kind == VARINT:
                found.append(value % 2**32)
            at = 0
            while n == number and kind == BYTES and at < len(value):
                one, at = _varint(value, at)
                found.append(one % 2**32)
        return found

    def float32(self, number: int) -> float:
        return struct.unpack("<f", [bytes(4), *self.all(number, FIXED32)][-1])[0]

    def message(self, number: int, *rivals: tuple[int, int]) -> Message:
        """Merged of all there are but for those before a field that excludes it; all are well-formed."""
        found: list[bytes] = []
        for n, kind, value in self._fields:
            if (n, kind) in rivals:
                found = []
            elif (n, kind) == (number, BYTES):
                found.append(value)
                Message(value)
        return Message(*found)

    def last_of(self, *choices: tuple[int, int]) -> int:
        """Which of some fields, given as (number, wire type), came last; 0 if none came."""
        return [0, *(number for number, kind, _ in self._fields if (number, kind) in choices)][-1]


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        require(0 < number < 1 << 29 and kind in (0, 1, 2, 5), "the message is malformed")
        value, size = 0, {1: 8, 5: 4}.get(kind, 0)
        if kind in (VARINT, BYTES):
            value, at = _varint(data, at)
            size = value if kind == BYTES else 0
        require(at + size <= len(data), "the message ends within a field")
        yield number, kind, value if kind == VARINT else data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(10):
        require(at + index < len(data), "the message ends within a number")
        value |= (data[at + index] & 127) << 7 * index
        if data[at + index] < 128:
            return value % 2**64, at + index + 1
    raise ValueError("a number of more than ten bytes")


# --- Section 4: task, class counts, recipe ------------------------------------------------------------------


@dataclass
class Task:
    name: str
    shape: tuple[int, ...]
    classes: int
    mean: Array  # float32, exactly the float16 values, as is the deviation
    std: Array
    floating: bool = False


KNOWN = {  # name, shape, classes, float16 words of the means and of the deviations
    1: ("digits", (1, 8, 8), 10, "34e7 3605"),
    2: ("mnist", (1, 28, 28), 10, "302f 34ee"),
    3: ("fashion_mnist", (1, 28, 28), 10, "3493 35a6"),
    4: ("cifar10", (3, 32, 32), 10, "37dd 37b7 3725 33e7 33cb 3430"),
    5: ("cifar100", (3, 32, 32), 100, "380f 37c9 370e 3447 341a 346b"),
    6: ("beams", (1, 8, 8), 64, "0000 3600"),
}
FLOATING = {6}  # known tasks of float32 data; that of all others is uint8
RECIPES = {1: "quadd", 2: "ptq", 3: "random", 4: "herding"}
LEAST_STD = np.float32(0x068E * 2.0**-24)


def _task(message: Message) -> Task:
    task, known = message.message(2, (1, VARINT)), message.number(1)
    name, shape, classes, data = task.text(1), tuple(task.numbers(2)), task.number(3), task.bytes(4)
    if message.last_of((1, VARINT), (2, BYTES)) == 1:
        require(known in KNOWN, "an unknown data set")
        name, shape, classes, words = KNOWN[known]
        mean, std = np.split(np.array([int(word, 16) for word in words.split()], "<u2").view("<f2"), 2)
        return Task(name, shape, classes, mean.astype(np.float32), std.astype(np.float32), known in FLOATING)
    require(len(shape) in (1, 3) and all(0 < side < 1 << 24 for side in shape), "a wrong shape")
    require(0 < classes <= 1 << 20, "a wrong number of classes")
    if not data:
        data = _short_normalisation(task.bytes(6), task.numbers(7))
    require(len(data) == 4 * shape[0], "a normalisation of a wrong length")
    mean, std = np.split(np.frombuffer(data, "<f2").astype(np.float32), 2)
    require(bool(np.isfinite([mean, std]).all() and (std > 0).all()), "a wrong normalisation")
    return Task(name, shape, classes, mean, np.maximum(std, LEAST_STD), task.flag(5))


def _short_normalisation(scales: bytes, offsets: list[int]) -> bytes:
    require(len(scales) == len(offsets) and all(14 <= scale <= 247 for scale in scales), "wrong scales")
    std = (np.frombuffer(scales, "u1").astype("<u2") << 7).view("<f2")
    mean = np.array([signed(offset) for offset in offsets]) * std.astype(np.float64) / 8
    require(bool((abs(mean) <= 65504).all()), "a mean that is too large")
    return mean.astype("<f2").tobytes() + std.tobytes()


def signed(number: int) -> int:
    """What a sint32 of this uint32 stands for: section 3."""
    return (number >> 1) ^ -(number & 1)


def _counts(message: Message, classes: int, alone: bool) -> list[int]:
    """``alone``: there are no samples."""
    counts = message.numbers(3)
    if alone:
        require(not counts, "class counts of no samples")
        return [0] * classes
    counts = counts * classes if len(counts) == 1 else counts
    require(len(counts) == classes and sum(counts) > 0, "wrong class counts")
    return counts


def _recipe(message: Message) -> str:
    name = message.text(7)
    if message.last_of((6, VARINT), (7, BYTES)) == 6:
        return RECIPES.get(message.number(6), f"recipe {message.number(6)}")
    return name


FORMS = ((4, BYTES), (9, BYTES), (12, BYTES), (13, BYTES))  # how samples are stored; each excludes the others
Streams = list[tuple[bytes, range]]  # each with the classes in it


def _streams(message: Message, counts: list[int]) -> Streams:
    """Section 4.5."""
    stream, lengths = message.bytes(5), message.numbers(8)
    if not lengths:
        return [(stream, range(len(counts)))]
    present = [range(label, label + 1) for label, count in enumerate(counts) if count]
    require(len(lengths) == len(present) - 1 and sum(lengths) <= len(stream), "wrong class lengths")
    ends = [*np.cumsum(lengths).tolist(), len(stream)]
    return [(stream[a:b], one) for a, b, one in zip([0, *ends], ends, present, strict=False)]


# --- Section 7: symbols to samples --------------------------------------------------------------------------


def upsampled(values: Array, factor: int, axis: int) -> Array:
    size = values.shape[axis]
    place = np.maximum(2 * np.arange(size * factor) + 1 - factor, 0)
    first = place // (2 * factor)
    shape = [-1 if axis == a else 1 for a in range(values.ndim)]
    share = (place % (2 * factor) / (2 * factor)).reshape(shape)
    second = np.minimum(first + 1, size - 1)
    return values.take(first, axis) * (1 - share) + values.take(second, axis) * share


POWERS = {  # 7.2: by bits, the sets of which one number each makes a magnitude
    2: ((0, 1),),
    3: ((0, 1, 2, 4),),
    4: ((0, 1, 4, 8), (0, 2)),
    5: ((0, 2, 8, 32), (0, 1, 4, 16)),
    6: ((0, 2, 16, 64), (0, 1, 8, 32), (0, 4)),
    7: ((0, 4, 32, 256), (0, 2, 16, 128), (0, 1, 8, 64)),
    8: ((0, 4, 64, 512), (0, 2, 32, 256), (0, 1, 16, 128), (0, 8)),
}


def multiples(spacing: int, bits: int) -> Array:
    """What each symbol multiplies the step by: section 7.2."""
    if spacing == 0:
        return np.arange(2**bits)
    if bits == 1:
        return np.array([-1, 1])
    sums = sorted(sum(numbers) for numbers in product(*POWERS[bits]))
    return np.array([-one for one in reversed(sums[1:])] + sums + sums[-1:])


def _pairs(grid: bytes) -> tuple[Array, Array]:
    """Origins and steps ``[pairs, 1, 1]``: section 7.2."""
    origin, step = np.frombuffer(grid, "<f2").astype(np.float64).reshape(-1, 2).T[:, :, None, None]
    require(bool(np.isfinite([origin, step]).all()), "a grid that is not finite")
    require(bool((step >= np.maximum(abs(origin) * 2.0**-18, 2.0**-14)).all()), "a step that is too small")
    return origin, step


def values_of(pixel: Message, symbols: Array) -> Array:
    """Section 7.2, of symbols ``[n, channels, height, width]``."""
    grid, transform, band = pixel.bytes(3), pixel.number(6), pixel.number(7)
    height, width = symbols.shape[2:]
    m = multiples(pixel.number(5), pixel.number(1))
    if transform == 0:
        origin, step = _pairs(grid)
        return origin + step * m[symbols]
    low, high = _pairs(grid[: len(grid) // 2]), _pairs(grid[len(grid) // 2 :])
    row, column = np.indices((height, width))
    origin, step = (np.where(row + column < band, a, b) for a, b in zip(low, high, strict=True))
    return origin + step * m[symbols]


def cosines(side: int) -> Array:
    """Section 7.3: integers ``[frequency, place]``."""
    u, x = np.indices((side, side))
    scale = np.sqrt(np.where(u == 0, 1, 2) / side)
    return np.rint(2**16 * scale * np.cos(np.pi * ((2 * x + 1) * u % (4 * side)) / (2 * side))).astype(
        np.int64
    )


def untransformed(values: Array) -> Array:
    """Section 7.3."""
    fixed = np.floor(values * 2**12 + 0.5).clip(-(2**27), 2**27).astype(np.int64)
    rows = (fixed @ cosines(values.shape[3]) + 2**15) >> 16
    return ((cosines(values.shape[2]).T @ rows + 2**15) >> 16) / 2**12


def _pixels(pixel: Message, streams: Streams, alone: bool, task: Task, counts: list[int]) -> Array:
    """``alone``: each class has a stream of its own, of which ``streams`` are perhaps not all."""
    bits, factor_log2, grid, coder = pixel.number(1), pixel.number(2), pixel.bytes(3), pixel.number(4)
    spacing, transform, band = pixel.number(5), pixel.number(6), pixel.number(7)
    require(1 <= bits <= 8 and factor_log2 <= 3 and coder in CODERS, "unknown bits, factor or coder")
    require(spacing <= 1 and transform <= 1, "an unknown spacing or transform")
    image = len(task.shape) == 3
    factor = 1 << factor_log2 if image else 1
    channels, height, width = task.shape if image else (1, 1, task.shape[0])
    stored = (channels, -(-height // factor), -(-width // factor))
    bands = 1 + transform
    require(len(grid) in (4 * bands, 4 * bands * channels), "a grid of a wrong length")
    if transform:
        require(image and max(stored[1:]) <= 256, "a transform of what is too large, or no image")
        require(1 <= band < stored[1] + stored[2], "a band that no coefficient bounds")
    _pairs(grid)
    numbers = max(math.prod(task.shape), math.prod(stored) * factor**2)
    symbols = _symbols(streams, alone, coder, 2**bits, stored, counts, numbers, transform)
    values = values_of(pixel, symbols)
    values = untransformed(values) if transform else values
    if factor > 1:
        values = upsampled(upsampled(values, factor, 3), factor, 2)[:, :, :height, :width]
    return values.astype(np.float32).reshape(-1, *task.shape)


def _floats(streams: Streams, alone: bool, task: Task, counts: list[int]) -> Array:
    """Section 7.7."""
    channels, height, width = task.shape if len(task.shape) == 3 else (1, 1, task.shape[0])
    stored = (channels, height, 4 * width)
    symbols = _symbols(streams, alone, 0, 256, stored, counts, math.prod(task.shape), 0)
    values = np.frombuffer(symbols.astype("u1").tobytes(), "<f4").reshape(-1, *task.shape)
    require(bool(np.isfinite(values).all()), "a number that is not finite")
    return values.astype(np.float32)


def _epitome(message: Message, streams: Streams, alone: bool, task: Task, counts: list[int]) -> Array:
    """Section 7.8."""
    image, numbers = len(task.shape) == 3, [message.number(number) for number in range(1, 9)]
    sample = task.shape if image else (1, 1, task.shape[0])
    form = Epitome(*numbers, [signed(one) for one in message.numbers(9)], sample, image)  # type: ignore[arg-type]
    form.check()
    tokens, network = message.bytes(10), message.bytes(11)
    size, paid = math.prod(task.shape), len(tokens) + len(network)
    symbols = _symbols(streams, alone, form.coder, 2**form.bits, form.stored, counts, size, 0, form, paid)
    codes, tensors = codes_of(form, symbols), read_tensors(form, tokens, network)
    return samples_of(form, codes, tensors, untransformed).reshape(-1, *task.shape)


def latent_form(message: Message, shape: tuple[int, ...], classes: int) -> reader_latent.Latent:
    """What the message `Latent` declares of samples of a shape."""
    sample = shape if len(shape) == 3 else (1, 1, shape[0])
    numbers = [message.flag(at) if at in (7, 9) else message.number(at) for at in range(2, 14)]
    form = reader_latent.Latent(message.numbers(1), *numbers, sample, classes)  # type: ignore[arg-type]
    form.check()
    return form


def _latent(message: Message, streams: Streams, alone: bool, task: Task, counts: list[int]) -> Array:
    """Section 7.9."""
    form = latent_form(message, task.shape, len(counts))
    weights = message.bytes(14), message.bytes(15)
    sizes = [sum(counts[label] for label in labels) for _, labels in streams]
    units = form.work(sum(sizes), len(streams) if alone else 0)
    length = sum(len(data) for data, _ in streams)
    require(length >= least_length(units, sum(sizes) * math.prod(task.shape)), "a stream that is too short")
    groups, found = reader_latent.read_groups(form, *weights, untransformed), []
    for data, labels in streams:
        classes = [label for label in labels for _ in range(counts[label])]
        latents = reader_latent.read_latents(form, groups, data, classes)
        found.append(reader_latent.samples_of(form, groups, latents, classes))
    return np.concatenate(found).reshape(-1, *task.shape)


def _symbols(
    streams: Streams,
    alone: bool,
    coder: int,
    levels: int,
    stored: tuple[int, int, int],
    counts: list[int],
    numbers: int,
    transform: int,
    epitome: Epitome | None = None,
    paid: int = 0,
) -> Array:
    """Symbols ``[n, *stored]`` of all ``streams``; ``numbers`` are those of one decoded sample.

    ``paid``: bytes besides the streams.
    """
    sizes = [sum(counts[label] for label in labels) for _, labels in streams]
    length = sum(len(data) for data, _ in streams)
    units = sum(work((size, *stored), levels, coder) + 2**14 * alone for size in sizes)
    units += transform * sum(sizes) * math.prod(stored) * (1 + (stored[1] + stored[2]) // 64)
    units += epitome.work(sum(sizes)) if epitome else 0
    require(length + paid >= least_length(units, sum(sizes) * numbers), "a stream that is too short")
    grids = []
    for size, (data, labels) in zip(sizes, streams, strict=True):
        only = [count if label in labels else 0 for label, count in enumerate(counts)]
        grids.append(read_grid(data, coder, levels, (size, *stored), only))
    return np.concatenate(grids)


def least_length(units: int, numbers: int) -> int:
    """Bytes of all streams together: section 8."""
    return max(0, -(-(units - 2**22) // 2**13), -(-(numbers - 2**22) // 2**11))


# --- Section 2: the blob ------------------------------------------------------------------------------------


@dataclass
class Decoded:
    task: Task
    counts: list[int]
    recipe: str
    samples: Array  # float32 [n, *task.shape], normalised
    logits: Array | None  # float16 [n, classes]
    learning_rate: float  # 0 for none
    view_labels: ViewLabels | None = None  # whose table and tensors are in
    table: Array | None = None  # [epochs, n, columns]
    tensors: list[tuple[Array, int]] = field(default_factory=list)
    labeller: Labeller | None = None

    def raw(self) -> Array:
        """Samples as the data itself is: uint8 or float32."""
        columns = (-1, *[1] * (len(self.task.shape) - 1))
        values = self.samples * self.task.std.reshape(columns) + self.task.mean.reshape(columns)
        return values if self.task.floating else (values * np.float32(255)).round().clip(0, 255).astype("u1")


def read(blob: bytes, classes: set[int] | None = None) -> Decoded:
    """Everything in a blob, or the samples of some ``classes``: section 4.5.

    Raises:
        ValueError: it is not a blob of version 1 that a decoder should read.
    """
    require(len(blob) >= 14, "shorter than a header")
    magic, version, flags, length, checksum = struct.unpack_from("<4sBBII", blob)
    require(magic == b"FBIT" and version == 1 and flags == 0, "not a blob of version 1")
    require(len(blob) == 14 + length and zlib.crc32(blob[4:10] + blob[14:]) == checksum, "damaged")
    message = Message(blob[14:])
    task = _task(message)
    form = message.last_of(*FORMS)
    counts, recipe = _counts(message, task.classes, form == 0), _recipe(message)
    labeller = _labeller(message, task)
    require(form != 0 or labeller is not None, "neither samples nor a network")
    stored = {
        kind: message.message(kind, *(other for other in FORMS if other[0] != kind)) for kind, _ in FORMS
    }
    rate, logits, views = message.float32(11), _logits(message, counts), _view_labels(message, counts)
    require(math.isfinite(rate) and rate >= 0, "a wrong learning rate")
    if form == 0:
        samples = np.zeros((0, *task.shape), np.float32)
        return Decoded(task, counts, recipe, samples, None, rate, labeller=labeller)
    streams = _streams(message, counts)
    alone = len(streams) > 1
    wanted = [count if classes is None or label in classes else 0 for label, count in enumerate(counts)]
    if alone:
        streams = [(data, labels) for data, labels in streams if wanted[labels[0]]]
    if form == 9:
        samples = _floats(streams, alone, task, counts)
    elif form == 12:
        samples = _epitome(stored[12], streams, alone, task, counts)
    elif form == 13:
        samples = _latent(stored[13], streams, alone, task, counts)
    else:
        samples = _pixels(stored[4], streams, alone, task, counts)
    if not alone or logits is not None:
        chosen = np.repeat(np.array(wanted) > 0, counts)
        samples = samples if alone else samples[chosen]
        logits = None if logits is None else logits[chosen]
    found = Decoded(task, wanted, recipe, samples, logits, rate, labeller=labeller)
    if views is not None and wanted == counts:
        found.view_labels, (found.table, found.tensors) = views, views.read()
    return found


def _logits(message: Message, counts: list[int]) -> Array | None:
    """Section 4.6."""
    if message.last_of((10, BYTES)) == 0:
        return None
    data = message.message(10).bytes(1)
    require(len(data) == 2 * sum(counts) * len(counts), "soft labels of a wrong length")
    logits = np.frombuffer(data, "<f2").reshape(-1, len(counts))
    require(bool(np.isfinite(logits).all()), "a soft label that is not finite")
    return logits


def _view_labels(message: Message, counts: list[int]) -> ViewLabels | None:
    """Section 4.7, declared but not read."""
    if message.last_of((14, BYTES)) == 0:
        return None
    require(message.last_of((10, BYTES)) == 0, "labels of samples and of views")
    stored = message.message(14)
    numbers = [stored.flag(at) if at in (4, 12) else stored.number(at) for at in (*range(1, 11), 12, 14)]
    return ViewLabels(*numbers, stored.bytes(11), stored.bytes(13), counts)  # type: ignore[arg-type]


def _labeller(message: Message, task: Task) -> Labeller | None:
    """Section 4.8."""
    if message.last_of((15, BYTES)) == 0:
        return None
    require(message.last_of((10, BYTES), (14, BYTES)) == 0, "labels, and a network that labels")
    stored = message.message(15)
    numbers = [stored.flag(at) if at == 7 else stored.number(at) for at in (1, 2, *range(4, 10))]
    found = Labeller(*numbers, stored.bytes(3), stored.bytes(10), task.shape, task.classes)  # type: ignore[arg-type]
    assert found.tensors
    return found
