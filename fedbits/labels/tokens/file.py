"""A file of token labels: its parts and chunks, read one at a time, and appended to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from fedbits.errors import CorruptError, DataError, TruncatedError
from fedbits.files import write_atomic
from fedbits.labels.tokens import records
from fedbits.labels.tokens.chunk import TokenChunk
from fedbits.labels.tokens.stored import TokenHeader, TokenPart, check_end, write_end
from fedbits.labels.tokens.values import ONE, probabilities


@dataclass(frozen=True)
class Targets:
    """What students learn from a chunk.

    Attributes:
        tokens: ``[n + 1]`` int64, the text: label i is of what comes after token i.
        ids: ``[n, top]`` int64.
        probabilities: ``[n, top]`` float32, of ``ids``.
        rest: ``[n]`` float32, of all other tokens together.
    """

    tokens: Tensor
    ids: Tensor
    probabilities: Tensor
    rest: Tensor


@dataclass
class _Scan:
    """What a file's records say, as they are passed."""

    header: TokenHeader | None = None
    parts: list[TokenPart] = field(default_factory=list)
    chunks: list[records.Record] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    done: int = 0  # labels of the last part
    ended: bool = False
    stop: int = records.PREAMBLE.size  # of the last record but the end
    whole: int = records.PREAMBLE.size  # of the last record

    def pass_over(self, file: BinaryIO, record: records.Record) -> None:
        """Raise :class:`CorruptError` where ``record`` is out of place."""
        kind = record.kind
        if (kind == records.HEADER) == (self.header is not None) or self.ended:
            raise CorruptError(f"the record at byte {record.start:,} is out of place")
        if kind == records.HEADER:
            self.header = TokenHeader.read(records.body(file, record))
        elif kind == records.PART:
            self._check_complete()
            self.parts.append(TokenPart.read(records.body(file, record)))
            self.done = 0
        elif kind == records.CHUNK:
            self._add(record, records.head(file, record)[0])
        else:
            self._check_complete()
            check_end(records.body(file, record), sum(self.counts), len(self.chunks))
            self.ended = True
        self.whole = record.stop
        self.stop = self.stop if self.ended else record.stop

    def _add(self, record: records.Record, count: int) -> None:
        assert self.header is not None
        left = self.parts[-1].labels - self.done if self.parts else 0
        if not left or count != min(self.header.form.chunk, left):
            raise CorruptError(
                f"the chunk at byte {record.start:,} has {count:,} labels of {left:,} that are left"
            )
        self.chunks.append(record)
        self.counts.append(count)
        self.done += count

    def _check_complete(self) -> None:
        if self.parts and self.done != self.parts[-1].labels:
            raise CorruptError(f"of the text {self.parts[-1].name!r} labels are missing")

    def drop_torn(self, file: BinaryIO) -> None:
        """Forget the last chunk if a crash left its place, but not all of its bytes, on disk."""
        if not self.chunks or self.chunks[-1].stop != self.stop:
            return
        try:
            records.body(file, self.chunks[-1])
        except CorruptError:
            self.stop = self.chunks.pop().begin
            self.done -= self.counts.pop()


class TokenLabels:
    """The token labels in a file, of which one chunk at a time is in memory.

    Attributes:
        header: what all chunks share.
        parts: the texts that were labelled.
        counts: labels of each chunk.
        finished: whether all labels of all parts are there.
        done: labels of the last part that are there.
        stop: bytes up to the last whole chunk (or part, if that has none yet).
    """

    def __init__(self, path: Path, unfinished: bool = False) -> None:
        """Pass over the file.

        Args:
            unfinished: take what is there of a file that is still being made, or whose making broke off.

        Raises:
            FormatError: the file is damaged; of chunks, only the heads are looked at.
            TruncatedError: it is not finished.
            DataError: it cannot be read.
        """
        self.path = path
        try:
            with path.open("rb") as file:
                self.bytes = path.stat().st_size
                scan = _Scan()
                for record in records.records(file, self.bytes):
                    scan.pass_over(file, record)
                if unfinished and not scan.ended:
                    scan.drop_torn(file)
        except OSError as error:
            raise DataError(f"cannot read the token labels {path}: {error.strerror or error}") from error
        if scan.header is None:
            raise TruncatedError(f"{path} has no header: delete it, and make the labels anew")
        if scan.ended and scan.whole != self.bytes:
            raise CorruptError(f"{path} goes on after its end")
        if not scan.ended and not unfinished:
            raise TruncatedError(
                f"{path} is not finished: it has {sum(scan.counts):,} labels in {len(scan.chunks):,} whole "
                "chunks; go on with --resume"
            )
        self.header, self.parts, self.counts = scan.header, scan.parts, scan.counts
        self.finished, self.done, self.stop = scan.ended, scan.done, scan.stop
        self._records = scan.chunks

    def __len__(self) -> int:
        """Chunks."""
        return len(self._records)

    @property
    def labels(self) -> int:
        """Of all chunks."""
        return sum(self.counts)

    @property
    def chunk_bytes(self) -> int:
        """Of all chunks, with their frames' bodies only."""
        return sum(record.length for record in self._records)

    def chunk(self, number: int) -> TokenChunk:
        """A chunk, decoded by itself.

        Raises:
            CorruptError: its checksum does not hold, or no encoder writes it.
        """
        with self.path.open("rb") as file:
            body = records.body(file, self._records[number])
        count, first = records.CHUNK_HEAD.unpack_from(body)
        return self.header.coding.decode(body[records.CHUNK_HEAD.size :], first, count)

    def targets(self, number: int) -> Targets:
        """What students learn from a chunk: the same numbers on every machine."""
        chunk = self.chunk(number)
        values = probabilities(self.header.codec, chunk.symbols)
        shares = torch.from_numpy((values / ONE).astype(np.float32))
        tokens = np.concatenate([[chunk.first], chunk.tokens])
        return Targets(
            torch.from_numpy(tokens), torch.from_numpy(chunk.ids), shares[:, :-1].contiguous(), shares[:, -1]
        )


class TokenWriter:
    """Adds to a file; what was added is whole on disk when a call returns."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self._size = path, size

    @classmethod
    def create(cls, path: Path, header: TokenHeader) -> TokenWriter:
        start = records.preamble() + records.framed(records.HEADER, header.write())
        write_atomic(path, start)
        return cls(path, len(start))

    @classmethod
    def reopen(cls, labels: TokenLabels) -> TokenWriter:
        """After the whole chunks of ``labels``, without what is torn, or the end, behind them."""
        return cls(labels.path, labels.stop)

    def part(self, part: TokenPart) -> None:
        self._add(records.PART, part.write())

    def chunk(self, header: TokenHeader, chunk: TokenChunk) -> int:
        """Bytes that it takes."""
        head = records.CHUNK_HEAD.pack(len(chunk.tokens), chunk.first)
        return self._add(records.CHUNK, head + header.coding.encode(chunk))

    def end(self, labels: int, chunks: int) -> None:
        self._add(records.END, write_end(labels, chunks))

    def _add(self, kind: int, body: bytes) -> int:
        record = records.framed(kind, body)
        self._size = records.append(self.path, self._size, record)
        return len(record)
