"""What can be said of a blob without making its samples: facts, and where its bits go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fedbits.budget import Ledger
from fedbits.container.envelope import VERSION, opened
from fedbits.container.limits import USUAL_LIMITS, DecodeLimits, check_limits
from fedbits.container.sections import read_counts, read_learning_rate, read_parts, read_recipe
from fedbits.data.spec import DataSpec
from fedbits.declared import declared
from fedbits.labels.network.stored import DeclaredNetwork
from fedbits.labels.stored import DeclaredLabels
from fedbits.parameterization.base import Part
from fedbits.task_message import read_task
from fedbits.wire import distilled_set_pb2 as pb


def task(blob: bytes, limits: DecodeLimits = USUAL_LIMITS) -> DataSpec:
    """The task that the samples of ``blob`` are of; they are not decoded.

    Raises:
        FormatError: the blob is damaged, or its task is none.
    """
    return read_task(opened(blob, limits))


def ledger(blob: bytes, limits: DecodeLimits = USUAL_LIMITS) -> Ledger:
    """Bits of ``blob`` by component; they sum to ``8 * len(blob)``.

    Args:
        limits: of a set whose stream has to be read; of others, there is nothing to decode.

    Raises:
        FormatError: the blob is damaged, or beyond ``limits`` where its stream has to be read.
    """
    message = opened(blob, DecodeLimits(blob_bytes=len(blob)))
    counts = read_counts(message)
    present = len(counts) - counts.count(0) or len(counts)  # a network alone knows all of them
    stored, spec = declared(message, read_task(message)), read_task(message)

    def parts() -> Iterator[Part]:
        check_limits(message, spec, counts, limits)
        return read_parts(message, counts, counts)

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


def _cleared(message: pb.DistilledSet, holder: pb.DistilledSet | pb.Task, field: str) -> int:
    """Bits that ``message`` is shorter once ``field`` of ``holder``, a part of it, is taken out."""
    before = message.ByteSize()
    holder.ClearField(field)
    return 8 * (before - message.ByteSize())


def inspect(blob: bytes, limits: DecodeLimits = USUAL_LIMITS) -> dict[str, Any]:
    """JSON-able facts of a blob's header; its checksum is verified, its samples are not made.

    Args:
        limits: as of :func:`ledger`.

    Raises:
        FormatError: the blob is damaged, or beyond ``limits`` where its stream has to be read.
    """
    message = opened(blob, DecodeLimits(blob_bytes=len(blob)))
    spec, counts, bits = read_task(message), read_counts(message), ledger(blob, limits)
    return {
        "version": VERSION,
        "dataset": spec.name,
        "shape": list(spec.shape),
        "classes": spec.classes,
        "class_counts": counts,
        "samples": sum(counts),
        "recipe": read_recipe(message),
        **_label_facts(message, spec, sum(counts)),
        "learning_rate": read_learning_rate(message),
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
