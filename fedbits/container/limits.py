"""What a receiver is willing to decode."""

from __future__ import annotations

from dataclasses import dataclass

from fedbits.data.spec import DataSpec
from fedbits.declared import declared
from fedbits.errors import CorruptError, LimitError
from fedbits.labels.network.stored import DeclaredNetwork
from fedbits.labels.stored import DeclaredLabels
from fedbits.wire import distilled_set_pb2 as pb


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


USUAL_LIMITS = DecodeLimits()


def check_limits(
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
