"""Processes that must go on: started, restarted where they end by themselves, and ended together."""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

from fedbits.errors import FedbitsError

logger = logging.getLogger("fedbits.deploy")

LOOK_SECONDS = 0.25
GRACE_SECONDS = 10.0
RESTARTS, RESTART_WINDOW = 5, 60.0  # so often within so many seconds; beyond, something is wrong for good


@dataclass
class Child:
    """One process by its command; ``name`` is what logs call it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Start it, in a session of its own: Ctrl-C is for the one who supervises."""
        self.starts = [t for t in self.starts if t > time.monotonic() - RESTART_WINDOW]
        self.starts.append(time.monotonic())
        self.process = subprocess.Popen(
            list(self.command),
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=2,  # standard output is for our one object
            start_new_session=True,
        )
        logger.info("%s started as process %d", self.name, self.process.pid)

    def ended(self) -> int | None:
        """Its exit code, or None while it runs."""
        return None if self.process is None else self.process.poll()

    def end(self) -> None:
        """SIGTERM, and SIGKILL where that does not help."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning("%s does not end: killed", self.name)
            self.process.kill()
            self.process.wait()


def watch(children: Sequence[Child], stop: threading.Event) -> None:
    """Restart children that end, until ``stop`` is set.

    Raises:
        FedbitsError: one ends again and again.
    """
    while not stop.wait(LOOK_SECONDS):
        for child in children:
            code = child.ended()
            if code is None:
                continue
            if len(child.starts) > RESTARTS:
                raise FedbitsError(
                    f"the {child.name} ended {len(child.starts)} times within {RESTART_WINDOW:.0f} seconds "
                    f"(the last time with code {code}); its log says why"
                )
            logger.warning("%s ended with code %d: it is started again", child.name, code)
            child.start()


def end_all(children: Sequence[Child]) -> None:
    """End the children, the last one first."""
    for child in reversed(children):
        child.end()


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set."""
    stop = threading.Event()

    def told(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
