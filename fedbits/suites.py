"""Suites of benchmarks: what they run, what of it was run before, and running the rest.

A folder of benchmarks has a file ``suites.toml`` with a table for each suite: ``about`` it, and the commands
of each scale and of its figures, each a script of the folder and its options. Scripts keep what they have
measured, so that one that was stopped goes on; here only whole commands count.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fedbits.errors import ConfigError, unknown
from fedbits.files import write_atomic

Scale = Literal["laptop", "paper"]
State = Literal["done", "done before", "failed", "not begun"]
FIGURES = "figures"
SUITES_FILE = "suites.toml"
_STANDARD_ERROR = 2  # its descriptor


@dataclass(frozen=True)
class Suite:
    """``commands`` by scale, and those that draw figures (by the name :data:`FIGURES`)."""

    name: str
    about: str
    commands: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Outcome:
    """What became of one command of a suite; ``seconds`` that it took when it was run."""

    suite: str
    command: str
    state: State
    seconds: float = 0.0


def read_suites(folder: Path) -> dict[str, Suite]:
    """The suites of a folder of benchmarks, by name.

    Raises:
        ConfigError: the folder has no suites, or they are not as they should be.
    """
    path = folder / SUITES_FILE
    try:
        tables = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} is not there: run this in a checkout of fedbits, or name its benchmarks"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    return {name: _suite(folder, name, table) for name, table in tables.items()}


def _suite(folder: Path, name: str, table: Any) -> Suite:
    lists = {key: value for key, value in table.items() if key != "about"} if isinstance(table, dict) else {}
    expected = {"laptop", "paper", FIGURES}
    if not lists or not set(lists) <= expected or not isinstance(table.get("about"), str):
        raise ConfigError(
            f"suite {name!r} is {table!r}: expected about, and lists named {', '.join(sorted(expected))}"
        )
    for command in (command for commands in lists.values() for command in commands):
        script = folder / shlex.split(command)[0]
        if not script.is_file():
            raise ConfigError(f"suite {name!r} runs {script}, which is not there")
    return Suite(name, table["about"], {key: tuple(commands) for key, commands in lists.items()})


def chosen(suites: dict[str, Suite], names: Sequence[str]) -> list[Suite]:
    """The suites of these ``names``; all where there are none.

    Raises:
        ConfigError: a name is unknown.
    """
    for name in names:
        if name not in suites:
            raise ConfigError(unknown("suite", name, suites))
    return [suites[name] for name in names or suites]


class Runs:
    """Runs commands of ``benchmarks``, and remembers in ``folder`` which have ended well."""

    def __init__(self, benchmarks: Path, folder: Path) -> None:
        self._benchmarks, self._folder = benchmarks.resolve(), folder

    def __call__(
        self,
        suites: Iterable[Suite],
        kind: str,
        again: bool = False,
        minutes: float | None = None,
        begins: Callable[[str], None] = lambda command: None,
    ) -> Iterator[Outcome]:
        """Run all commands of ``kind`` (a scale, or the figures), one after the other.

        Args:
            again: whether to run those that have ended well before.
            minutes: none begins after so many; those left are told.
            begins: called with each command before it runs.
        """
        started = time.monotonic()
        for suite in suites:
            for command in suite.commands.get(kind, ()):
                if self._mark(command).exists() and not again:
                    yield Outcome(suite.name, command, "done before")
                elif minutes is not None and time.monotonic() - started > 60 * minutes:
                    yield Outcome(suite.name, command, "not begun")
                else:
                    begins(command)
                    yield self._run(suite, command)

    def _mark(self, command: str) -> Path:
        return self._folder / f"{hashlib.sha256(command.encode()).hexdigest()[:16]}.json"

    def _run(self, suite: Suite, command: str) -> Outcome:
        script, *options = shlex.split(command)
        words = [sys.executable, str(self._benchmarks / script), *options]
        began = time.monotonic()
        # What scripts print is for the person; standard output belongs to whoever called this.
        code = subprocess.run(
            words, cwd=self._benchmarks.parent, stdout=_STANDARD_ERROR, check=False
        ).returncode
        outcome = Outcome(
            suite.name, command, "failed" if code else "done", round(time.monotonic() - began, 1)
        )
        if outcome.state == "done":
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self._mark(command), json.dumps(asdict(outcome)).encode())
        return outcome
