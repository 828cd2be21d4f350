"""How long work tells what it is doing, without the core knowing who listens."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol


class Task(Protocol):
    """One piece of long work with a known number of steps."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """``steps`` more are done; ``note`` is a short figure worth showing (a loss, a size)."""
        ...


class Progress(Protocol):
    """Something that shows tasks: a bar in a terminal, a log, or nothing."""

    def task(self, title: str, total: int, done: int = 0) -> AbstractContextManager[Task]:
        """Show ``title`` with ``total`` steps, ``done`` of them already done (work that is resumed)."""
        ...


class _Silent:
    def advance(self, steps: int = 1, note: str = "") -> None:
        pass

    def task(self, title: str, total: int, done: int = 0) -> AbstractContextManager[Task]:
        return self

    def __enter__(self) -> Task:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


SILENT: Progress = _Silent()
