"""Ending a run that goes on in another thread than the one that was interrupted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fedbits.progress import Progress, Task


class StoppedError(Exception):
    """The run is being stopped from outside."""


class Stoppable:
    """A progress that raises :class:`StoppedError` in the work it shows once ``stop`` is set."""

    def __init__(self, inner: Progress, stop: threading.Event) -> None:
        self.inner, self.stop = inner, stop

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Task]:
        with self.inner.task(title, total, done) as task:
            yield _StoppableTask(task, self.stop)


class _StoppableTask:
    def __init__(self, inner: Task, stop: threading.Event) -> None:
        self.inner, self.stop = inner, stop

    def advance(self, steps: int = 1, note: str = "") -> None:
        if self.stop.is_set():
            raise StoppedError
        self.inner.advance(steps, note)
