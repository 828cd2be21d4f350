"""What a run asks of whatever learns from a stream."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from fedbits.data import Labelled
from fedbits.progress import Progress


class Score(NamedTuple):
    """Correctly classified test samples of one experience, and how many there are."""

    correct: int
    total: int


class Learner(Protocol):
    """Learns one experience after the other; between two it can be saved and restored."""

    @property
    def memory_bytes(self) -> int:
        """What the replay memory takes now."""
        ...

    @property
    def memory_samples(self) -> int: ...

    def learn(self, experience: int, progress: Progress) -> list[Score]:
        """Learn ``experience`` (0 ..); the scores on it and on every one before it, in order."""
        ...

    def memory(self) -> Labelled | None:
        """The samples in memory, decoded; None while there are none."""
        ...

    def blobs(self) -> list[bytes]:
        """The blobs of a compressed memory; none of any other."""
        ...

    def state(self) -> dict[str, Any]:
        """Tensors, numbers and containers of them, from which :meth:`restore` goes on."""
        ...

    def restore(self, state: dict[str, Any]) -> None: ...
