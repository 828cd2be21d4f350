"""The access list: who may publish and fetch, and how much; read anew whenever its file changes."""

from __future__ import annotations

import logging
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from fedbits.errors import ConfigError
from nodes.exchange.identity import is_name
from nodes.exchange.refusals import Reason, RefusedError
from nodes.exchange.units import parse_size

logger = logging.getLogger("fedbits.exchange")

_PERIOD = 1.0  # seconds between looks at the file
_SWITCHES = ("publish", "fetch", "revoked")


class Right(StrEnum):
    """What a call needs; listing and watching are fetching."""

    PUBLISH = "publish"
    FETCH = "fetch"


@dataclass(frozen=True)
class Rule:
    """What one node may do; ``quota`` in bytes, or None for that of the exchange."""

    publish: bool = False
    fetch: bool = False
    revoked: bool = False
    quota: int | None = None

    def check(self, right: Right) -> None:
        """Raises :class:`RefusedError` unless the node has ``right``."""
        if self.revoked:
            raise RefusedError(Reason.REVOKED)
        if not getattr(self, right.value):
            raise RefusedError(
                Reason.FORBIDDEN, f"the access list does not allow the caller to {right.value}"
            )


EVERYTHING = Rule(publish=True, fetch=True)


@dataclass(frozen=True)
class AccessList:
    """Rules by the name of the node, and the one for all others: without a file, they may do everything."""

    default: Rule = EVERYTHING
    nodes: Mapping[str, Rule] = field(default_factory=dict)

    def rule(self, node: str) -> Rule:
        return self.nodes.get(node, self.default)

    @classmethod
    def parse(cls, text: str) -> AccessList:
        """Read the TOML of an access list: tables ``[default]`` and ``[nodes.NAME]``.

        Raises:
            ConfigError: it is not TOML, or says something that is not known.
        """
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"the access list is not TOML: {error}") from error
        unknown = sorted(set(document) - {"default", "nodes"})
        if unknown:
            raise ConfigError(f"the access list has {unknown[0]!r}: expected [default] and [nodes.NAME]")
        nodes = _table(document.get("nodes", {}), "nodes")
        for name in nodes:
            if not is_name(name):
                raise ConfigError(f"the access list names {name[:120]!r}, which no node can be called")
        rules = {name: _rule(table, f"nodes.{name}") for name, table in nodes.items()}
        return cls(_rule(document.get("default", {}), "default"), rules)


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"the access list's {where} is {value!r}: expected a table")
    return value


def _rule(value: Any, where: str) -> Rule:
    table, known = _table(value, where), (*_SWITCHES, "quota")
    for key, given in table.items():
        if key not in known:
            raise ConfigError(f"the access list's [{where}] has {key!r}: expected {', '.join(known)}")
        if key in _SWITCHES and not isinstance(given, bool):
            raise ConfigError(f"the access list's [{where}] has {key} = {given!r}: expected true or false")
    quota = table.get("quota")
    switches = {key: table[key] for key in _SWITCHES if key in table}
    return Rule(**switches, quota=None if quota is None else parse_size(str(quota)))


class Access:
    """The access list of a file, or one that allows everything where there is no file.

    A file that has become unreadable changes nothing: the rules that were last read hold on, so that a slip
    of the pen neither locks everybody out nor lets anybody in. The log says so.

    Raises:
        ConfigError: the file cannot be read to begin with.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._list, self._seen, self._looked = AccessList(), self._stamp(), clock()
        if path is not None:
            self._list = self._read(path)

    def rule(self, node: str) -> Rule:
        """What ``node`` may do, by a list that was looked at within the last second."""
        if self._path is not None and self._clock() - self._looked >= _PERIOD:
            self._looked = self._clock()
            self._refresh(self._path)
        return self._list.rule(node)

    def _refresh(self, path: Path) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._list = self._read(path)
            logger.info("access list read anew", extra={"facts": {"nodes": len(self._list.nodes)}})
        except ConfigError as error:
            logger.error("access list not readable: the former holds", extra={"facts": {"error": str(error)}})

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat() if self._path else None
        except OSError:
            return None
        return found and (found.st_mtime_ns, found.st_size, found.st_ino)

    @staticmethod
    def _read(path: Path) -> AccessList:
        try:
            return AccessList.parse(path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigError(f"cannot read the access list {path}: {reason}") from error
