"""Logs as JSON, one object a line on standard error.

Python's own logging with a formatter of ten lines: Flower and grpc log through it, too, and a library for
structured logs would bring nothing that is used here.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO


class JsonLines(logging.Formatter):
    """``{"time": ..., "level": ..., "event": ...}``, and what a record has in ``extra={"facts": {...}}``."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def log_json(stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Let every logger of this process write JSON lines; for a process of its own, not for a library."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
