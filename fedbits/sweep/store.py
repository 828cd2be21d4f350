"""The folder of a sweep: what is done stays done, and is never mixed with what was done otherwise."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedbits.errors import ConfigError
from fedbits.files import write_atomic
from fedbits.sweep.grid import Point
from fedbits.sweep.result import Result


@dataclass(frozen=True)
class Store:
    """``sweep.json`` holds the conditions, ``points/`` a JSON file for each point that is done."""

    path: Path

    @classmethod
    def open(cls, path: Path, conditions: dict[str, Any]) -> Store:
        """The folder ``path``, made where it is not there.

        Raises:
            ConfigError: it is of a sweep under other conditions, holds something else, or is no folder.
        """
        store, wanted = cls(path), json.loads(json.dumps(conditions))
        if path.exists() and not path.is_dir():
            raise ConfigError(f"cannot write {path}: it is a file; give a folder with --out")
        if store._conditions.is_file():
            store._compare(wanted)
        elif path.is_dir() and any(path.iterdir()):
            raise ConfigError(f"{path} holds something else than a sweep: give a new folder with --out")
        else:
            write_atomic(store._conditions, json.dumps(wanted, indent=1) + "\n")
        return store

    @property
    def _conditions(self) -> Path:
        return self.path / "sweep.json"

    def _compare(self, wanted: dict[str, Any]) -> None:
        try:
            found = json.loads(self._conditions.read_text())
            different = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
        except (ValueError, TypeError, AttributeError, OSError) as error:
            raise ConfigError(f"{self._conditions} is damaged: give a new folder with --out") from error
        if not different:
            return
        name = different[0]
        before, now = found.get(name), wanted.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            inner = next(key for key in {**now, **before} if before.get(key) != now.get(key))
            name, before, now = f"{name} {inner}", before.get(inner), now.get(inner)
        change = "other data" if name == "fingerprint" else f"{name} {before}, not {now}"
        raise ConfigError(
            f"{self.path} holds a sweep with {change}: give the same settings, or a new folder with --out"
        )

    def checkpoint(self, point: Point) -> Path:
        """Where the distillation of ``point`` can be taken up again."""
        return self.path / "points" / f"{point.key}.checkpoint"

    def find(self, point: Point) -> Result | None:
        """What is known of ``point``; None also where its file cannot be read."""
        try:
            return Result.of_record(point, json.loads(self._file(point).read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, result: Result) -> None:
        write_atomic(self._file(result.point), json.dumps(result.record(), indent=1) + "\n")
        self.checkpoint(result.point).unlink(missing_ok=True)

    def _file(self, point: Point) -> Path:
        return self.path / "points" / f"{point.key}.json"
