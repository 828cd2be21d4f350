"""Entries as people and programs read them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedbits.cli.common import size_text
from fedbits.wire import exchange_pb2 as pb

_WIDE = 400
_SHORT = 12  # of the 64 digits of a SHA-256: enough to fetch by


def as_json(entry: pb.Entry) -> dict[str, Any]:
    """JSON-able facts of one set."""
    return {
        "sequence": entry.sequence,
        "sha256": entry.sha256.hex(),
        "bytes": entry.size,
        "bits": 8 * entry.size,
        "node": entry.node,
        "published": _time(entry).isoformat(timespec="milliseconds"),
        "data_set": entry.data_set,
        "shape": list(entry.shape),
        "classes": entry.classes,
        "class_counts": list(entry.class_counts) or None,
        "samples": entry.samples,
        "recipe": entry.recipe,
        "storage": entry.storage,
        "bits_per_value": entry.bits or None,
        "labels": entry.labels,
        "parents": [parent.hex() for parent in entry.parents],
    }


def as_line(entry: pb.Entry) -> str:
    """One set in one line."""
    return (
        f"{entry.sequence}  {entry.sha256.hex()[:_SHORT]}  {entry.node}  {entry.data_set or '(unnamed)'}, "
        f"{entry.samples:,} samples, {_present(entry)} classes, {entry.recipe or '(unnamed)'}, "
        f"{size_text(entry.size)}"
    )


def print_entries(entries: Iterable[pb.Entry]) -> None:
    """A table on standard output; in a file or pipe, as wide as it wants to be."""
    table = Table(box=None, header_style="dim")
    for name, numeric in _COLUMNS:
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for entry in entries:
        cells = (
            str(entry.sequence),
            entry.sha256.hex()[:_SHORT],
            entry.node,
            entry.data_set or "(unnamed)",
            entry.recipe or "(unnamed)",
            f"{entry.samples:,}",
            _present(entry),
            f"{entry.size:,}",
            _time(entry).strftime("%Y-%m-%d %H:%M:%S"),
        )
        table.add_row(*map(Text, cells))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE).print(table)


_COLUMNS = (
    ("number", True),
    ("SHA-256", False),
    ("node", False),
    ("data set", False),
    ("recipe", False),
    ("samples", True),
    ("classes", True),
    ("bytes", True),
    ("published (UTC)", False),
)


def _present(entry: pb.Entry) -> str:
    """Classes that have samples, of all."""
    if not entry.class_counts:
        return f"of {entry.classes:,}"
    return f"{sum(count > 0 for count in entry.class_counts)} of {entry.classes}"


def _time(entry: pb.Entry) -> datetime:
    return datetime.fromtimestamp(entry.published_ms / 1000, UTC)
