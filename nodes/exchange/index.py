"""The index of published sets: one SQLite file, in which a set is or is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedbits.errors import FedbitsError
from fedbits.wire import exchange_pb2 as pb

_VERSION = 1
_PAGE_BYTES, _PAGE_ENTRIES = 1 << 20, 1000
_SCHEMA = """
CREATE TABLE sets (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  sha256 BLOB NOT NULL UNIQUE,
  size INTEGER NOT NULL,
  node TEXT NOT NULL,
  data_set TEXT NOT NULL,
  recipe TEXT NOT NULL,
  published_ms INTEGER NOT NULL,
  removed_ms INTEGER,
  entry BLOB NOT NULL
);
CREATE INDEX there ON sets (removed_ms, sequence);
CREATE INDEX by_node ON sets (node, removed_ms, sequence);
"""


@dataclass(frozen=True)
class Known:
    """A set that was published; ``removed`` if its blob is there no longer, and only the row remembers it."""

    entry: pb.Entry
    removed: bool


class Index:
    """Rows of published sets; one thread at a time.

    A row is durable once :meth:`add` returns: write-ahead log, synchronised on every commit. A removed set
    keeps its row, so that nobody else can publish its blob as their own.

    Raises:
        FedbitsError: the file is not an index, or one of a later fedbits.
    """

    def __init__(self, path: Path) -> None:
        self._rows = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._rows.execute("PRAGMA journal_mode = WAL")
            self._rows.execute("PRAGMA synchronous = FULL")
            version = self._rows.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._rows.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        except sqlite3.DatabaseError as error:
            self._rows.close()
            raise FedbitsError(f"{path} is not the index of an exchange: {error}") from error
        if version > _VERSION:
            self._rows.close()
            raise FedbitsError(
                f"{path} is of a later fedbits: its index has version {version}, not {_VERSION}"
            )

    def close(self) -> None:
        self._rows.close()

    def add(self, entries: Sequence[pb.Entry]) -> list[pb.Entry]:
        """Append all or none; the entries with their sequence numbers.

        An entry takes the place of the memory of a removed set with the same digest.

        Raises:
            sqlite3.Error: they are not stored.
        """
        added = []
        self._rows.execute("BEGIN IMMEDIATE")
        try:
            for entry in entries:
                self._rows.execute(
                    "DELETE FROM sets WHERE sha256 = ? AND removed_ms IS NOT NULL", (entry.sha256,)
                )
                added.append(self._insert(entry))
            self._rows.execute("COMMIT")
        except BaseException:
            if self._rows.in_transaction:
                self._rows.execute("ROLLBACK")
            raise
        return added

    def _insert(self, entry: pb.Entry) -> pb.Entry:
        values = (entry.sha256, entry.size, entry.node, entry.data_set, entry.recipe, entry.published_ms)
        places = "sha256, size, node, data_set, recipe, published_ms, entry"
        cursor = self._rows.execute(
            f"INSERT INTO sets ({places}) VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, entry.SerializeToString())
        )
        return _numbered(entry.SerializeToString(), cursor.lastrowid or 0)

    def find(self, sha256: bytes) -> Known | None:
        """The set of that digest, there or removed; None if it was never published, or is long forgotten."""
        row = self._rows.execute(
            "SELECT entry, sequence, removed_ms FROM sets WHERE sha256 = ?", (sha256,)
        ).fetchone()
        return row and Known(_numbered(row[0], row[1]), row[2] is not None)

    def page(self, asked: pb.ListRequest) -> tuple[list[pb.Entry], bool]:
        """The next sets that are there and chosen, about 1 MiB at most, and whether there may be more.

        Args:
            asked: its ``digest_prefix`` has at most 64 hexadecimal digits.
        """
        where = ["removed_ms IS NULL", "sequence > ?"]
        values: list[int | str | bytes] = [asked.after]
        for column in ("node", "data_set", "recipe"):
            if getattr(asked, column):
                where.append(f"{column} = ?")
                values.append(getattr(asked, column))
        if asked.digest_prefix:
            where.append("sha256 BETWEEN ? AND ?")
            values += [bytes.fromhex(asked.digest_prefix.ljust(64, digit)) for digit in "0f"]
        index = "INDEXED BY sqlite_autoindex_sets_1" if asked.digest_prefix else ""  # of UNIQUE sha256
        statement = (
            f"SELECT entry, sequence FROM sets {index} WHERE {' AND '.join(where)} ORDER BY sequence LIMIT ?"
        )
        found: list[pb.Entry] = []
        size = 0
        for entry, sequence in self._rows.execute(statement, (*values, _PAGE_ENTRIES)):
            found.append(_numbered(entry, sequence))
            size += len(entry)
            if size >= _PAGE_BYTES:
                break
        return found, size >= _PAGE_BYTES or len(found) == _PAGE_ENTRIES

    def last(self) -> int:
        """The highest sequence number that was ever given, or 0."""
        row = self._rows.execute("SELECT seq FROM sqlite_sequence WHERE name = 'sets'").fetchone()
        return row[0] if row else 0

    def there(self) -> Iterator[tuple[bytes, int, str]]:
        """Digest, bytes and node of every set that is there."""
        return iter(self._rows.execute("SELECT sha256, size, node FROM sets WHERE removed_ms IS NULL"))

    def outdated(self, before_ms: int | None, newest: int | None) -> list[tuple[bytes, int, str]]:
        """Digest, bytes and node of sets published before ``before_ms``, or not among a node's ``newest``."""
        statement = (
            "SELECT sha256, size, node FROM (SELECT sequence, sha256, size, node, published_ms, "
            "row_number() OVER (PARTITION BY node ORDER BY sequence DESC) AS place "
            "FROM sets WHERE removed_ms IS NULL) "
            "WHERE published_ms < ? OR place > ? ORDER BY sequence"
        )
        return self._rows.execute(statement, (before_ms or 0, newest or 1 << 62)).fetchall()

    def remove(self, digests: Sequence[bytes], now_ms: int, remembered: int = 100_000) -> None:
        """Mark sets as removed; of all removed ones, the newest ``remembered`` keep their rows."""
        self._rows.execute("BEGIN IMMEDIATE")
        try:
            self._rows.executemany(
                "UPDATE sets SET removed_ms = ? WHERE sha256 = ?", [(now_ms, digest) for digest in digests]
            )
            self._rows.execute(
                "DELETE FROM sets WHERE sequence IN (SELECT sequence FROM sets WHERE removed_ms IS NOT NULL "
                "ORDER BY sequence DESC LIMIT -1 OFFSET ?)",
                (remembered,),
            )
            self._rows.execute("COMMIT")
        except BaseException:
            if self._rows.in_transaction:
                self._rows.execute("ROLLBACK")
            raise


def _numbered(serialised: bytes, sequence: int) -> pb.Entry:
    entry = pb.Entry.FromString(serialised)
    entry.sequence = sequence
    return entry
