"""How a server follows a node's memory: by content, so that only what it lacks is sent.

The task names the blobs (by SHA-256) that the server has of the node. The reply names those in the node's
memory now, oldest first, and carries the ones that were not in the task. So nothing has to be agreed on
between rounds: whatever was lost on the way, in either direction, is put right by the next reply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from nodes.codes import Code
from nodes.messages import Facts, RefusedError, blob_array, is_count, read_blob, reply_records

_KNOWN, _MEMORY, _BLOBS = (f"fedbits.{part}" for part in ("known", "memory", "blobs"))
DIGEST_BYTES = 32
MAX_BLOBS = 1000  # in one memory: as many as there may be rounds


def digest(blob: bytes) -> bytes:
    """What a blob is known by."""
    return sha256(blob).digest()


def with_known(records: RecordDict, known: Sequence[bytes]) -> RecordDict:
    """A task's ``records`` with the digests of what the server has of the node's memory."""
    records[_KNOWN] = ConfigRecord({"digests": list(known)})
    return records


def read_known(records: RecordDict) -> frozenset[bytes]:
    """What :func:`with_known` added; raises :class:`RefusedError` (``bad_task``) on anything else."""
    digests = _digests(records.get(_KNOWN))
    if digests is None:
        raise RefusedError(Code.BAD_TASK)
    return frozenset(digests)


@dataclass(frozen=True)
class Update:
    """A node's memory after a round.

    Attributes:
        digests: of its blobs, oldest first.
        blobs: those of them that the server lacks, by digest.
        shrunk: blobs that the node had before and has cut or distilled again, to make room.
    """

    digests: tuple[bytes, ...]
    blobs: Mapping[bytes, bytes]
    shrunk: int = 0

    @classmethod
    def of(cls, blobs: Sequence[bytes], known: frozenset[bytes], shrunk: int) -> Update:
        """The update that takes a server that has ``known`` to a memory of ``blobs``."""
        named = {digest(blob): blob for blob in blobs}
        return cls(tuple(named), {name: blob for name, blob in named.items() if name not in known}, shrunk)

    @property
    def blob_bytes(self) -> int:
        """Bytes of the blobs that are sent."""
        return sum(len(blob) for blob in self.blobs.values())

    @property
    def bytes(self) -> int:
        """All that is sent: blobs, and the names of those that stay."""
        return self.blob_bytes + DIGEST_BYTES * len(self.digests)


def update_records(facts: Facts, update: Update) -> RecordDict:
    """A node's reply."""
    records = reply_records(facts)
    records[_MEMORY] = ConfigRecord({"digests": list(update.digests), "shrunk": update.shrunk})
    records[_BLOBS] = ArrayRecord({name.hex(): blob_array(blob) for name, blob in update.blobs.items()})
    return records


def read_update(records: RecordDict) -> Update:
    """The inverse of :func:`update_records`.

    Raises:
        RefusedError: ``missing`` where a part is not there or not what it should be; ``corrupt`` where a
            blob is not the one that its name says.
    """
    memory, arrays = records.get(_MEMORY), records.get(_BLOBS)
    digests = _digests(memory)
    shrunk = memory.get("shrunk") if isinstance(memory, ConfigRecord) else None
    if digests is None or not is_count(shrunk) or not isinstance(arrays, ArrayRecord):
        raise RefusedError(Code.MISSING)
    named = {name.hex(): name for name in digests}
    if not set(arrays) <= set(named):
        raise RefusedError(Code.MISSING)
    blobs = {}
    for text in arrays:
        blob = read_blob(arrays, text)
        if blob is None:
            raise RefusedError(Code.MISSING)
        if digest(blob) != named[text]:
            raise RefusedError(Code.CORRUPT)
        blobs[named[text]] = blob
    return Update(digests, blobs, shrunk)  # type: ignore[arg-type]


def _digests(record: object) -> tuple[bytes, ...] | None:
    """The digests in a received record, each once; None where they are not that."""
    digests = record.get("digests") if isinstance(record, ConfigRecord) else None
    if not isinstance(digests, list) or len(digests) > MAX_BLOBS or len(set(digests)) != len(digests):
        return None
    sound = all(isinstance(one, bytes) and len(one) == DIGEST_BYTES for one in digests)
    return tuple(digests) if sound else None  # type: ignore[arg-type]
