"""The log of a run: a file in its folder."""

from __future__ import annotations

import logging
from pathlib import Path

LOG_FORMAT = "%(asctime)s %(name)s %(levelname)s: %(message)s"


def log_to(path: Path, name: str) -> logging.Handler:
    """Let the logger ``name`` write to the file ``path``, too; the handler that does it, made only once."""
    logger = logging.getLogger(name)
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler) and handler.baseFilename == str(path.resolve()):
            return handler
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    handler.setLevel(logging.INFO)
    logger.addHandler(handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    return handler
