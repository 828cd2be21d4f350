"""The records of a file of token labels: framed, checksummed, appended one by one.

A crash leaves at worst one torn record at the end. Whoever reads skips from record to record, and reads of
chunks, which are large, only their heads until they are wanted.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fedbits.errors import CorruptError, FedbitsError, NotABlobError, TruncatedError, VersionError

MAGIC = b"FBTL"
VERSION = 1
HEADER, PART, CHUNK, END = range(1, 5)
CHUNK_HEAD = struct.Struct("<II")  # labels, and the token before them
PREAMBLE = struct.Struct("<4sBB")  # magic, version, flags
_FRAME = struct.Struct("<BII")  # kind, length of the body, CRC-32 of kind, length and body
_FRAMED = struct.Struct("<BI")
_LARGEST = {HEADER: 1 << 26, PART: 1 << 16, CHUNK: 1 << 28, END: 1 << 10}


@dataclass(frozen=True)
class Record:
    """Where a record is: ``kind``, and its body's ``start`` and ``length`` in bytes."""

    kind: int
    start: int
    length: int

    @property
    def begin(self) -> int:
        """Where its frame is."""
        return self.start - _FRAME.size

    @property
    def stop(self) -> int:
        return self.start + self.length


def preamble() -> bytes:
    """What a file starts with."""
    return PREAMBLE.pack(MAGIC, VERSION, 0)


def framed(kind: int, body: bytes) -> bytes:
    """A record."""
    return _FRAME.pack(kind, len(body), _checksum(kind, body)) + body


def records(file: BinaryIO, size: int) -> Iterator[Record]:
    """The whole records of a file of ``size`` bytes; what is torn at its end is left out.

    Raises:
        NotABlobError, VersionError: it is no such file, or a later one.
        CorruptError: a record is of no kind, or larger than any is.
    """
    file.seek(0)
    start = file.read(PREAMBLE.size)
    if len(start) < PREAMBLE.size or start[:4] != MAGIC:
        raise NotABlobError(
            "the file does not start as token labels do: give one that 'labels tokens make' wrote"
        )
    _, version, flags = PREAMBLE.unpack(start)
    if version > VERSION:
        raise VersionError(f"the token labels have version {version}; this fedbits reads up to {VERSION}")
    if version == 0 or flags:
        raise CorruptError(
            f"the token labels declare version {version} and flags {flags}, which do not exist"
        )
    place = PREAMBLE.size
    while place + _FRAME.size <= size:
        file.seek(place)
        kind, length, _ = _FRAME.unpack(file.read(_FRAME.size))
        if length > _LARGEST.get(kind, -1):
            raise CorruptError(
                f"at byte {place:,} is a record of kind {kind} with {length:,} bytes: none is so"
            )
        if place + _FRAME.size + length > size:
            return
        record = Record(kind, place + _FRAME.size, length)
        yield record
        place = record.stop


def body(file: BinaryIO, record: Record) -> bytes:
    """Raises :class:`CorruptError` unless the record's checksum holds."""
    file.seek(record.begin)
    found = file.read(_FRAME.size + record.length)
    if len(found) < _FRAME.size + record.length:
        raise TruncatedError("the file of token labels became shorter while it was read")
    kind, _, checksum = _FRAME.unpack_from(found)
    content = found[_FRAME.size :]
    if _checksum(kind, content) != checksum:
        raise CorruptError(f"the checksum of the token labels at byte {record.start:,} does not hold")
    return content


def head(file: BinaryIO, record: Record) -> tuple[int, int]:
    """Labels of a chunk and the token before them, not checked yet.

    Raises:
        CorruptError: it is too short to have them.
    """
    if record.length < CHUNK_HEAD.size:
        raise CorruptError(f"the chunk at byte {record.start:,} has {record.length} bytes: none is so short")
    file.seek(record.start)
    count, first = CHUNK_HEAD.unpack(file.read(CHUNK_HEAD.size))
    return count, first


def append(path: Path, keep: int, added: bytes) -> int:
    """Make ``path`` its first ``keep`` bytes and ``added``, on disk; its new size."""
    try:
        with path.open("r+b") as file:
            file.truncate(keep)
            file.seek(keep)
            file.write(added)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise FedbitsError(f"cannot add to {path}: {error.strerror}; what is in it is kept") from error
    return keep + len(added)


def _checksum(kind: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(_FRAMED.pack(kind, len(content))))
