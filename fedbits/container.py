"""Blob to :class:`DistilledSet` and back: the only reader and writer of the wire format."""

from __future__ import annotations

import copy
import math
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from google.protobuf.message import DecodeError

from fedbits.budget import Ledger
from fedbits.coding import RangeReader, RangeWriter
from fedbits.data.spec import DataSpec
from fedbits.declared import declared
from fedbits.distilled_set import DistilledSet
from fedbits.errors import ConfigError, CorruptError, LimitError, NotABlobError, TruncatedError, VersionError
from fedbits.labels import SoftLabels
from fedbits.labels.network.stored import DeclaredNetwork, write_network
from fedbits.labels.stored import DeclaredLabels, write_labels
from fedbits.parameterization.base import Part
from fedbits.task_message import read_task as _read_task
from fedbits.task_message import write_task
from fedbits.wire import distilled_set_pb2 as pb

MAGIC = b"FBIT"
VERSION = 1
_HEADER = struct.Struct("<4sBBII")  # magic, version, flags, length of the message, CRC-32

# Numbers are part of the wire format; any other recipe travels by its name.
RECIPE_NUMBERS = {1: "quadd", 2: "ptq", 3: "random", 4: "herding"}


@dataclass(frozen=True)
class DecodeLimits:
    """What a receiver is willing to decode; everything is checked before memory is taken for it.

    Attributes:
        blob_bytes: of the whole blob.
        samples: of all classes.
        elements: numbers in all decoded samples, 4 bytes each; decoding takes at most 8 for each. And
            eighths of the bytes that labels of their views, or a network that labels them, take.
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
        ConfigError: the set holds what no receiver takes: numbers that are not finite, a learning rate that
            is not positive, labels of views that cannot travel, or nothing at all.
    """
    message = pb.DistilledSet()
    write_task(message, distilled.spec)
    counts = distilled.class_counts()
    if len(distilled):
        message.class_counts.extend(counts[:1] if len(set(counts)) == 1 else counts)
    _write_recipe(message, distilled.recipe)
    labels = [distilled.labels]
    if per_class and len(distilled):
        labels = list(distilled.labels.split([count for count in counts if count]))
    writers = [RangeWriter() for _ in labels]
    distilled.parameterization.encode(message, list(zip(labels, writers, strict=True)), quick)
    _write_teaching(message, distilled)
    streams = [writer.bytes() for writer in writers]
    message.class_lengths.extend(len(stream) for stream in streams[:-1])
    least = declared(message, distilled.spec).least_stream(counts, bool(message.class_lengths))
    message.stream = b"".join(streams).ljust(least, b"\0")
    body = message.SerializeToString(deterministic=True)
    return _HEADER.pack(MAGIC, VERSION, 0, len(body), _checksum(VERSION, 0, body)) + body


def framing(spec: DataSpec, recipe: str) -> int:
    """Bytes of a blob besides samples and labels: header, task and recipe."""
    message = pb.DistilledSet()
    write_task(message, spec)
    _write_recipe(message, recipe)
    return _HEADER.size + message.ByteSize()


def decode(
    blob: bytes, limits: DecodeLimits = DecodeLimits(), classes: Collection[int] | None = None
) -> DistilledSet:
    """The set that :func:`encode` was given; samples and weights of networks are the same on every machine.

    Args:
        classes: those wanted; the set then has no samples of any other, and no labels of views, which may
            be mixed with views of others (a network, which labels whatever views there are, stays). Where
            each class was coded by itself, the others are not decoded, and limits hold for what is.

    Raises:
        FormatError: whatever is wrong with ``blob``; nothing else, whatever the bytes.
        ConfigError: ``classes`` names one that the task does not have, or none of them has samples.
    """
    message = _open(blob, limits)
    spec, counts = _read_task(message), _read_counts(message)
    wanted = counts if classes is None else _only(counts, classes)
    wanted = counts if wanted == counts else wanted
    read = wanted if message.class_lengths else counts
    labels, network = _declared_labels(message, spec, counts, wanted), _declared_network(message, spec)
    _check_limits(message, spec, read, limits, labels or network)
    soft, rate = _read_soft_labels(message, spec, counts, wanted), _read_learning_rate(message)
    views = labels.read(_labels(0, counts)) if labels else None
    labeller = network.read() if network else None
    parts, recipe = _read_parts(message, counts, read), _read_recipe(message)
    kind, stored = declared(message, spec).parameterization, _stored(message)
    del message, labels, network  # which take as much memory as the blob
    parameterization = kind.decode(stored, spec, sum(read), parts)
    if read is not wanted:
        parameterization = parameterization.selected(_places(counts, wanted))
    return DistilledSet(spec, parameterization, wanted, recipe, soft, rate, views, labeller)


def task(blob: bytes, limits: DecodeLimits = DecodeLimits()) -> DataSpec:
    """The task that the samples of ``blob`` are of; they are not decoded.

    Raises:
        FormatError: the blob is damaged, or its task is none.
    """
    return _read_task(_open(blob, limits))


def _stored(message: pb.DistilledSet) -> Any:
    """A copy of what ``message`` says of its parameterisation; a part of it would keep the whole alive."""
    kind = message.WhichOneof("parameterization")
    return None if kind is None else copy.deepcopy(getattr(message, kind))


def _write_teaching(message: pb.DistilledSet, distilled: DistilledSet) -> None:
    """What there is to learn besides classes, and how fast."""
    if distilled.soft_labels is not None:
        if not bool(distilled.soft_labels.logits.isfinite().all()):
            raise ConfigError("a soft label is not a finite number: the optimisation diverged")
        message.soft_labels.logits = distilled.soft_labels.to_bytes()
    if distilled.view_labels is not None:
        write_labels(message.view_labels, distilled.view_labels)
    if distilled.network is not None:
        write_network(message.network_labels, distilled.network)
    elif not len(distilled):
        raise ConfigError("the set holds neither samples nor a network: there is nothing to send")
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


def ledger(blob: bytes, limits: DecodeLimits = DecodeLimits()) -> Ledger:
    """Bits of ``blob`` by component; they sum to ``8 * len(blob)``.

    Args:
        limits: of a set whose stream has to be read; of others, there is nothing to decode.

    Raises:
        FormatError: the blob is damaged, or beyond ``limits`` where its stream has to be read.
    """
    message = _open(blob, DecodeLimits(blob_bytes=len(blob)))
    counts = _read_counts(message)
    present = len(counts) - counts.count(0) or len(counts)  # a network alone knows all of them
    stored, spec = declared(message, _read_task(message)), _read_task(message)

    def parts() -> Iterator[Part]:
        _check_limits(message, spec, counts, limits)
        return _read_parts(message, counts, counts)

    bits = stored.shares(parts, 8 * len(message.stream))
    message.ClearField("stream")
    bits["labels"] = _cleared(message, message, "class_counts") + _cleared(message, message, "soft_labels")
    bits["labels"] += _cleared(message, message, "view_labels")
    if message.HasField("network_labels"):
        bits["labelling network"] = _cleared(message, message, "network_labels")
    bits["side information"] = 8 * len(message.task_described.normalisation)
    bits["side information"] += _cleared(message, message, "learning_rate")
    if message.WhichOneof("task") == "task_described":
        for field in ("scales", "offsets"):
            bits["side information"] += _cleared(message, message.task_described, field)
    for name, size in stored.side_information().items():
        bits[name] = bits.get(name, 0) + 8 * size
    return Ledger({**bits, "container": 8 * len(blob) - sum(bits.values())}, present)


def inspect(blob: bytes, limits: DecodeLimits = DecodeLimits()) -> dict[str, Any]:
    """JSON-able facts of a blob's header; its checksum is verified, its samples are not made.

    Args:
        limits: as of :func:`ledger`.

    Raises:
        FormatError: the blob is damaged, or beyond ``limits`` where its stream has to be read.
    """
    message = _open(blob, DecodeLimits(blob_bytes=len(blob)))
    spec, counts, bits = _read_task(message), _read_counts(message), ledger(blob, limits)
    return {
        "version": VERSION,
        "dataset": spec.name,
        "shape": list(spec.shape),
        "classes": spec.classes,
        "class_counts": counts,
        "samples": sum(counts),
        "recipe": _read_recipe(message),
        **_label_facts(message, spec, sum(counts)),
        "learning_rate": _read_learning_rate(message),
        **declared(message, spec).facts(sum(counts)),
        "per_class": bool(message.class_lengths),
        "bytes": len(blob),
        "bits_per_class": bits.bits_per_class,
        "ledger": dict(bits.components),
    }


def _label_facts(message: pb.DistilledSet, spec: DataSpec, samples: int) -> dict[str, Any]:
    if message.HasField("view_labels"):
        return {
            "labels": "views",
            "view_labels": DeclaredLabels(message.view_labels, samples, spec.classes).facts(),
        }
    if message.HasField("network_labels"):
        return {"labels": "network", "network": DeclaredNetwork(message.network_labels, spec).facts()}
    return {"labels": "soft" if message.HasField("soft_labels") else "hard"}


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
    if _is_alone(message):
        if given:
            raise CorruptError("the blob counts samples of classes, but stores none")
        return [0] * classes
    if given not in (1, classes):  # before a list of them takes more memory than the blob
        raise CorruptError(f"the blob declares {given:,} class counts for {classes:,} classes")
    counts = list(message.class_counts) * (classes if given == 1 else 1)
    if sum(counts) == 0:
        raise CorruptError(f"the blob declares no sample of any of its {classes:,} classes")
    return counts


def _is_alone(message: pb.DistilledSet) -> bool:
    """Whether a network is all that there is."""
    return message.HasField("network_labels") and message.WhichOneof("parameterization") is None


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
    if _is_alone(message):
        return iter([])
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


def _check_limits(
    message: pb.DistilledSet,
    spec: DataSpec,
    counts: list[int],
    limits: DecodeLimits,
    labels: DeclaredLabels | DeclaredNetwork | None = None,
) -> None:
    """Refuse what takes more than ``limits`` to decode ``counts`` samples of each class, and ``labels``."""
    samples, per_class = sum(counts), bool(message.class_lengths)
    storage = declared(message, spec)
    storage.check()
    if samples > limits.samples:
        raise LimitError(f"the blob declares {samples:,} samples, more than the {limits.samples:,} allowed")
    elements = storage.elements(samples) + (labels.elements if labels else 0)
    if elements > limits.elements:
        raise LimitError(f"the blob declares {elements:,} numbers, more than the {limits.elements:,} allowed")
    parameters = storage.parameters(counts, per_class) + (labels.parameters if labels else 0)
    if parameters > limits.parameters:
        raise LimitError(
            f"the blob may bring {parameters:,} parameters, more than the {limits.parameters:,} allowed"
        )
    work = storage.work(counts, per_class) + storage.interpolated(samples) // 2
    work += labels.work if labels else 0
    if work > limits.work:
        raise LimitError(f"the blob takes {work:,} units of work, more than the {limits.work:,} allowed")
    stream = len(message.stream)
    if stream < storage.least_stream(counts, per_class):
        raise CorruptError(
            f"the blob declares {elements:,} numbers, but its stream has only {stream:,} bytes"
        )


def _declared_labels(
    message: pb.DistilledSet, spec: DataSpec, counts: list[int], wanted: list[int]
) -> DeclaredLabels | None:
    """Labels of views, if there are any to be read; they are checked in any case.

    Where some samples are not wanted they are not read, as views of others may be mixed with them.
    """
    if not message.HasField("view_labels"):
        return None
    if message.HasField("soft_labels"):
        raise CorruptError("the blob has both labels of samples and labels of their views")
    labels = DeclaredLabels(message.view_labels, sum(counts), spec.classes)
    labels.check()
    return labels if wanted is counts else None


def _declared_network(message: pb.DistilledSet, spec: DataSpec) -> DeclaredNetwork | None:
    """The network that labels views, if there is one; it is checked."""
    if not message.HasField("network_labels"):
        return None
    if message.HasField("soft_labels") or message.HasField("view_labels"):
        raise CorruptError("the blob has both labels and a network that labels")
    network = DeclaredNetwork(message.network_labels, spec)
    network.check()
    return network
