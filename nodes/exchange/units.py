"""Sizes and durations as people write them."""

from __future__ import annotations

import re

from fedbits.errors import ConfigError

_SIZES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_TIMES = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes, at least 1, of ``"64MiB"``, ``"1 GB"`` or ``"4096"``.

    Raises:
        ConfigError: it cannot be read, or is less than a byte.
    """
    size = int(_parsed(text, {"": 1, **_SIZES}, "size", "'64MiB', '10 GB' or '4096'"))
    if size < 1:
        raise ConfigError(f"the size {text!r} is less than one byte: write it like '64MiB'")
    return size


def parse_duration(text: str) -> float:
    """Seconds, above 0, of ``"30d"``, ``"12h"``, ``"5m"`` or ``"10s"``.

    Raises:
        ConfigError: it cannot be read, or is no time at all.
    """
    seconds = _parsed(text, _TIMES, "duration", "'30d', '12h', '5m' or '10s'")
    if seconds <= 0:
        raise ConfigError(f"the duration {text!r} is no time at all: write it like '30d'")
    return seconds


def _parsed(text: str, units: dict[str, int], what: str, examples: str) -> float:
    match = _FORM.fullmatch(text)
    if not match or match[2].lower() not in units:
        raise ConfigError(f"the {what} {text!r} cannot be read: write it like {examples}")
    return float(match[1]) * units[match[2].lower()]
