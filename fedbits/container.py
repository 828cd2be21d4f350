"""Blob to :class:`DistilledSet` and back: the only reader and writer of the wire format."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from google.protobuf.message import DecodeError

from fedbits.budget import Ledger
from fedbits.coding import CODERS, RangeReader, RangeWriter, coding_work, least_stream
from fedbits.data.known import KNOWN, known_number
from fedbits.data.spec import DataSpec
from fedbits.distilled_set import DistilledSet
from fedbits.errors import CorruptError, LimitError, NotABlobError, TruncatedError, VersionError
from fedbits.parameterization import PixelParameterization
from fedbits.parameterization.pixel import stored_shape
from fedbits.wire import distilled_set_pb2 as pb

MAGIC = b"FBIT"
VERSION = 1
_HEADER = struct.Struct("<4sBBII")  # magic, version, flags, length of the message, CRC-32

# Numbers are part of the wire format; any other recipe travels by its name.
RECIPE_NUMBERS = {1: "quadd", 2: "ptq", 3: "random", 4: "herding"}


@dataclass(frozen=True)
class DecodeLimits:
    """What a receiver is willing to decode; everything is checked before memory is taken for it."""

    blob_bytes: int = 1 << 28
    samples: int = 1 << 22
    elements: int = 1 << 26  # numbers in all decoded samples; each takes some 25 bytes while it is decoded
    work: int = 1 << 30  # in units of some 100 ns: see fedbits.coding.coding_work


def encode(distilled: DistilledSet, quick: bool = False) -> bytes:
    """The set as one self-contained blob; ``quick`` takes less time, and some more bytes."""
    message = pb.DistilledSet()
    _write_task(message, distilled.spec)
    counts = distilled.class_counts()
    message.class_counts.extend(counts[:1] if len(set(counts)) == 1 else counts)
    _write_recipe(message, distilled.recipe)
    writer = RangeWriter()
    distilled.parameterization.encode(message, writer, distilled.labels, quick)
    work = _decoding_work(message, distilled.spec, len(distilled))
    message.stream = writer.bytes().ljust(least_stream(work), b"\0")
    body = message.SerializeToString(deterministic=True)
    return _HEADER.pack(MAGIC, VERSION, 0, len(body), _checksum(VERSION, 0, body)) + body


def decode(blob: bytes, limits: DecodeLimits = DecodeLimits()) -> DistilledSet:
    """The set that :func:`encode` was given; samples are bit-exact on every machine.

    Raises:
        FormatError: whatever is wrong with ``blob``; nothing else, whatever the bytes.
    """
    message = _open(blob, limits)
    spec, counts = _read_task(message), _read_counts(message)
    _check_limits(message, spec, sum(counts), limits)
    reader = RangeReader(message.stream)
    labels = torch.repeat_interleave(torch.arange(spec.classes), torch.tensor(counts))
    parameterization = PixelParameterization.decode(message.pixel, spec, labels, reader)
    return DistilledSet(spec, parameterization, counts, _read_recipe(message))


def ledger(blob: bytes) -> Ledger:
    """Bits of ``blob`` by component; they sum to ``8 * len(blob)``.

    Raises:
        FormatError: the blob is damaged.
    """
    message = _open(blob, DecodeLimits(blob_bytes=len(blob)))
    components = {
        "samples": 8 * len(message.stream),
        "labels": 8 * (message.ByteSize() - _without(message, lambda m: m.ClearField("class_counts"))),
        "side information": 8 * (len(message.pixel.grid) + len(message.task_described.normalisation)),
    }
    components["container"] = 8 * len(blob) - sum(components.values())
    return Ledger(components, sum(count > 0 for count in _read_counts(message)))


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
        "bits": message.pixel.bits,
        "factor": 1 << min(message.pixel.factor_log2, 31),
        "coder": CODERS[message.pixel.coder][0] if message.pixel.coder in CODERS else "unknown",
        "bytes": len(blob),
        "bits_per_class": bits.bits_per_class,
        "ledger": dict(bits.components),
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
    body = blob[_HEADER.size :]
    if len(body) < length:
        raise TruncatedError(f"the blob has {len(blob):,} bytes of the {_HEADER.size + length:,} it declares")
    if len(body) > length or flags != 0 or _checksum(version, flags, body) != checksum:
        raise CorruptError("the blob's checksum does not fit its bytes: it was changed on its way")
    message = pb.DistilledSet()
    try:
        message.ParseFromString(body)
    except (DecodeError, UnicodeDecodeError) as error:  # the latter where protobuf is pure Python
        raise CorruptError("the blob's message is not of the declared format") from error
    return message


def _checksum(version: int, flags: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(struct.pack("<BBI", version, flags, len(body))))


def _without(message: pb.DistilledSet, clear: Callable[[pb.DistilledSet], None]) -> int:
    copy = pb.DistilledSet()
    copy.CopyFrom(message)
    clear(copy)
    return copy.ByteSize()


def _write_task(message: pb.DistilledSet, spec: DataSpec) -> None:
    number = known_number(spec)
    if number is not None:
        message.known_task = number
        return
    task = message.task_described
    task.name, task.classes, task.floating = spec.name, spec.classes, spec.dtype == "float32"
    task.shape.extend(spec.shape)
    task.normalisation = np.array([*spec.mean, *spec.std], dtype="<f2").tobytes()


def _read_task(message: pb.DistilledSet) -> DataSpec:
    if message.WhichOneof("task") == "known_task":
        if message.known_task not in KNOWN:
            raise CorruptError(
                f"the blob names data set {message.known_task}, which this fedbits does not know"
            )
        return KNOWN[message.known_task]
    task = message.task_described
    values = np.frombuffer(task.normalisation[: len(task.normalisation) // 2 * 2], dtype="<f2").astype(float)
    shape = tuple(task.shape[:4])  # no more of it than it takes to see that it is too long
    well_formed = (
        len(shape) in (1, 3)
        and all(0 < side < 1 << 24 for side in shape)
        and 0 < task.classes <= 1 << 20
        and len(task.normalisation) == 4 * shape[0]
        and bool(np.isfinite(values).all())
        and bool((values[shape[0] :] > 0).all())
    )
    if not well_formed:
        raise CorruptError("the blob's description of its task is not well-formed")
    mean, std = values[: shape[0]].tolist(), values[shape[0] :].tolist()
    dtype = "float32" if task.floating else "uint8"
    return DataSpec(task.name, shape, task.classes, tuple(mean), tuple(std), dtype)  # type: ignore[arg-type]


def _read_counts(message: pb.DistilledSet) -> list[int]:
    classes, given = _read_task(message).classes, len(message.class_counts)
    if given not in (1, classes):  # before a list of them takes more memory than the blob
        raise CorruptError(f"the blob declares {given:,} class counts for {classes:,} classes")
    counts = list(message.class_counts) * (classes if given == 1 else 1)
    if sum(counts) == 0:
        raise CorruptError(f"the blob declares no sample of any of its {classes:,} classes")
    return counts


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


def _check_limits(message: pb.DistilledSet, spec: DataSpec, samples: int, limits: DecodeLimits) -> None:
    if message.WhichOneof("parameterization") != "pixel":
        raise CorruptError("the blob holds a parameterisation that this fedbits does not know")
    if not 1 <= message.pixel.bits <= 8:
        raise CorruptError(f"the blob declares {message.pixel.bits} bits a value; 1 to 8 exist")
    if samples > limits.samples:
        raise LimitError(f"the blob declares {samples:,} samples, more than the {limits.samples:,} allowed")
    elements = _elements(message, spec, samples)
    if elements > limits.elements:
        raise LimitError(f"the blob declares {elements:,} numbers, more than the {limits.elements:,} allowed")
    coding = _decoding_work(message, spec, samples)
    work = coding + (elements // 2 if _factor(message, spec) > 1 else 0)  # of the interpolation
    if work > limits.work:
        raise LimitError(f"the blob takes {work:,} units of work, more than the {limits.work:,} allowed")
    if len(message.stream) < least_stream(coding):
        raise CorruptError(
            f"the blob declares {elements:,} numbers, but its stream has only {len(message.stream):,} bytes"
        )


def _factor(message: pb.DistilledSet, spec: DataSpec) -> int:
    return 1 << min(message.pixel.factor_log2, 3) if spec.is_grid else 1


def _elements(message: pb.DistilledSet, spec: DataSpec, samples: int) -> int:
    """Numbers in all decoded samples, or what takes as much memory while they are decoded.

    That is the interpolated samples before they are cut, or the symbols with their margins (three count as
    one number), or an order-0 coder's statistics of every channel.
    """
    factor = _factor(message, spec)
    channels, height, width = stored_shape(spec, factor)
    interpolated = channels * height * width * factor**2
    with_margins = channels * (height + 1) * (width + 2) // 3
    return max(samples * max(spec.elements, interpolated, with_margins), channels << message.pixel.bits)


def _decoding_work(message: pb.DistilledSet, spec: DataSpec, samples: int) -> int:
    stored = stored_shape(spec, _factor(message, spec))
    return coding_work((samples, *stored), 1 << message.pixel.bits, message.pixel.coder)
