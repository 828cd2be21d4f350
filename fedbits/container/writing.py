"""A distilled set as one blob."""

from __future__ import annotations

import math

from fedbits.coding import RangeWriter
from fedbits.container.envelope import HEADER_BYTES, sealed
from fedbits.container.sections import write_recipe
from fedbits.data.spec import DataSpec
from fedbits.declared import declared
from fedbits.distilled_set import DistilledSet
from fedbits.errors import ConfigError
from fedbits.labels.network.stored import write_network
from fedbits.labels.stored import write_labels
from fedbits.task_message import write_task
from fedbits.wire import distilled_set_pb2 as pb


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
    write_recipe(message, distilled.recipe)
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
    return sealed(message)


def framing(spec: DataSpec, recipe: str) -> int:
    """Bytes of a blob besides samples and labels: header, task and recipe."""
    message = pb.DistilledSet()
    write_task(message, spec)
    write_recipe(message, recipe)
    return HEADER_BYTES + message.ByteSize()


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
