"""The server's side with prepared replies: what it follows, what it refuses, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from fake_nodes import FakeGrid, Handler, blob_of, digits
from flwr.app import ArrayRecord, Message

from fedbits.budget import Budget
from fedbits.distilled_set import DistilledSet
from nodes import careful_grid
from nodes.careful_grid import CarefulGrid
from nodes.codes import Code
from nodes.continual.strategy import MemoryExchange, Setting, Tested, components
from nodes.continual.sync import Update, digest, read_known, update_records
from nodes.messages import Facts, Terms, error_records, read_task
from nodes.roster import Member
from nodes.run_folder import RunFolder

CAPACITY = len(blob_of(seed=1)) + len(blob_of(seed=2)) + 40

Memory = Callable[[int], list[bytes]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(careful_grid, "POLL_INTERVAL", 0.01)


def node(memory: Memory, shrunk: int = 0) -> Handler:
    """A node whose memory after each round is known beforehand."""

    def handle(message: Message) -> list[Message]:
        task, _ = read_task(message.content)
        update = Update.of(memory(task.round), read_known(message.content), shrunk)
        return [Message(update_records(Facts(samples=9), update), reply_to=message)]

    return handle


def growing(turn: int) -> list[bytes]:
    return [blob_of(seed=s) for s in range(1, turn + 1)]


def failing(message: Message) -> list[Message]:
    return [Message(error_records(Code.OUT_OF_MEMORY), reply_to=message)]


def in_round(turn: int, other: Handler, usual: Handler) -> Handler:
    return lambda message: (other if read_task(message.content)[0].round == turn else usual)(message)


class Recorder:
    """A learner that notes the size of what it is given."""

    def __init__(self) -> None:
        self.sets: list[list[bytes]] = []

    def __call__(self, turn: int, sets: Sequence[DistilledSet]) -> Tested:
        self.sets.append([one.raw().numpy().tobytes() for one in sets])
        return Tested([[turn] * 10], [10] * 10, 0.0)


def exchange(folder: Path, handlers: Sequence[Handler], rounds: int = 2) -> tuple[MemoryExchange, Recorder]:
    learner = Recorder()
    strategy = MemoryExchange(
        Setting(
            members=[Member(n, 100 - n, Facts()) for n in range(len(handlers))],
            terms=[Terms(digits().spec, Budget(CAPACITY))] * len(handlers),
            folder=RunFolder.create(folder, "run", ""),
            learner=learner,
            timeout=60.0,
        )
    )
    grid = CarefulGrid(FakeGrid({100 - n: handler for n, handler in enumerate(handlers)}))
    strategy.start(grid, ArrayRecord(), num_rounds=rounds, timeout=60.0)
    return strategy, learner


def test_a_memory_is_followed_and_only_new_blobs_are_counted(tmp_path: Path) -> None:
    strategy, learner = exchange(tmp_path, [node(growing)])
    first, second = (result.outcomes[0] for result in strategy.results)
    one, two = blob_of(seed=1), blob_of(seed=2)
    assert (first.sent_blobs, first.sent_bytes) == (1, len(one) + 32)
    assert (second.sent_blobs, second.sent_bytes) == (1, len(two) + 64)
    assert second.memory_bytes == len(one) + len(two) and second.memory_samples == 40
    assert [result.down_bytes for result in strategy.results] == [0, 32]
    assert [len(sets) for sets in learner.sets] == [1, 2]
    assert [held.blob for held in strategy.memories[0].values()] == [one, two]
    assert sum(components(strategy.memories[0].values()).values()) == 8 * (len(one) + len(two))
    files = [path.read_bytes() for path in sorted((tmp_path / "run/blobs").rglob("*.fbit"))]
    assert files == [one, two]
    assert first.files == (f"blobs/round-1/node-000-{digest(one).hex()[:8]}.fbit",)


def test_what_a_node_replaced_is_replaced(tmp_path: Path) -> None:
    memory = {1: [blob_of(seed=1)], 2: [blob_of(ipc=1, seed=1), blob_of(seed=2)]}
    strategy, _ = exchange(tmp_path, [node(memory.__getitem__, shrunk=1)])
    outcome = strategy.results[1].outcomes[0]
    assert (outcome.shrunk, outcome.lost, outcome.sent_blobs) == (1, 0, 2)
    assert [held.blob for held in strategy.memories[0].values()] == memory[2]


def test_what_a_node_lost_is_kept_for_it_while_there_is_room(tmp_path: Path) -> None:
    fits = node(lambda turn: [blob_of(seed=turn)])
    full = node(lambda turn: [blob_of(seed=1)] if turn == 1 else [blob_of(seed=2), blob_of(seed=3)])
    strategy, _ = exchange(tmp_path, [fits, full])
    assert [o.lost for o in strategy.results[1].outcomes] == [1, 1]
    assert [held.blob for held in strategy.memories[0].values()] == growing(2)
    assert [held.blob for held in strategy.memories[1].values()] == [blob_of(seed=2), blob_of(seed=3)]


def test_a_lost_node_leaves_its_memory_behind_and_catches_up(tmp_path: Path) -> None:
    handlers = [node(growing), in_round(1, failing, node(growing)), in_round(2, failing, node(growing))]
    strategy, learner = exchange(tmp_path, handlers)
    assert [[o.code for o in r.outcomes] for r in strategy.results] == [
        [Code.OK, Code.OUT_OF_MEMORY, Code.OK],
        [Code.OK, Code.OK, Code.OUT_OF_MEMORY],
    ]
    assert strategy.results[1].outcomes[1].sent_blobs == 2  # what was lost before is sent now
    assert strategy.results[1].outcomes[2].memory_bytes == len(blob_of(seed=1))
    assert [len(sets) for sets in learner.sets] == [2, 5]


def claims_more(message: Message) -> list[Message]:
    update = Update((digest(b"never sent"),), {}, 0)
    return [Message(update_records(Facts(), update), reply_to=message)]


def test_what_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    bad: dict[Code, Handler] = {
        Code.MISSING: claims_more,
        Code.OVER_BUDGET: node(lambda turn: [blob_of(seed=s) for s in (1, 2, 3)]),
        Code.CORRUPT: node(lambda turn: [blob_of(seed=1), blob_of(seed=2)[:-3]]),
        Code.WRONG_TASK: node(lambda turn: [blob_of("other")]),
    }
    handlers = [in_round(2, handler, node(growing)) for handler in bad.values()]
    strategy, learner = exchange(tmp_path, [*handlers, node(growing)])
    last = strategy.results[1].outcomes
    assert [o.code for o in last] == [*bad, Code.OK]
    assert [o.memory_bytes for o in last[:-1]] == [len(blob_of(seed=1))] * len(bad)
    assert all(o.lost == 0 for o in last)
    assert len(learner.sets[1]) == len(bad) + 2
    kept = {path.name for path in (tmp_path / "run/blobs/round-2").iterdir()}
    assert kept == {f"node-004-{digest(blob_of(seed=2)).hex()[:8]}.fbit"}
    assert len(list((tmp_path / "run/rejected/round-2").iterdir())) == 2 + 1 + 1


def test_a_round_without_any_memory_is_survived(tmp_path: Path) -> None:
    strategy, _ = exchange(tmp_path, [in_round(1, failing, node(growing))])
    assert strategy.results[0].tested is None and strategy.results[0].seen == ()
    assert strategy.results[1].tested is not None and strategy.results[1].seen == tuple(range(10))


def test_accuracy_is_on_the_classes_seen() -> None:
    tested = Tested([[5, 0, 1], [10, 0, 0]], [10, 20, 0], 0.0)
    assert tested.accuracies([0]) == [0.5, 1.0]
    assert tested.accuracies([0, 1]) == [5 / 30, 10 / 30]
    assert tested.accuracies([2]) == []
