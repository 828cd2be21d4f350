from __future__ import annotations

import threading
import time

import pytest
from fake_nodes import FakeGrid, Handler
from flwr.app import Error, Message, RecordDict

from nodes import careful_grid
from nodes.careful_grid import CarefulGrid
from nodes.codes import Code
from nodes.messages import Facts, read_reply, reply_records
from nodes.stopping import Stoppable, StoppedError


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(careful_grid, "PULL_PATIENCE", 0.05)
    monkeypatch.setattr(careful_grid, "POLL_INTERVAL", 0.01)


def answer(message: Message) -> list[Message]:
    return [Message(reply_records(Facts(samples=message.metadata.dst_node_id), b"x"), reply_to=message)]


def raise_always(message: Message) -> list[Message]:
    raise ValueError("a reply that cannot be inflated")


def hang(message: Message) -> list[Message]:
    time.sleep(5)
    return []


def never(message: Message) -> list[Message]:
    return []


def impersonate(message: Message) -> list[Message]:
    reply = answer(message)[0]
    reply.metadata.__dict__["_src_node_id"] = 1
    return [reply]


def gone(message: Message) -> list[Message]:
    """What Flower says in place of a node that went away."""
    reply = Message(Error(3, "Node Unavailable"), reply_to=message)
    reply.metadata.__dict__["_src_node_id"] = 1
    return [reply]


def raise_once() -> Handler:
    calls = []

    def handler(message: Message) -> list[Message]:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("the connection broke")
        return answer(message)

    return handler


def codes(handlers: dict[int, Handler], timeout: float = 0.6) -> dict[int, Code]:
    messages = [Message(RecordDict(), dst_node_id=n, message_type="train") for n in handlers]
    replies = CarefulGrid(FakeGrid(handlers)).send_and_receive(messages, timeout=timeout)
    return {reply.metadata.src_node_id: read_reply(reply).code for reply in replies}


def test_one_bad_node_costs_only_itself() -> None:
    handlers: dict[int, Handler] = {
        1: answer,
        2: raise_always,
        3: hang,
        4: never,
        5: impersonate,
        6: raise_once(),
        7: answer,
        8: gone,
    }
    started = time.monotonic()
    assert codes(handlers) == {
        1: Code.OK,
        2: Code.UNREADABLE,
        3: Code.TIMEOUT,
        4: Code.TIMEOUT,
        5: Code.UNREADABLE,
        6: Code.OK,
        7: Code.OK,
        8: Code.UNREACHABLE,
    }
    assert time.monotonic() - started < 4  # the one that hangs for 5 s was left behind


def test_a_task_that_cannot_be_sent_is_unreachable() -> None:
    class Refusing(FakeGrid):
        def push_messages(self, messages):  # type: ignore[no-untyped-def]
            (message,) = messages
            if message.metadata.dst_node_id == 2:
                raise ConnectionError
            return [""] if message.metadata.dst_node_id == 3 else super().push_messages([message])

    messages = [Message(RecordDict(), dst_node_id=n, message_type="train") for n in (1, 2, 3)]
    grid = CarefulGrid(Refusing(dict.fromkeys((1, 2, 3), answer)))
    replies = grid.send_and_receive(messages, timeout=5)
    assert {r.metadata.src_node_id: read_reply(r).code for r in replies} == {
        1: Code.OK,
        2: Code.UNREACHABLE,
        3: Code.UNREACHABLE,
    }


def test_a_reply_that_is_there_at_the_deadline_still_counts() -> None:
    assert codes({1: answer}, timeout=0.0) == {1: Code.OK}


def test_nothing_sent_is_nothing_received() -> None:
    assert list(CarefulGrid(FakeGrid({})).send_and_receive([], timeout=None)) == []


def test_a_stop_ends_the_wait() -> None:
    stop = threading.Event()
    grid = CarefulGrid(FakeGrid({1: never}), stop)
    replies = grid.send_and_receive([Message(RecordDict(), dst_node_id=1, message_type="train")], timeout=60)
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(StoppedError):
        list(replies)


def test_a_stop_ends_work_that_shows_progress() -> None:
    from fedbits.progress import SILENT

    stop = threading.Event()
    with Stoppable(SILENT, stop).task("work", 2) as task:
        task.advance()
        stop.set()
        with pytest.raises(StoppedError):
            task.advance()
