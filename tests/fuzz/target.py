"""What every input of the fuzzers is put through, and what must hold of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from labelling import digest
from viewed import same

from fedbits.coding.grid import OWN
from fedbits.container import DecodeLimits, decode, encode, inspect, ledger
from fedbits.distilled_set import DistilledSet
from fedbits.errors import FormatError
from fedbits.labels import NetworkLabels, ViewLabels
from fuzz.fields import parsed

CORPUS = Path(__file__).parent / "corpus"

# What is fuzzed are the default limits in everything but work: by default, a blob of 8 KB may ask for two
# minutes of it. This is a little more than a stream of no bytes may ask for, so that padded ones are met; and
# for the coder that declares the work of the largest network whatever it reads, a little more than that.
ONE_SECOND = replace(DecodeLimits(), work=5 << 20)
OWN_NETWORK = replace(DecodeLimits(), work=12 << 20)
# Most inputs of a campaign are read under limits that small sets keep: large ones take long, and reach
# nothing that small ones do not reach.
TIGHT = DecodeLimits(blob_bytes=1 << 16, samples=1 << 10, elements=1 << 16, work=1 << 19)
# The tensors of epitomes and latents declare the work of the largest numbers that they could hold, ten times
# what they take: so much lets small ones be read.
TIGHT_TENSORS = replace(TIGHT, work=3 << 20)
# Labels of views declare what their models take, however few they are.
TIGHT_VIEWS = replace(TIGHT_TENSORS, elements=1 << 23)
_OF_TENSORS = ("epitome", "latent")

_SENT_ON = 1 << 8  # numbers in a set that is sent on whole, as encoding takes longer than decoding

T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """What the three readers made of some bytes.

    Attributes:
        decoded: the set, or why there is none.
        facts, bits: what ``inspect`` and ``ledger`` said.
        seconds: CPU time of the slowest of the readers, and its name.
    """

    decoded: DistilledSet | FormatError
    facts: dict[str, Any] | FormatError
    bits: Any
    seconds: tuple[float, str]

    @property
    def outcome(self) -> str:
        """``decoded``, or the name of the error."""
        return type(self.decoded).__name__ if isinstance(self.decoded, FormatError) else "decoded"

    @property
    def reason(self) -> str:
        """The outcome with the error's message, less the numbers in it: one string for one way through."""
        if not isinstance(self.decoded, FormatError):
            return f"decoded by {self.facts['coder'] if isinstance(self.facts, dict) else 'nothing'}"
        words = re.sub("starts with .*, not|[^A-Za-z ]", "", str(self.decoded))
        return f"{self.outcome}: {words[:60]}"


def wide_limits(data: bytes) -> DecodeLimits:
    """The limits under which decoding should take less than a second."""
    message = parsed(data)
    return OWN_NETWORK if message is not None and message.pixel.coder == OWN else ONE_SECOND


def tight_limits(data: bytes) -> DecodeLimits:
    """The limits that small sets keep."""
    message = parsed(data)
    if message is not None and (message.HasField("view_labels") or message.HasField("network_labels")):
        return TIGHT_VIEWS
    return (
        TIGHT_TENSORS
        if message is not None and message.WhichOneof("parameterization") in _OF_TENSORS
        else TIGHT
    )


def read(data: bytes, limits: DecodeLimits | None = None) -> Reading:
    """Decode under ``limits`` (by default, the wide ones), inspect, add up.

    Limits decide only whether a blob is refused, never how it is decoded.
    """
    limits = limits or wide_limits(data)
    decoded, *decoding = _timed(lambda: _decoded(data, limits), "decode")
    facts, *inspection = _timed(lambda: inspect(data, limits), "inspect")
    bits, *adding = _timed(lambda: ledger(data, limits), "ledger")
    seconds, reader = max(decoding, inspection, adding)
    return Reading(decoded, facts, bits, (seconds, reader))


def check(data: bytes) -> None:
    """Put ``data`` through all there is.

    Raises:
        AssertionError: the readers contradict themselves or each other.
        Exception: any other is one that a reader let escape.
    """
    reading = read(data)
    verify(data, reading)
    if isinstance(reading.decoded, DistilledSet):
        verify_some_classes(data, reading.decoded)
        if reading.decoded.samples.numel() <= _SENT_ON:
            verify_sent_on(reading.decoded)


def verify(data: bytes, reading: Reading) -> None:
    """What must hold of a reading; raises :class:`AssertionError`."""
    for result in (reading.decoded, reading.facts, reading.bits):
        if isinstance(result, FormatError):
            assert type(result) is not FormatError, "an error of no subclass"
            assert 0 < len(str(result)) < 300 and "\n" not in str(result), f"not one sentence: {result}"
    if not isinstance(reading.bits, FormatError):
        parts = reading.bits.components
        assert sum(parts.values()) == 8 * len(data), "the ledger does not sum to the size"
        assert min(parts.values()) >= 0, f"negative bits in the ledger: {parts}"
    if not isinstance(reading.facts, FormatError):
        json.dumps(reading.facts, allow_nan=False)
    if isinstance(reading.decoded, DistilledSet):
        assert isinstance(reading.facts, dict), f"decoded, but not inspected: {reading.facts}"
        assert not isinstance(reading.bits, FormatError), f"decoded, but without a ledger: {reading.bits}"
        _verify_decoded(reading.decoded, reading.facts)


def _verify_decoded(decoded: DistilledSet, facts: dict[str, Any]) -> None:
    counts, samples = decoded.class_counts(), decoded.samples
    assert counts == facts["class_counts"] and len(counts) == decoded.spec.classes
    assert tuple(samples.shape) == (sum(counts), *decoded.spec.shape), "samples of another shape"
    assert samples.dtype == torch.float32 and bool(samples.isfinite().all()), "samples are no numbers"
    assert len(decoded.labels) == len(decoded.targets) == sum(counts)
    assert facts["labels"] == decoded.describe()["labels"]
    _verify_view_labels(decoded.view_labels)
    _verify_network(decoded.network, decoded)
    assert facts["learning_rate"] == decoded.learning_rate
    if decoded.soft_labels is not None:
        sums = decoded.targets.sum(dim=1)
        assert bool(torch.isclose(sums, torch.ones_like(sums), atol=1e-3).all()), "no probabilities"


def _verify_view_labels(labels: ViewLabels | None) -> None:
    """All symbols exist, and so do partners; some labels are probabilities."""
    if labels is None:
        return
    index, levels = torch.arange(len(labels)), labels.codec.columns(labels.codec.config, labels.codec.classes)
    assert labels.table.shape == (labels.config.epochs, len(labels), len(levels))
    assert bool((labels.table < np.array(levels)).all()), "a symbol that does not exist"
    for epoch in (0, labels.config.epochs - 1):
        partners, few = labels.views.partners(epoch, index), index[:: 1 + len(index) // 8]
        assert int(partners.min()) >= 0 and int(partners.max()) < len(labels), "a partner that does not exist"
        sums = labels.targets(epoch, few).sum(dim=1)
        assert bool(torch.isclose(sums, torch.ones_like(sums), atol=1e-3).all()), "no probabilities"


def _verify_network(network: NetworkLabels | None, decoded: DistilledSet) -> None:
    """Tensors are those of the form; a view has some label (not a number, if weights are too large)."""
    if network is None:
        return
    assert network.fits(decoded.spec), "a network of another task"
    if len(decoded) and decoded.spec.elements < 1 << 16:
        lesson = decoded.lesson(torch.arange(len(decoded))[:2], 1 << 20)
        assert lesson.targets.shape == (len(lesson.samples), decoded.spec.classes)


def _same_network(one: NetworkLabels | None, other: NetworkLabels | None) -> bool:
    if one is None or other is None:
        return one is other
    shared = ("config", "temperature", "form", "known")
    alike = all(getattr(one, name) == getattr(other, name) for name in shared)
    return alike and digest(one) == digest(other)


def _same_view_labels(one: ViewLabels | None, other: ViewLabels | None) -> bool:
    return one is other if one is None or other is None else same(one, other)


def verify_sent_on(decoded: DistilledSet, quick: bool = False) -> None:
    """What was decoded can be sent on, and comes back as it is; ``quick`` leaves the slow coders out."""
    blob = encode(decoded, quick)
    again = decode(blob)
    assert torch.equal(again.samples, decoded.samples), "sent on, samples change"
    assert torch.equal(again.labels, decoded.labels), "sent on, labels change"
    assert torch.equal(again.targets, decoded.targets), "sent on, soft labels change"
    assert _same_view_labels(again.view_labels, decoded.view_labels), "sent on, labels of views change"
    assert _same_network(again.network, decoded.network), "sent on, the network changes"
    assert again.learning_rate == decoded.learning_rate, "sent on, the learning rate changes"
    assert again.spec.name == decoded.spec.name and again.spec.same_task(decoded.spec)
    assert again.recipe == decoded.recipe and again.describe() == decoded.describe()
    assert encode(again, quick) == blob, "sent on twice, the blob changes"


def verify_some_classes(data: bytes, decoded: DistilledSet) -> None:
    """A subset of the classes has the samples that it has in the whole."""
    counts = decoded.class_counts()
    if not any(counts):
        return
    chosen = [label for label, count in enumerate(counts) if count][-2:]
    some = decode(data, wide_limits(data), classes=chosen)
    which = torch.isin(decoded.labels, torch.tensor(chosen))
    assert torch.equal(some.samples, decoded.samples[which]), "decoded alone, samples of a class change"
    assert torch.equal(some.labels, decoded.labels[which]), "decoded alone, labels of a class change"
    assert torch.equal(some.targets, decoded.targets[which]), "decoded alone, soft labels of a class change"


def _decoded(data: bytes, limits: DecodeLimits) -> DistilledSet:
    decoded = decode(data, limits)
    decoded.samples  # noqa: B018 - they are computed when they are first asked for
    return decoded


def _timed(read: Callable[[], T], name: str) -> tuple[T | FormatError, float, str]:
    started = time.process_time()
    result: T | FormatError
    try:
        result = read()
    except FormatError as error:
        result = error
    return result, time.process_time() - started, name
