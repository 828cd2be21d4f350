"""What a campaign has seen: how many inputs, what became of them, the slowest, the most memory."""

from __future__ import annotations

import hashlib
import json
import time
import traceback
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fedbits.distilled_set import DistilledSet
from fuzz import target
from fuzz.memory import Peak, peak_megabytes

SECONDS = 1.0  # CPU time that one reader may take with one input, its samples included
MEGABYTES = 512  # by which one input may raise the memory of the process
WIDE_ONE_IN = 8  # inputs are read under the default limits (but work) instead of the tight ones
SENT_ONE_IN = 32  # decoded sets are sent on, of which
WHOLE_ONE_IN = 16  # are encoded by every coder
SENT_NUMBERS = 1 << 10  # in a set that is sent on
CLASSES_ONE_IN = 8  # decoded sets are decoded again without some of their classes
_GIVEN = ("keep", "most_seconds")  # what is no part of the counts
_KEPT = 8  # inputs of one kind of finding


@dataclass
class Tally:
    """Counts different inputs, and keeps those that break something.

    Attributes:
        keep: the folder for such inputs; without one, the first that breaks something raises.
        most_seconds: CPU time that an input may take.
        inputs, repeats: different ones, and those that were the same as one before.
        outcomes, ways: inputs by outcome, and by outcome and message.
        findings: by what was raised and where: how often, by which inputs.
        slowest, largest: CPU seconds and megabytes of one input, and which one it was.
        wall: the most seconds that all readers took with one input, whatever else the machine did.
    """

    keep: Path | None = None
    most_seconds: float = SECONDS
    inputs: int = 0
    repeats: int = 0
    wide: int = 0
    sent_on: int = 0
    some_classes: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)
    slowest: tuple[float, str, str] = (0.0, "", "")
    largest: tuple[float, str] = (0.0, "")
    peak: float = 0.0
    wall: float = 0.0
    starts: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._seen: set[int] = set()
        self._unwritten = array("Q")
        self._memory = Peak()

    def check(self, data: bytes) -> bool:
        """Check one input; whether it is a new one that went a way that none before it went."""
        number = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
        new = number not in self._seen
        if new:
            self._seen.add(number)
            self._unwritten.append(number)
            self.inputs += 1
        else:
            self.repeats += 1
        ways = len(self.ways)
        try:
            self._check(data, number, new)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # constriction panics with a BaseException
            if self.keep is None:
                raise
            self.found(data, type(error).__name__, str(error), _where(error))
        return len(self.ways) > ways

    def _check(self, data: bytes, number: int, new: bool) -> None:
        wide = number % WIDE_ONE_IN == 0
        limits = target.wide_limits(data) if wide else target.tight_limits(data)
        started = time.perf_counter()
        self._memory.start()
        try:
            reading = target.read(data, limits)
        finally:
            self.wall = max(self.wall, time.perf_counter() - started)
            grown, self.peak = self._memory.grown(), max(self.peak, peak_megabytes())
            self.largest = max(self.largest, (grown, data.hex()), key=lambda pair: pair[0])
        if new:
            self.wide += wide
            self.outcomes[reading.outcome] += 1
            self.ways[reading.reason] += 1
        assert grown <= MEGABYTES, "more memory than one input may take"
        self._check_time(data, limits, reading)
        target.verify(data, reading)
        if isinstance(reading.decoded, DistilledSet):
            self._check_decoded(data, reading.decoded, number // WIDE_ONE_IN)

    def _check_time(self, data: bytes, limits: Any, reading: target.Reading) -> None:
        if reading.seconds[0] <= min(self.slowest[0], self.most_seconds):
            return
        # Seldom: the fastest of three, so that an interruption of this process is no finding.
        readings = (reading, target.read(data, limits), target.read(data, limits))
        seconds, reader = min(again.seconds for again in readings)
        if seconds > self.slowest[0]:
            self.slowest = (seconds, reader, data.hex())
        assert seconds <= self.most_seconds, f"{reader} takes longer than one input may"

    def _check_decoded(self, data: bytes, decoded: DistilledSet, number: int) -> None:
        if number % CLASSES_ONE_IN == 0:
            self.some_classes += 1
            target.verify_some_classes(data, decoded)
        number //= CLASSES_ONE_IN
        if number % SENT_ONE_IN == 0 and decoded.samples.numel() <= SENT_NUMBERS:
            self.sent_on += 1
            target.verify_sent_on(decoded, quick=number // SENT_ONE_IN % WHOLE_ONE_IN != 0)

    def found(self, data: bytes, kind: str, message: str, where: str = "") -> None:
        """Keep an input that broke something."""
        if self.keep is None:
            raise ValueError("a tally without a folder keeps nothing")
        new = {"count": 0, "message": "", "files": []}
        finding = self.findings.setdefault(f"{kind} {where}".strip(), new)
        finding["count"] += 1
        finding["message"] = finding["message"] or message[:300]
        name = f"found-{kind.lower()}-{hashlib.sha256(data).hexdigest()[:12]}.fbits"
        if name not in finding["files"] and len(finding["files"]) < _KEPT:
            self.keep.mkdir(parents=True, exist_ok=True)
            (self.keep / name).write_bytes(data)
            finding["files"].append(name)

    def save(self, path: Path) -> None:
        """Write what was counted to ``path``, and add the inputs' hashes to the file beside it."""
        with path.with_suffix(".seen").open("ab") as seen:
            self._unwritten.tofile(seen)
        self._unwritten = array("Q")
        state = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _GIVEN}
        written = path.with_suffix(".new")
        written.write_text(json.dumps(state))
        written.replace(path)

    @classmethod
    def load(cls, path: Path, keep: Path | None = None) -> Tally:
        """What :meth:`save` wrote, or a new tally."""
        tally = cls(keep)
        if path.exists():
            for name, value in json.loads(path.read_text()).items():
                setattr(tally, name, type(getattr(tally, name))(value))
        if path.with_suffix(".seen").exists():
            tally._seen.update(read_hashes(path))
        return tally

    def report(self) -> dict[str, Any]:
        """JSON-able figures."""
        decoded = self.outcomes["decoded"]
        return {
            "inputs": self.inputs,
            "the same as one before": self.repeats,
            "process seconds": round(self.seconds, 1),
            "inputs a process second": round(self.inputs / self.seconds, 1) if self.seconds else None,
            "decoded share": round(decoded / self.inputs, 3) if self.inputs else None,
            "outcomes": dict(self.outcomes.most_common()),
            "ways through": dict(self.ways.most_common()),
            "under the default limits but work": self.wide,
            "sent on": self.sent_on,
            "decoded without some classes": self.some_classes,
            "slowest CPU seconds": round(self.slowest[0], 4),
            "slowest reader": self.slowest[1],
            "slowest input": self.slowest[2],
            "most wall seconds of one input": round(self.wall, 4),
            "most MB of one input": round(self.largest[0], 1),
            "input of most MB": self.largest[1],
            "peak MB of the process": round(self.peak, 1),
            "processes started": self.starts,
            "findings": self.findings,
        }


def merged(tallies: Iterable[Tally]) -> Tally:
    """All that several tallies saw."""
    total = Tally()
    for tally in tallies:
        for name in ("inputs", "repeats", "wide", "sent_on", "some_classes", "starts", "seconds"):
            setattr(total, name, getattr(total, name) + getattr(tally, name))
        total.outcomes.update(tally.outcomes)
        total.ways.update(tally.ways)
        total.slowest = max(total.slowest, tally.slowest)
        total.largest = max(total.largest, tally.largest)
        total.peak = max(total.peak, tally.peak)
        total.wall = max(total.wall, tally.wall)
        for name, finding in tally.findings.items():
            known = total.findings.setdefault(name, {"count": 0, "message": finding["message"], "files": []})
            known["count"] += finding["count"]
            known["files"] = sorted({*known["files"], *finding["files"]})
    return total


def read_hashes(path: Path) -> array[int]:
    """Hashes of the inputs of the tally at ``path``."""
    hashes = array("Q")
    data = path.with_suffix(".seen").read_bytes()
    hashes.frombytes(data[: len(data) // 8 * 8])
    return hashes


def _where(error: BaseException) -> str:
    """The place in fedbits that raised, or the innermost one elsewhere."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/fedbits/" in frame.filename] or frames
    return f"in {Path(ours[-1].filename).name}:{ours[-1].lineno} {ours[-1].name}"
