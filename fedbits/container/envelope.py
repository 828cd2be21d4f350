"""Header, checksum and message: whether bytes are a blob at all."""

from __future__ import annotations

import struct
import zlib

from google.protobuf.message import DecodeError

from fedbits.container.limits import DecodeLimits
from fedbits.errors import CorruptError, LimitError, NotABlobError, TruncatedError, VersionError
from fedbits.wire import distilled_set_pb2 as pb

MAGIC = b"FBIT"
VERSION = 1
_HEADER = struct.Struct("<4sBBII")  # magic, version, flags, length of the message, CRC-32
HEADER_BYTES = _HEADER.size


def sealed(message: pb.DistilledSet) -> bytes:
    """The blob of ``message``."""
    body = message.SerializeToString(deterministic=True)
    return _HEADER.pack(MAGIC, VERSION, 0, len(body), _checksum(VERSION, 0, body)) + body


def opened(blob: bytes, limits: DecodeLimits) -> pb.DistilledSet:
    """The message of ``blob``; raises :class:`FormatError` where header or checksum do not hold."""
    if len(blob) > limits.blob_bytes:
        raise LimitError(f"the blob has {len(blob):,} bytes, more than the {limits.blob_bytes:,} allowed")
    if blob[:4] != MAGIC[: len(blob)] or not blob:
        raise NotABlobError(f"not a fedbits blob: it starts with {bytes(blob[:4])!r}, not {MAGIC!r}")
    if len(blob) < _HEADER.size:
        raise TruncatedError(f"the blob ends after {len(blob)} bytes, within its header of {_HEADER.size}")
    _, version, flags, length, checksum = _HEADER.unpack_from(blob)
    if not 1 <= version <= VERSION:
        raise VersionError(
            f"the blob has format version {version}; this fedbits reads versions 1 to {VERSION}"
        )
    body = memoryview(blob)[_HEADER.size :]
    if len(body) < length:
        raise TruncatedError(f"the blob has {len(blob):,} bytes of the {_HEADER.size + length:,} it declares")
    if len(body) > length or flags != 0 or _checksum(version, flags, body) != checksum:
        raise CorruptError("the blob's checksum does not fit its bytes: it was changed on its way")
    message = pb.DistilledSet()
    try:
        message.ParseFromString(body)  # type: ignore[arg-type]
    except (DecodeError, UnicodeDecodeError) as error:  # the latter where protobuf is pure Python
        raise CorruptError("the blob's message is not of the declared format") from error
    return message


def _checksum(version: int, flags: int, body: bytes | memoryview) -> int:
    return zlib.crc32(body, zlib.crc32(struct.pack("<BBI", version, flags, len(body))))
