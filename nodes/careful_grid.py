"""Messages exchanged one by one, so that a bad node costs the others nothing.

Flower's own ``send_and_receive`` pulls all replies in one call: a reply that cannot be inflated raises in the
server, and one that is slow to pull outlives the timeout.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable, Iterator

from flwr.app import Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from nodes.codes import Code
from nodes.messages import local_error
from nodes.stopping import StoppedError

logger = logging.getLogger("fedbits.nodes")

PULL_PATIENCE = 1.0  # seconds a pull may hold up the others before they go on without it
PULL_ATTEMPTS = 3
POLL_INTERVAL = 0.1


class CarefulGrid(Grid):
    """A grid around another whose replies arrive one at a time, each bounded in time and none able to raise.

    Args:
        inner: the grid Flower gave the server.
        stop: when set, every wait ends with :class:`StoppedError`.
        interval: seconds between two looks for replies; :data:`POLL_INTERVAL` when left out.
    """

    def __init__(
        self, inner: Grid, stop: threading.Event | None = None, interval: float | None = None
    ) -> None:
        self.inner = inner
        self.interval = interval or POLL_INTERVAL
        self.stop = stop or threading.Event()

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Send ``messages`` and yield one reply to each, in the order of arrival.

        A reply that does not come is one with an error of this side
        (:func:`nodes.messages.local_error`): ``unreachable``, ``unreadable``, or ``timeout``.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        waiting: dict[str, Message] = {}
        for message in messages:
            number = self._push(message)
            if number is None:
                yield local_error(Code.UNREACHABLE, message)
            else:
                waiting[number] = message
        yield from _Collection(self, waiting, deadline).replies()

    def _push(self, message: Message) -> str | None:
        try:
            numbers = list(self.inner.push_messages([message]))
        except Exception:
            logger.exception("a task could not be sent")
            return None
        return numbers[0] if numbers and numbers[0] else None

    def pause(self, seconds: float) -> None:
        """Wait, or raise :class:`StoppedError`."""
        if self.stop.wait(seconds):
            raise StoppedError

    # The rest of Flower's interface is the inner grid's.

    def set_run(self, run: Run) -> None:
        self.inner.set_run(run)

    @property
    def run(self) -> Run:
        return self.inner.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return self.inner.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        return self.inner.get_node_ids()

    def get_nodes(self) -> Iterable[NodeInfo]:
        return self.inner.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self.inner.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self.inner.pull_messages(message_ids)


def careful(grid: Grid) -> CarefulGrid:
    """A strategy's grid as the one that it was started with; raises TypeError where it was another."""
    if not isinstance(grid, CarefulGrid):
        raise TypeError(f"strategies of fedbits work on a CarefulGrid, and this is a {type(grid).__name__}")
    return grid


class _Collection:
    """The replies to one set of messages; each pull has a thread of its own, left behind if it hangs."""

    def __init__(self, grid: CarefulGrid, waiting: dict[str, Message], deadline: float | None) -> None:
        self.grid, self.waiting, self.deadline = grid, waiting, deadline
        self.pulled: queue.SimpleQueue[tuple[str, list[Message] | Exception]] = queue.SimpleQueue()
        self.pulling: set[str] = set()
        self.failures: dict[str, int] = {}

    def replies(self) -> Iterator[Message]:
        while self.waiting:
            last = self.deadline is not None and time.monotonic() >= self.deadline
            for number in list(self.waiting):
                yield from self._pull(number)
            if last:
                break
            if self.waiting:
                self.grid.pause(self.grid.interval)
        for message in self.waiting.values():
            yield local_error(Code.TIMEOUT, message)

    def _pull(self, number: str) -> Iterator[Message]:
        if number not in self.waiting:  # it arrived while another was pulled
            return
        if number not in self.pulling:
            self.pulling.add(number)
            threading.Thread(target=self._pull_in_thread, args=(number,), daemon=True).start()
            patience = PULL_PATIENCE
        else:
            patience = 0.0
        give_up = time.monotonic() + patience
        while number in self.pulling:
            try:
                arrived = self.pulled.get(timeout=max(give_up - time.monotonic(), 0.0) or 1e-3)
            except queue.Empty:
                return
            yield from self._settle(*arrived)

    def _pull_in_thread(self, number: str) -> None:
        try:
            self.pulled.put((number, list(self.grid.inner.pull_messages([number]))))
        except Exception as error:
            self.pulled.put((number, error))

    def _settle(self, number: str, result: list[Message] | Exception) -> Iterator[Message]:
        self.pulling.discard(number)
        if isinstance(result, Exception):
            logger.warning("a reply could not be pulled", exc_info=result)
            self.failures[number] = self.failures.get(number, 0) + 1
            if self.failures[number] >= PULL_ATTEMPTS:
                yield local_error(Code.UNREADABLE, self.waiting.pop(number))
        elif result:
            task, reply = self.waiting.pop(number), result[0]
            if _answers(reply, task):
                yield reply
            else:  # where a node went away, Flower answers in its place, and under another address
                yield local_error(Code.UNREACHABLE if reply.has_error() else Code.UNREADABLE, task)


def _answers(reply: Message, task: Message) -> bool:
    """Whether a reply has something in it and comes from where it says; its sender wrote its metadata."""
    return reply.metadata.src_node_id == task.metadata.dst_node_id and (
        reply.has_error() or reply.has_content()
    )
