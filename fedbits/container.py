"""Blob to :class:`DistilledSet` and back: the only reader and writer of the wire format."""

from __future__ import annotations

import math
import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from google.protobuf.message import DecodeError

from fedbits.budget import Ledger
from fedbits.coding import CODERS, RangeReader, RangeWriter, coding_work, least_stream
from fedbits.coding.grid import OWN
from fedbits.coding.own import most_parameters
from fedbits.coding.view import MARGIN
from fedbits.data.spec import DataSpec
from fedbits.distilled_set import DistilledSet
from fedbits.errors import ConfigError, CorruptError, LimitError, NotABlobError, TruncatedError, VersionError
from fedbits.labels import SoftLabels
from fedbits.parameterization import FloatParameterization, Parameterization, PixelParameterization, floats
from fedbits.parameterization.base import Part
from fedbits.parameterization.pixel import TRANSFORMS, stored_shape
from fedbits.parameterization.transform import transform_work
from fedbits.quantization.grid import SPACINGS
from fedbits.task_message import read_task as _read_task
from fedbits.task_message import write_task
from fedbits.wire import distilled_set_pb2 as pb

MAGIC = b"FBIT"
VERSION = 1
_HEADER = struct.Struct("<4sBBII")  # magic, version, flags, length of the message, CRC-32

_SAMPLE_BYTES = 40  # labels and orders
_CHANNEL_NUMBERS = 128  # what the objects of a channel's model take besides its counts
# Numbers that a stream of no bytes may stand for, and how many more for each of its bytes.
_FREE_NUMBERS, _NUMBERS_PER_BYTE = 1 << 22, 1 << 11
_INVERTING = 5  # numbers of 8 bytes, for each of those of a sample whose transform is inverted
_CLASS_WORK = 1 << 14  # of a stream of its own, besides that of its symbols: a model starts anew

# Numbers are part of the wire format; any other recipe travels by its name.
RECIPE_NUMBERS = {1: "quadd", 2: "ptq", 3: "random", 4: "herding"}


@dataclass(frozen=True)
class DecodeLimits:
    """What a receiver is willing to decode; everything is checked before memory is taken for it.

    Attributes:
        blob_bytes: of the whole blob.
        samples: of all classes.
        elements: numbers in all decoded samples, 4 bytes each; decoding takes at most 8 for each.
        parameters: of all networks that travel in the blob.
        work: in units of some 100 ns; see :func:`fedbits.coding.coding_work`.
    """

    blob_bytes: int = 1 << 29
    samples: int = 1 << 22
    elements: int = 1 << 28
    parameters: int = 1 << 24
    work: int = 1 << 30


def encode(distilled: DistilledSet, quick: bool = False, per_class: bool = False) -> bytes:
    """The set as one self-contained blob.

    Args:
        quick: take less time, and some more bytes.
        per_class: code each class by itself, so that some can be decoded without the others. It takes more
            bytes, as no class learns from another.

    Raises:
        ConfigError: the set holds numbers that no receiver takes: ones that are not finite, or a learning
            rate that is not positive.
    """
    message = pb.DistilledSet()
    write_task(message, distilled.spec)
    counts = distilled.class_counts()
    message.class_counts.extend(counts[:1] if len(set(counts)) == 1 else counts)
    _write_recipe(message, distilled.recipe)
    labels = [distilled.labels]
    if per_class:
        labels = list(distilled.labels.split([count for count in counts if count]))
    writers = [RangeWriter() for _ in labels]
    distilled.parameterization.encode(message, list(zip(labels, writers, strict=True)), quick)
    _write_teaching(message, distilled)
    streams = [writer.bytes() for writer in writers]
    message.class_lengths.extend(len(stream) for stream in streams[:-1])
    storage = _Storage.of(message, distilled.spec)
    least = storage.least_stream(distilled.spec, counts, bool(message.class_lengths))
    message.stream = b"".join(streams).ljust(least, b"\0")
    body = message.SerializeToString(deterministic=True)
    return _HEADER.pack(MAGIC, VERSION, 0, len(body), _checksum(VERSION, 0, body)) + body


def decode(
    blob: bytes, limits: DecodeLimits = DecodeLimits(), classes: Collection[int] | None = None
) -> DistilledSet:
    """The set that :func:`encode` was given; samples are bit-exact on every machine.

    Args:
        classes: those wanted; the set then has no samples of any other. Where each class was coded by
            itself, the others are not decoded, and limits hold for what is.

    Raises:
        FormatError: whatever is wrong with ``blob``; nothing else, whatever the bytes.
        ConfigError: ``classes`` names one that the task does not have, or none of them has samples.
    """
    message = _open(blob, limits)
    spec, counts = _read_task(message), _read_counts(message)
    wanted = counts if classes is None else _only(counts, classes)
    read = wanted if message.class_lengths else counts
    _check_limits(message, spec, read, limits)
    soft, rate = _read_soft_labels(message, spec, counts, wanted), _read_learning_rate(message)
    parts, recipe, pixel = _read_parts(message, counts, read), _read_recipe(message), None
    if message.WhichOneof("parameterization") == "pixel":
        pixel = pb.Pixel()
        pixel.CopyFrom(message.pixel)
    del message  # which takes as much memory as the blob
    parameterization = _read_parameterization(pixel, spec, sum(read), parts)
    if read is not wanted:
        parameterization = parameterization.selected(_places(counts, wanted))
    return DistilledSet(spec, parameterization, wanted, recipe, soft, rate)


def _read_parameterization(
    pixel: pb.Pixel | None, spec: DataSpec, samples: int, parts: Iterator[Part]
) -> Parameterization:
    if pixel is None:
        return FloatParameterization.decode(spec, samples, parts)
    return PixelParameterization.decode(pixel, spec, samples, parts)


def _write_teaching(message: pb.DistilledSet, distilled: DistilledSet) -> None:
    """What there is to learn besides classes, and how fast."""
    if distilled.soft_labels is not None:
        if not bool(distilled.soft_labels.logits.isfinite().all()):
            raise ConfigError("a soft label is not a finite number: the optimisation diverged")
        message.soft_labels.logits = distilled.soft_labels.to_bytes()
    if distilled.learning_rate is not None:
        message.learning_rate = distilled.learning_rate
        if not (math.isfinite(message.learning_rate) and message.learning_rate > 0):
            raise ConfigError(
                f"the learning rate of the set is {distilled.learning_rate}: expected a positive float32"
            )


def _read_soft_labels(
    message: pb.DistilledSet, spec: DataSpec, counts: list[int], wanted: list[int]
) -> SoftLabels | None:
    if not message.HasField("soft_labels"):
        return None
    every = SoftLabels.from_bytes(message.soft_labels.logits, sum(counts), spec.classes)
    return every if wanted is counts else every.selected(_places(counts, wanted))


def _places(counts: list[int], wanted: list[int]) -> torch.Tensor:
    """Which of all samples are of a class that is ``wanted``."""
    return (torch.tensor(wanted) > 0).repeat_interleave(torch.tensor(counts))


def _read_learning_rate(message: pb.DistilledSet) -> float | None:
    rate = message.learning_rate
    if not (math.isfinite(rate) and rate >= 0):
        raise CorruptError(f"the blob declares a learning rate of {rate}: expected a positive number")
    return rate or None


def ledger(blob: bytes) -> Ledger:
    """Bits of ``blob`` by component; they sum to ``8 * len(blob)``.

    Raises:
        FormatError: the blob is damaged.
    """
    message = _open(blob, DecodeLimits(blob_bytes=len(blob)))
    counts = _read_counts(message)
    present = len(counts) - counts.count(0)
    bits = {"samples": 8 * len(message.stream)}
    message.ClearField("stream")
    bits["labels"] = _cleared(message, message, "class_counts") + _cleared(message, message, "soft_labels")
    bits["side information"] = 8 * (len(message.pixel.grid) + len(message.task_described.normalisation))
    bits["side information"] += _cleared(message, message, "learning_rate")
    if message.WhichOneof("task") == "task_described":
        for field in ("scales", "offsets"):
            bits["side information"] += _cleared(message, message.task_described, field)
    return Ledger({**bits, "container": 8 * len(blob) - sum(bits.values())}, present)


def inspect(blob: bytes) -> dict[str, Any]:
    """JSON-able facts of a blob's header; its checksum is verified, its samples are not decoded.

    Raises:
        FormatError: the blob is damaged.
    """
    message = _open(blob, DecodeLimits(blob_bytes=len(blob)))
    spec, counts, bits = _read_task(message), _read_counts(message), ledger(blob)
    return {
        "version": VERSION,
        "dataset": spec.name,
        "shape": list(spec.shape),
        "classes": spec.classes,
        "class_counts": counts,
        "samples": sum(counts),
        "recipe": _read_recipe(message),
        "labels": "soft" if message.HasField("soft_labels") else "hard",
        "learning_rate": _read_learning_rate(message),
        **_storage_facts(message),
        "per_class": bool(message.class_lengths),
        "bytes": len(blob),
        "bits_per_class": bits.bits_per_class,
        "ledger": dict(bits.components),
    }


def _storage_facts(message: pb.DistilledSet) -> dict[str, Any]:
    """How samples are stored, for people; what does not exist is "unknown"."""
    if message.WhichOneof("parameterization") == "floats":
        return {"storage": "floats", "bits": floats.BITS, "factor": 1, "coder": CODERS[floats.RAW][0]}
    pixel = message.pixel
    return {
        "storage": "pixel" if message.HasField("pixel") else "unknown",
        "bits": pixel.bits,
        "factor": 1 << min(pixel.factor_log2, 31),
        "spacing": SPACINGS[pixel.spacing][0] if pixel.spacing in SPACINGS else "unknown",
        "transform": TRANSFORMS[pixel.transform] if pixel.transform < len(TRANSFORMS) else "unknown",
        "coder": CODERS[pixel.coder][0] if pixel.coder in CODERS else "unknown",
    }


def _open(blob: bytes, limits: DecodeLimits) -> pb.DistilledSet:
    if len(blob) > limits.blob_bytes:
        raise LimitError(f"the blob has {len(blob):,} bytes, more than the {limits.blob_bytes:,} allowed")
    if blob[:4] != MAGIC[: len(blob)] or not blob:
        raise NotABlobError(f"not a fedbits blob: it starts with {bytes(blob[:4])!r}, not {MAGIC!r}")
    if len(blob) < _HEADER.size:
        raise TruncatedError(f"the blob ends after {len(blob)} bytes, within its header of {_HEADER.size}")
    _, version, flags, length, checksum = _HEADER.unpack_from(blob)
    if not 1 <= version <= VERSION:
        raise VersionError(
            f"the blob has format version {version}; this fedbits reads versions 1 to {VERSION}"
        )
    body = memoryview(blob)[_HEADER.size :]
    if len(body) < length:
        raise TruncatedError(f"the blob has {len(blob):,} bytes of the {_HEADER.size + length:,} it declares")
    if len(body) > length or flags != 0 or _checksum(version, flags, body) != checksum:
        raise CorruptError("the blob's checksum does not fit its bytes: it was changed on its way")
    message = pb.DistilledSet()
    try:
        message.ParseFromString(body)  # type: ignore[arg-type]
    except (DecodeError, UnicodeDecodeError) as error:  # the latter where protobuf is pure Python
        raise CorruptError("the blob's message is not of the declared format") from error
    return message


def _checksum(version: int, flags: int, body: bytes | memoryview) -> int:
    return zlib.crc32(body, zlib.crc32(struct.pack("<BBI", version, flags, len(body))))


def _cleared(message: pb.DistilledSet, holder: pb.DistilledSet | pb.Task, field: str) -> int:
    """Bits that ``message`` is shorter once ``field`` of ``holder``, a part of it, is taken out."""
    before = message.ByteSize()
    holder.ClearField(field)
    return 8 * (before - message.ByteSize())


def _read_counts(message: pb.DistilledSet) -> list[int]:
    classes, given = _read_task(message).classes, len(message.class_counts)
    if given not in (1, classes):  # before a list of them takes more memory than the blob
        raise CorruptError(f"the blob declares {given:,} class counts for {classes:,} classes")
    counts = list(message.class_counts) * (classes if given == 1 else 1)
    if sum(counts) == 0:
        raise CorruptError(f"the blob declares no sample of any of its {classes:,} classes")
    return counts


def _only(counts: list[int], classes: Collection[int]) -> list[int]:
    """``counts`` with zeros for all classes but ``classes``."""
    chosen = set(classes)
    unknown = sorted(chosen - set(range(len(counts))))
    if unknown:
        raise ConfigError(f"there is no class {unknown[0]}: the set has classes 0 to {len(counts) - 1}")
    wanted = [count if label in chosen else 0 for label, count in enumerate(counts)]
    if not any(wanted):
        raise ConfigError(f"the set has no samples of class {' or '.join(map(str, sorted(chosen)))}")
    return wanted


def _read_parts(message: pb.DistilledSet, counts: list[int], wanted: list[int]) -> Iterator[Part]:
    """Classes and coder of each stream of which samples are ``wanted``."""
    stream, given = message.stream, len(message.class_lengths)
    if not given:
        return iter([(_labels(0, counts), RangeReader(stream))])
    present = [label for label, count in enumerate(counts) if count]
    # Before a list of them takes more memory than the blob.
    ends = list(accumulate(message.class_lengths)) if given + 1 == len(present) else [len(stream) + 1]
    if ends[-1] > len(stream):
        raise CorruptError(f"the blob's {given + 1:,} streams do not fit its classes or its bytes")
    places = zip(present, [0, *ends], [*ends, len(stream)], strict=True)
    return (
        (_labels(label, [counts[label]]), RangeReader(stream[start:stop]))
        for label, start, stop in places
        if wanted[label]
    )


def _labels(first: int, counts: list[int]) -> torch.Tensor:
    """``counts`` samples each of the class ``first`` and those after it."""
    return torch.arange(first, first + len(counts)).repeat_interleave(torch.tensor(counts))


def _write_recipe(message: pb.DistilledSet, recipe: str) -> None:
    for number, name in RECIPE_NUMBERS.items():
        if name == recipe:
            message.recipe_number = number
            return
    message.recipe_name = recipe


def _read_recipe(message: pb.DistilledSet) -> str:
    if message.WhichOneof("recipe") == "recipe_number":
        return RECIPE_NUMBERS.get(message.recipe_number, f"recipe {message.recipe_number}")
    return message.recipe_name


@dataclass(frozen=True)
class _Storage:
    """What a message declares of the symbols of a sample: their grid, and how they are coded."""

    shape: tuple[int, int, int]  # of the symbols
    levels: int
    coder: int
    factor: int
    symbols: int = 1  # in each number that is stored
    transformed: bool = False

    @classmethod
    def of(cls, message: pb.DistilledSet, spec: DataSpec) -> _Storage:
        if message.WhichOneof("parameterization") == "floats":
            return cls(floats.byte_grid(spec), 256, floats.RAW, 1, symbols=4)
        factor = 1 << min(message.pixel.factor_log2, 3) if spec.is_grid else 1
        shape, levels, transformed = (
            stored_shape(spec, factor),
            1 << message.pixel.bits,
            message.pixel.transform,
        )
        return cls(shape, levels, message.pixel.coder, factor, transformed=transformed > 0)

    def interpolated(self, samples: int) -> int:
        """Numbers that interpolation gives before they are cut to the size of a sample."""
        return samples * math.prod(self.shape) * self.factor**2 if self.factor > 1 else 0

    def parameters(self, counts: list[int], per_class: bool) -> int:
        """Parameters of the networks in the streams, at most."""
        networks = len(counts) - counts.count(0) if per_class else 1
        return networks * most_parameters(self.shape[0]) if self.coder == OWN else 0

    def elements(self, spec: DataSpec, samples: int) -> int:
        """Numbers in all decoded samples, or an eighth of the bytes that decoding takes, if that is more.

        Those are, of each sample, its symbols with their margins, what is stored and what is made of that,
        and some for its label, and what it takes to invert the transform of one; or those of an order-0
        coder's statistics of every channel.
        """
        channels, height, width = self.shape
        symbols = channels * (height + MARGIN) * (width + 2 * MARGIN)
        stored = 4 * math.prod(self.shape) // self.symbols
        besides = 4 * spec.elements if self.factor > 1 or self.transformed else 0
        sample = max(spec.elements, (symbols + stored + besides + _SAMPLE_BYTES) // 8)
        inverting = _INVERTING * math.prod(self.shape) if self.transformed else 0
        return max(samples * sample + inverting, channels * (_CHANNEL_NUMBERS + self.levels))

    def work(self, counts: list[int], per_class: bool) -> int:
        """Of decoding, in units of some 100 ns."""
        inverting = transform_work(sum(counts), self.shape) if self.transformed else 0
        if not per_class:
            return inverting + coding_work((sum(counts), *self.shape), self.levels, self.coder)
        sizes = Counter(count for count in counts if count)
        return inverting + sum(
            times * (_CLASS_WORK + coding_work((size, *self.shape), self.levels, self.coder))
            for size, times in sizes.items()
        )

    def least_stream(self, spec: DataSpec, counts: list[int], per_class: bool) -> int:
        """Bytes that the stream has at least, so that no small blob takes long or much memory to decode."""
        numbers = max(sum(counts) * spec.elements, self.interpolated(sum(counts)))
        least = -(-(numbers - _FREE_NUMBERS) // _NUMBERS_PER_BYTE)
        return max(0, least, least_stream(self.work(counts, per_class)))


def _check_limits(message: pb.DistilledSet, spec: DataSpec, counts: list[int], limits: DecodeLimits) -> None:
    """Refuse what takes more than ``limits`` to decode the ``counts`` samples of each class."""
    kind = message.WhichOneof("parameterization")
    if kind is None:
        raise CorruptError("the blob holds a parameterisation that this fedbits does not know")
    if kind == "pixel" and not 1 <= message.pixel.bits <= 8:
        raise CorruptError(f"the blob declares {message.pixel.bits} bits a value; 1 to 8 exist")
    samples, per_class = sum(counts), bool(message.class_lengths)
    storage = _Storage.of(message, spec)
    if samples > limits.samples:
        raise LimitError(f"the blob declares {samples:,} samples, more than the {limits.samples:,} allowed")
    elements = storage.elements(spec, samples)
    if elements > limits.elements:
        raise LimitError(f"the blob declares {elements:,} numbers, more than the {limits.elements:,} allowed")
    parameters = storage.parameters(counts, per_class)
    if parameters > limits.parameters:
        raise LimitError(
            f"the blob may bring {parameters:,} parameters, more than the {limits.parameters:,} allowed"
        )
    work = storage.work(counts, per_class) + storage.interpolated(samples) // 2
    if work > limits.work:
        raise LimitError(f"the blob takes {work:,} units of work, more than the {limits.work:,} allowed")
    stream = len(message.stream)
    if stream < storage.least_stream(spec, counts, per_class):
        raise CorruptError(
            f"the blob declares {elements:,} numbers, but its stream has only {stream:,} bytes"
        )
