"""Runs that are interrupted, as by Ctrl-C."""

from __future__ import annotations

from contextlib import AbstractContextManager

from fedbits.progress import Task


class StopAt:
    """Progress that is interrupted when the distillation reaches a step; it keeps the losses it is told."""

    def __init__(self, step: int = 10**9) -> None:
        self._step, self._left = step, 0
        self.losses: list[float] = []

    def task(self, title: str, total: int, done: int = 0) -> AbstractContextManager[Task]:
        self._left = self._step - done if title == "distilling" else 10**9
        return self  # type: ignore[return-value]

    def advance(self, steps: int = 1, note: str = "") -> None:
        if note.startswith("loss"):
            self.losses.append(float(note.split()[1].rstrip(",")))
        self._left -= steps
        if self._left < 0:
            raise KeyboardInterrupt

    def __enter__(self) -> StopAt:
        return self

    def __exit__(self, *failure: object) -> None:
        pass
