"""What every input of the fuzzers is put through, and what must hold of it."""

from __future__ import annotations

import json
import re
import resource
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from fedbits.container import DecodeLimits, decode, encode, inspect, ledger
from fedbits.distilled_set import DistilledSet
from fedbits.errors import FormatError

CORPUS = Path(__file__).parent / "corpus"

# The work that a stream of no bytes may ask for. By default a blob of 8 KB may ask for two minutes of work,
# so what is fuzzed are the default limits in everything but work.
ONE_SECOND = replace(DecodeLimits(), work=1 << 22)
TIGHT = DecodeLimits(blob_bytes=1 << 16, samples=1 << 10, elements=1 << 16, work=1 << 18)

SECONDS = 1.0  # CPU time that one reader may take with one input, its samples included
ONE_IN = 4  # inputs of a campaign are sent on
MEGABYTES = 512  # by which the memory of the process may grow over all inputs together

T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """What the three readers made of some bytes.

    Attributes:
        decoded: the set, or why there is none.
        tight: whether it was decoded under the tight limits.
        facts, bits: what ``inspect`` and ``ledger`` said.
        seconds: CPU time of the slowest of the readers, by name.
    """

    decoded: DistilledSet | FormatError
    tight: bool
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


def read(data: bytes) -> Reading:
    """Decode under the tight limits (and, where they stop it, under the wide ones), inspect, add up.

    Limits decide only whether a blob is refused, never how it is decoded: what the tight ones let pass
    needs no second try.
    """
    decoded, seconds = _timed(lambda: _decoded(data, TIGHT))
    tight = isinstance(decoded, DistilledSet)
    slowest = (seconds, "decode")
    if type(decoded).__name__ == "LimitError":
        decoded, seconds = _timed(lambda: _decoded(data, ONE_SECOND))
        slowest = max(slowest, (seconds, "decode"))
    facts, seconds = _timed(lambda: inspect(data))
    slowest = max(slowest, (seconds, "inspect"))
    bits, seconds = _timed(lambda: ledger(data))
    return Reading(decoded, tight, facts, bits, max(slowest, (seconds, "ledger")))


def check(data: bytes) -> None:
    """Read ``data`` by every reader.

    Raises:
        AssertionError: the readers contradict themselves or each other.
        Exception: any other is one that a reader let escape.
    """
    verify(data, read(data))


def verify(data: bytes, reading: Reading, sent_on: bool = True) -> None:
    """What must hold of a reading; raises :class:`AssertionError`.

    Args:
        sent_on: whether to try also that a set decoded under the tight limits can be sent on, which takes
            several times as long as all the rest.
    """
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
        if reading.tight and sent_on:
            _verify_sent_on(reading.decoded)


def _verify_decoded(decoded: DistilledSet, facts: dict[str, Any]) -> None:
    counts, samples = decoded.class_counts(), decoded.samples
    assert counts == facts["class_counts"] and len(counts) == decoded.spec.classes
    assert tuple(samples.shape) == (sum(counts), *decoded.spec.shape), "samples of another shape"
    assert samples.dtype == torch.float32 and bool(samples.isfinite().all()), "samples are no numbers"
    assert len(decoded.labels) == sum(counts)


def _verify_sent_on(decoded: DistilledSet) -> None:
    """What was decoded can be sent on, and comes back as it is."""
    blob = encode(decoded)
    again = decode(blob)
    assert torch.equal(again.samples, decoded.samples), "sent on, samples change"
    assert torch.equal(again.labels, decoded.labels), "sent on, labels change"
    assert again.spec.name == decoded.spec.name and again.spec.same_task(decoded.spec)
    assert again.recipe == decoded.recipe and again.describe() == decoded.describe()
    assert encode(again) == blob, "sent on twice, the blob changes"


def _decoded(data: bytes, limits: DecodeLimits) -> DistilledSet:
    decoded = decode(data, limits)
    decoded.samples  # noqa: B018 - they are computed when they are first asked for
    return decoded


def _timed(read: Callable[[], T]) -> tuple[T | FormatError, float]:
    started = time.process_time()
    result: T | FormatError
    try:
        result = read()
    except FormatError as error:
        result = error
    return result, time.process_time() - started


def peak_megabytes() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # on Linux in KiB


@dataclass
class Tally:
    """Counts what a campaign sees, and stops it at an input over the limits of time or memory."""

    inputs: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    reasons: set[str] = field(default_factory=set)
    slowest: float = 0.0
    slowest_reader: str = ""
    slowest_input: str = ""
    baseline: float = field(default_factory=peak_megabytes)
    largest_growth: float = 0.0
    largest_input: str = ""

    def check(self, data: bytes) -> bool:
        """Check one input; whether it went a way that none before it went."""
        before = peak_megabytes()
        reading = read(data)
        verify(data, reading, sent_on=zlib.crc32(data) % ONE_IN == 0)
        self.inputs += 1
        self.outcomes[reading.outcome] = self.outcomes.get(reading.outcome, 0) + 1
        if reading.seconds[0] > self.slowest:
            self.slowest, self.slowest_reader = reading.seconds
            self.slowest_input = data.hex()
        if peak_megabytes() - before > self.largest_growth:
            self.largest_growth, self.largest_input = peak_megabytes() - before, data.hex()
        assert reading.seconds[0] <= SECONDS, f"{reading.seconds[1]} took {reading.seconds[0]:.2f} s"
        assert self.growth <= MEGABYTES, f"memory grew by {self.growth:.0f} MB"
        new = reading.reason not in self.reasons
        self.reasons.add(reading.reason)
        return new

    @property
    def growth(self) -> float:
        """Megabytes by which the peak has risen since this tally began."""
        return peak_megabytes() - self.baseline

    def report(self) -> dict[str, Any]:
        """JSON-able figures."""
        return {
            "inputs": self.inputs,
            "outcomes": dict(sorted(self.outcomes.items())),
            "ways through": len(self.reasons),
            "slowest seconds": round(self.slowest, 4),
            "slowest reader": self.slowest_reader,
            "slowest input": self.slowest_input,
            "peak MB": round(peak_megabytes(), 1),
            "peak MB above the start": round(self.growth, 1),
            "largest growth MB": round(self.largest_growth, 1),
            "input of that growth": self.largest_input,
        }
