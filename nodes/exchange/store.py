"""Where an exchange keeps sets: blob files beside an index, whole at any instant.

::

    STORAGE/lock              held by the one process that uses the folder
    STORAGE/index.sqlite      what is published; a set is there if and only if its row is
    STORAGE/blobs/DIGEST      whole blobs, never changed
    STORAGE/partial/DIGEST-NODE   uploads so far, kept for resumption

A set is stored in this order: its bytes are synchronised in ``partial/``, renamed to ``blobs/``, the folder
is synchronised, and the row is committed; then it is acknowledged. A crash before the row leaves a blob that
nobody was told of, which the next start deletes. Removal goes the other way round: first the row, then the
blob.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedbits.errors import ConfigError
from fedbits.wire import exchange_pb2 as pb
from nodes.exchange.identity import is_name
from nodes.exchange.index import Index
from nodes.exchange.refusals import Reason, RefusedError


@dataclass(frozen=True)
class Candidate:
    """An upload that is whole and was examined; ``entry`` lacks only its sequence number and time."""

    entry: pb.Entry
    partial: Path


@dataclass(frozen=True)
class Retention:
    """How long sets are kept: ``seconds`` from publication, the ``newest`` of each node; None for ever."""

    seconds: float | None = None
    newest: int | None = None

    @property
    def limited(self) -> bool:
        return self.seconds is not None or self.newest is not None


@dataclass(frozen=True)
class PartialFile:
    """An unfinished upload: of what, its bytes, and when it last grew (seconds since 1970)."""

    node: str
    digest: bytes
    size: int
    touched: float


@dataclass
class Recovery:
    """What a start found that did not fit: digests of blobs without rows, and of rows without their blob."""

    deleted: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


class Store:
    """The folder of an exchange. Everything that touches the index is for one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs, self.partials = folder / "blobs", folder / "partial"
        try:
            self.blobs.mkdir(parents=True, exist_ok=True)
            self.partials.mkdir(exist_ok=True)
            self._lock = _locked(folder / "lock")
        except OSError as error:
            raise ConfigError(f"cannot store in {folder}: {error.strerror}") from error
        try:
            index = folder / "index.sqlite"
            if not index.exists() and any(self.blobs.iterdir()):
                raise ConfigError(
                    f"{index} is missing, but there are blobs: put it back, or take another folder"
                )
            self.index = Index(index)
        except BaseException:
            os.close(self._lock)
            raise
        self.recovery = self._reconcile()

    def close(self) -> None:
        self.index.close()
        os.close(self._lock)  # which releases it

    # ------------------------------------------------------------------------------------------- published

    def commit(self, batch: Sequence[Candidate]) -> list[pb.Entry | Exception]:
        """Store all of ``batch`` at the price of one synchronisation of folder and index.

        Returns:
            For each the entry, durable from now on, or why that one was not stored: a RefusedError where it
            was published meanwhile, an OSError where the disk would not take it.

        Raises:
            sqlite3.Error: none was stored.
        """
        digests: set[bytes] = set()
        outcomes = [self._place(candidate, digests) for candidate in batch]
        placed = [number for number, outcome in enumerate(outcomes) if _is_new(outcome)]
        if not placed:
            return outcomes
        try:
            _synchronise(self.blobs)
            added = self.index.add([batch[number].entry for number in placed])
        except (OSError, sqlite3.Error):
            for number in placed:
                self.blob(batch[number].entry.sha256).unlink(missing_ok=True)
            raise
        for number, entry in zip(placed, added, strict=True):
            outcomes[number] = entry
        return outcomes

    def _place(self, candidate: Candidate, digests: set[bytes]) -> pb.Entry | Exception:
        """Move one blob to where it belongs; the entry without a number, or that of an earlier publication.

        Args:
            digests: of those that were moved earlier in the same batch; this one is added.
        """
        entry = candidate.entry
        try:
            known = self.admitted(entry.sha256, entry.node)
            if known is not None:
                candidate.partial.unlink(missing_ok=True)
                return known
            if entry.sha256 in digests:  # by another node, as a node uploads a blob once at a time
                raise RefusedError(Reason.REPLAY)
            _synchronise(candidate.partial)
            candidate.partial.replace(self.blob(entry.sha256))
        except (OSError, RefusedError) as error:
            return error
        digests.add(entry.sha256)
        entry.published_ms = _now_ms()
        return entry

    def admitted(self, digest: bytes, node: str) -> pb.Entry | None:
        """The entry if ``node`` has published that blob already, None if it may be published.

        Raises:
            RefusedError: another node has published it, be it there still or removed.
        """
        known = self.index.find(digest)
        if known is None or (known.removed and known.entry.node == node):
            return None
        if known.entry.node != node:
            raise RefusedError(Reason.REPLAY)
        return known.entry

    def find(self, digest: bytes) -> pb.Entry:
        """The entry of a set that is there; raises :class:`RefusedError` for any other."""
        known = self.index.find(digest)
        if known is None or known.removed:
            raise RefusedError(Reason.UNKNOWN_SET)
        return known.entry

    def blob(self, digest: bytes) -> Path:
        """Where the blob of that digest is, if it is there."""
        return self.blobs / digest.hex()

    def stored(self) -> list[tuple[int, str]]:
        """Bytes and node of every published set."""
        return [(size, node) for _, size, node in self.index.there()]

    def expire(self, retention: Retention) -> list[tuple[bytes, int, str]]:
        """Remove what is not to be kept any longer; digest, bytes and node of each."""
        before = None if retention.seconds is None else _now_ms() - int(1000 * retention.seconds)
        outdated = self.index.outdated(before, retention.newest)
        if outdated:
            self.index.remove([digest for digest, _, _ in outdated], _now_ms())
        for digest, _, _ in outdated:
            self.blob(digest).unlink(missing_ok=True)
        return outdated

    def free(self) -> int:
        """Bytes that the disk still takes."""
        return shutil.disk_usage(self.folder).free

    # --------------------------------------------------------------------------------------------- partial

    def partial(self, node: str, digest: bytes) -> Path:
        """Where an upload of ``node`` grows."""
        return self.partials / f"{digest.hex()}-{node}"

    def partial_files(self) -> Iterator[PartialFile]:
        """Every unfinished upload on disk."""
        for path in self.partials.iterdir():
            found, (digest, _, node) = path.stat(), path.name.partition("-")
            yield PartialFile(node, bytes.fromhex(digest), found.st_size, found.st_mtime)

    def discard(self, node: str, digest: bytes) -> None:
        """Delete an unfinished upload."""
        self.partial(node, digest).unlink(missing_ok=True)

    # -------------------------------------------------------------------------------------------- recovery

    def _reconcile(self) -> Recovery:
        """Let files follow the index: it is what acknowledged publications are in."""
        recovery, rows = Recovery(), {digest: size for digest, size, _ in self.index.there()}
        for path in self.blobs.iterdir():
            digest = _digest_of(path.name)
            if digest not in rows:
                path.unlink()
                recovery.deleted.append(path.name)
            elif path.stat().st_size == rows[digest]:
                del rows[digest]
        if rows:  # which no crash of ours leaves behind: somebody has deleted or cut files
            self.index.remove(list(rows), _now_ms())
            recovery.lost = [digest.hex() for digest in rows]
            for digest in rows:
                self.blob(digest).unlink(missing_ok=True)
        for path in self.partials.iterdir():
            name, _, node = path.name.partition("-")
            if _digest_of(name) is None or not is_name(node):
                path.unlink()
        return recovery


def _is_new(outcome: pb.Entry | Exception) -> bool:
    return isinstance(outcome, pb.Entry) and outcome.sequence == 0


def _digest_of(name: str) -> bytes | None:
    try:
        digest = bytes.fromhex(name)
    except ValueError:
        return None
    return digest if len(digest) == 32 and digest.hex() == name else None


def _locked(path: Path) -> int:
    """A descriptor that holds the lock of the folder until it is closed, or the process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ConfigError(
            f"another exchange is using {path.parent}: give each a --storage of its own"
        ) from None
    return descriptor


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
