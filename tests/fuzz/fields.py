"""The fields of a blob's message, whatever they are: found by reflection, so that new ones are too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from fedbits.coding import CODERS
from fedbits.data.known import KNOWN
from fedbits.wire import distilled_set_pb2 as pb

HEADER = 14

_Place = tuple[Message, FieldDescriptor]


def parsed(blob: bytes) -> pb.DistilledSet | None:
    """The message in a blob, if there is one."""
    message = pb.DistilledSet()
    try:
        message.ParseFromString(blob[HEADER:])
    except (DecodeError, UnicodeDecodeError):  # the latter where protobuf is pure Python
        return None
    return message


def places(message: Message) -> Iterator[_Place]:
    """Every field that ``message`` and the messages in it have, set or not."""
    for description in message.DESCRIPTOR.fields:
        yield message, description
        if description.message_type is None:
            continue
        value = getattr(message, description.name)
        if not isinstance(value, Message):
            for item in value[:4]:
                yield from places(item)
        elif message.HasField(description.name):
            yield from places(value)


def streams(message: Message) -> list[_Place]:
    """Fields of bytes at the top of a message."""
    fields = message.DESCRIPTOR.fields
    return [(message, item) for item in fields if item.type == FieldDescriptor.TYPE_BYTES]


def range_of(description: FieldDescriptor) -> range:
    """The integers that protobuf lets a field hold."""
    sizes = {FieldDescriptor.CPPTYPE_UINT32: 32, FieldDescriptor.CPPTYPE_UINT64: 64}
    if description.cpp_type in sizes:
        return range(1 << sizes[description.cpp_type])
    return range(-(1 << 31), 1 << 31)


def within(number: int, allowed: range) -> int:
    return min(max(number, allowed[0]), allowed[-1])


def is_list(value: Any) -> bool:
    return not isinstance(value, int | float | str | bytes | Message)


def fit(message: pb.DistilledSet) -> None:
    """Make lengths that must agree agree, so that a change of one reaches what lies behind that check."""
    channels, classes = 1, 1
    if message.WhichOneof("task") == "known_task":
        spec = KNOWN.get(message.known_task)
        channels, classes = (spec.shape[0], spec.classes) if spec else (1, 1)
    else:
        task = message.task_described
        sides, classes = list(task.shape[:3]), task.classes
        means = min(sides[0], 300) if sides else 1
        channels = means if len(sides) == 3 else 1
        if (task.scales or task.offsets) and not task.normalisation:
            task.scales = task.scales[:means].ljust(means, b"\x70")
            task.offsets[:] = [*task.offsets, *[1] * means][:means]
        elif len(task.normalisation) != 4 * means:
            task.normalisation = np.repeat([0.25, 0.5], means).astype("<f2").tobytes()
    kind = message.WhichOneof("parameterization")
    if kind == "epitome":
        _fit_epitome(message.epitome)
    elif kind == "latent":
        _fit_latent(message.latent, classes)
    elif kind == "pixel" or (kind is None and not message.HasField("network_labels")):
        _fit_pixel(message.pixel, channels)
    alone = kind is None and message.HasField("network_labels")
    if alone:
        message.ClearField("class_counts")
    elif len(message.class_counts) not in (1, classes):
        few = min(classes, 300)
        message.class_counts[:] = [*message.class_counts, *[1] * few][:few]
    if message.HasField("network_labels"):
        message.ClearField("soft_labels")
        message.ClearField("view_labels")
        _fit_network(message.network_labels)
    if message.HasField("view_labels"):
        message.ClearField("soft_labels")
        _fit_labels(message.view_labels, classes)
    elif message.HasField("soft_labels"):
        _fit_logits(message, classes)
    if message.class_lengths:
        _fit_lengths(message)


def _fit_pixel(pixel: pb.Pixel, channels: int) -> None:
    """A grid of as many pairs as it takes; numbers of what exists, or nearly."""
    bands = 1 + (pixel.transform % 2)
    if len(pixel.grid) not in (4 * bands, 4 * bands * channels):
        pixel.grid = np.tile([-1, 0.25], bands * channels).astype("<f2").tobytes()
    if pixel.coder > max(CODERS) + 1:
        pixel.coder %= max(CODERS) + 1
    pixel.spacing %= 3
    pixel.transform %= 3


def _fit_epitome(epitome: pb.Epitome) -> None:
    """Heads that divide the width, and a step for each; numbers of what exists, or nearly."""
    heads = epitome.heads = max(1, min(epitome.heads, epitome.width, 300))
    epitome.width -= epitome.width % heads
    if epitome.coder > max(CODERS):
        epitome.coder %= max(CODERS) + 1
    epitome.fraction_bits[:] = [(bits + 16) % 64 - 16 for bits in epitome.fraction_bits][:heads]
    epitome.fraction_bits.extend([2] * (heads - len(epitome.fraction_bits)))


def _fit_latent(latent: pb.Latent, classes: int) -> None:
    """Grids of which no coarser one comes later; numbers of what exists, or nearly."""
    latent.scales[:] = sorted((1 + (scale - 1) % 257 for scale in latent.scales), reverse=True)[:129]
    if latent.context not in (8, 12, 24):
        latent.context = (8, 12, 24)[latent.context % 3]
    latent.synthesis %= 4
    latent.group_classes = min(latent.group_classes, classes + 1)
    limits = {"hidden": 258, "convolutions": 10, "entropy_hidden": 66, "entropy_layers": 4, "components": 6}
    for name, limit in {**limits, "reach": 129, "numbers": 130}.items():
        setattr(latent, name, getattr(latent, name) % limit)


def _fit_network(network: pb.NetworkLabels) -> None:
    """Numbers of what exists, or nearly."""
    limits = {"kind": 3, "cropped": 65, "rotation": 47, "mix": 4, "temperature": 1026}
    for name, limit in limits.items():
        setattr(network, name, getattr(network, name) % limit)
    network.width = 1 + (network.width - 1) % 40


def _fit_labels(labels: pb.ViewLabels, classes: int) -> None:
    """A codec in a size that exists, or nearly; few epochs."""
    for name, limit in {"cropped": 65, "mix": 4, "temperature": 1026, "codec": 7, "rotation": 47}.items():
        setattr(labels, name, getattr(labels, name) % limit)
    labels.epochs = 1 + (labels.epochs - 1) % 50
    kind, classes = labels.codec, max(1, min(classes, 300))
    labels.levels = 2 + (labels.levels - 2) % 256 if kind else 0
    width = 2 + classes if kind == 5 else classes
    labels.width = 1 + (labels.width - 1) % width if kind in (2, 3, 5) else 0
    labels.segment = 1 + (labels.segment - 1) % classes if kind in (4, 5) else 0
    if kind == 5:
        labels.segment = min(labels.segment, labels.width)
        labels.width -= labels.width % labels.segment


def _fit_logits(message: pb.DistilledSet, classes: int) -> None:
    """One for each sample and class, if that is not too much to be tried."""
    counts = list(message.class_counts)[:300]
    samples = counts[0] * classes if len(counts) == 1 else sum(counts)
    if samples * classes <= 1000:
        logits = message.soft_labels.logits[: 2 * samples * classes]
        message.soft_labels.logits = logits.ljust(2 * samples * classes, b"\x34")


def _fit_lengths(message: pb.DistilledSet) -> None:
    """As many lengths of streams as classes that have samples, less one; mostly within the stream."""
    present = sum(count > 0 for count in list(message.class_counts)[:300])
    if len(message.class_counts) == 1:
        present = KNOWN[message.known_task].classes if message.known_task in KNOWN else 2
    lengths = [*message.class_lengths, *[4] * present][: max(present - 1, 0)]
    if sum(lengths) > len(message.stream):
        lengths = [min(length, len(message.stream) // (present + 1)) for length in lengths]
    message.class_lengths[:] = lengths
