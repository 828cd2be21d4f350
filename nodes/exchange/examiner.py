"""The process that decodes what others have sent: one blob at a time, under limits that the system enforces.

``python -m nodes.exchange.examiner LIMITS`` reads one JSON object a line, ``{"path", "sha256", "size"}``. It
answers each with one line: ``{"facts": {...}}`` or ``{"reason": "..."}``, and ``"leaves"``, whether it is not
to be asked again. It reads files only; the system lets it write none. The other end is
:mod:`nodes.exchange.examination`.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from fedbits.errors import FedbitsError, LimitError, NotABlobError, VersionError

_MAX_NAME = 200
_MAX_COUNTS = 1024  # classes up to which their counts are told
_BITS_PER_BYTE_ELEMENTS = 8 * 512  # 1 bit a value at 0.1 bits after coding, downsampled by 4: 160 a bit
_LEAST_ELEMENTS = 1 << 22
_FILES = 64


def main() -> None:
    """Answer until the other end closes."""
    limits = json.loads(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints must not answer
    from fedbits import container  # torch takes seconds, and its memory is not the blob's

    base = _address_space()
    _confine(base + limits["memory"])
    print(json.dumps({"format": container.VERSION}), file=replies, flush=True)
    for line in sys.stdin:
        _allow_seconds(limits["seconds"])
        reply = examine(json.loads(line), limits["elements"])
        # The next blob must find a fresh process, not what this one has left of its memory.
        used_up = reply.get("reason") == "decode_memory" or _address_space() > base + limits["memory"] // 2
        print(json.dumps({**reply, "leaves": used_up}), file=replies, flush=True)


def examine(asked: dict[str, Any], elements: int) -> dict[str, Any]:
    """Facts of the blob at ``asked["path"]``, which has been decoded, or the reason why it is refused.

    Args:
        elements: numbers that a blob may declare in all its samples; a small one less.
    """
    from fedbits import container

    try:
        blob = Path(asked["path"]).read_bytes()
        if len(blob) != asked["size"] or hashlib.sha256(blob).hexdigest() != asked["sha256"]:
            return {"reason": "wrong_digest"}
        most = min(max(_BITS_PER_BYTE_ELEMENTS * len(blob), _LEAST_ELEMENTS), elements)
        limits = container.DecodeLimits(blob_bytes=len(blob), elements=most)
        facts = container.inspect(blob, limits)
        if not all(_is_fit(facts[name]) for name in ("dataset", "recipe")):
            return {"reason": "unfit_name"}
        container.decode(blob, limits)
    except FedbitsError as error:
        return {"reason": _reason(error)}
    except (MemoryError, RuntimeError) as error:  # torch raises the latter for want of memory
        if isinstance(error, RuntimeError) and "alloc" not in str(error):
            raise
        return {"reason": "decode_memory"}
    return {"facts": _told(facts)}


def _told(facts: dict[str, Any]) -> dict[str, Any]:
    """The part of a blob's facts that its entry has, under the names that it has there."""
    counts = facts["class_counts"]
    bits = facts.get("bits", 0)
    return {
        "data_set": facts["dataset"],
        "shape": facts["shape"],
        "classes": facts["classes"],
        "class_counts": counts if len(counts) <= _MAX_COUNTS else [],
        "samples": facts["samples"],
        "recipe": facts["recipe"],
        "storage": facts["storage"],
        "bits": bits if isinstance(bits, int) else 0,
        "labels": facts["labels"],
    }


def _is_fit(name: str) -> bool:
    return len(name) <= _MAX_NAME and name.isprintable()


def _reason(error: FedbitsError) -> str:
    for kind, reason in (
        (NotABlobError, "not_a_blob"),
        (VersionError, "format_version"),
        (LimitError, "limits"),
    ):
        if isinstance(error, kind):
            return reason
    return "corrupt"


def _confine(address_space: int) -> None:
    """No more memory than that, no files written, no core dumps; the system sees to it."""
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)


def _allow_seconds(seconds: float) -> None:
    """So much more CPU time from now on; the process dies of the signal SIGXCPU after it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _address_space() -> int:
    """Bytes of this process's address space."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
