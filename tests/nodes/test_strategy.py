from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_nodes import FakeGrid, Handler, blob_of, digits
from flwr.app import ArrayRecord, ConfigRecord, Error, Message

from fedbits.budget import Budget
from fedbits.distilled_set import DistilledSet
from fedbits.evaluate import build_network, protocol
from nodes import careful_grid, models
from nodes.careful_grid import CarefulGrid
from nodes.codes import Code
from nodes.messages import PROTOCOL, Facts, Terms, error_records, read_task, reply_records
from nodes.roster import Member
from nodes.run_folder import REJECTED_BYTES, RunFolder
from nodes.strategy import DistilledExchange, Exchange, Learned, Outcome

BUDGET = "2KiB"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(careful_grid, "POLL_INTERVAL", 0.01)


def send(blob: bytes) -> Handler:
    facts = Facts(samples=50, class_counts=(5,) * 10, seconds=0.5)
    return lambda message: [Message(reply_records(facts, blob), reply_to=message)]


def of_another_version(message: Message) -> list[Message]:
    records = reply_records(Facts(), blob_of())
    records["fedbits.protocol"] = ConfigRecord({"version": [PROTOCOL[0] + 1, 0]})
    return [Message(records, reply_to=message)]


def raise_in_server(message: Message) -> list[Message]:
    raise ValueError("cannot be inflated")


HOSTILE: dict[Code, Handler] = {
    Code.NODE_ERROR: lambda message: [Message(Error(2, "Traceback ..."), reply_to=message)],
    Code.NOT_A_BLOB: send(b"garbage" * 50),
    Code.OVER_BUDGET: send(blob_of() * 10),
    Code.CORRUPT: send(blob_of()[:-3]),
    Code.WRONG_TASK: send(blob_of("other")),
    Code.OUT_OF_MEMORY: lambda message: [Message(error_records(Code.OUT_OF_MEMORY), reply_to=message)],
    Code.MISSING: lambda message: [Message(reply_records(Facts()), reply_to=message)],
    Code.PROTOCOL: of_another_version,
    Code.UNREADABLE: raise_in_server,
    Code.TIMEOUT: lambda message: [],
}


class Recorder:
    """A learner that notes what it is given."""

    def __init__(self) -> None:
        self.sets: list[list[bytes]] = []
        how = protocol("laptop", width=8)
        self.arrays = models.to_arrays(build_network(digits().test, how, seed=1))

    def __call__(self, turn: int, sets: Sequence[DistilledSet]) -> Learned:
        self.sets.append([bytes(s.raw().numpy().tobytes()) for s in sets])
        return Learned([0.5 + turn / 10], 0.0, self.arrays)


def exchange(
    handlers: Sequence[Handler],
    folder: Path,
    rounds: int = 1,
    learner: Recorder | None = None,
    timeout: float = 60.0,
) -> DistilledExchange:
    terms = Terms(digits().spec, Budget.parse(BUDGET))
    strategy = DistilledExchange(
        Exchange(
            members=[Member(n, 100 - n, Facts()) for n in range(len(handlers))],
            terms=[terms] * len(handlers),
            budgets=[BUDGET] * len(handlers),
            folder=RunFolder.create(folder, "run", ""),
            learner=learner or Recorder(),
            timeout=timeout,
        )
    )
    grid = CarefulGrid(FakeGrid({100 - n: handler for n, handler in enumerate(handlers)}))
    strategy.start(grid, ArrayRecord(), num_rounds=rounds, timeout=timeout)
    return strategy


def outcomes(strategy: DistilledExchange, turn: int = 1) -> list[Outcome]:
    return list(strategy.results[turn - 1].outcomes)


def test_bad_nodes_cost_only_themselves(tmp_path: Path) -> None:
    learner = Recorder()
    handlers = [send(blob_of(seed=1)), *HOSTILE.values(), send(blob_of(seed=2))]
    strategy = exchange(handlers, tmp_path, learner=learner, timeout=3.0)
    assert [o.code for o in outcomes(strategy)] == [Code.OK, *HOSTILE, Code.OK]
    assert [len(sets) for sets in learner.sets] == [2]
    assert strategy.results[0].learned is not None


def test_the_content_is_kept_as_received(tmp_path: Path) -> None:
    handlers = [send(blob_of()), send(blob_of()[:-3]), send(b"\0" * (REJECTED_BYTES + 5))]
    strategy = exchange(handlers, tmp_path)
    run = tmp_path / "run"
    kept = {p.relative_to(run).as_posix(): p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert kept == {
        "blobs/round-1/node-000.fbit": blob_of(),
        "rejected/round-1/node-001.bin": blob_of()[:-3],
        "rejected/round-1/node-002.bin": b"\0" * REJECTED_BYTES,
    }
    assert [o.blob_bytes for o in outcomes(strategy)] == [
        len(blob_of()),
        len(blob_of()) - 3,
        REJECTED_BYTES + 5,
    ]


def test_a_blob_is_on_disk_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(blob: bytes, terms: Terms) -> DistilledSet:
        raise KeyboardInterrupt

    monkeypatch.setattr("nodes.strategy.admit", crash)
    with pytest.raises(KeyboardInterrupt):
        exchange([send(blob_of())], tmp_path)
    assert (tmp_path / "run/blobs/round-1/node-000.fbit").read_bytes() == blob_of()


def test_the_ledger_is_the_servers_own(tmp_path: Path) -> None:
    (outcome,) = outcomes(exchange([send(blob_of())], tmp_path))
    assert outcome.components is not None
    assert sum(outcome.components.values()) == 8 * len(blob_of())


def late(handler: Handler, after: int) -> Handler:
    pulls: dict[str, int] = {}

    def handle(message: Message) -> list[Message]:
        number = message.metadata.message_id
        pulls[number] = pulls.get(number, 0) + 1
        return handler(message) if pulls[number] > after else []

    return handle


def test_training_does_not_depend_on_who_was_first(tmp_path: Path) -> None:
    blobs = [blob_of(seed=s) for s in (1, 2, 3)]
    seen = []
    for name, delays in (("a", (0, 3, 6)), ("b", (6, 3, 0))):
        learner = Recorder()
        handlers = [late(send(blob), delay) for blob, delay in zip(blobs, delays, strict=True)]
        exchange(handlers, tmp_path / name, learner=learner)
        seen.append(learner.sets)
    assert seen[0] == seen[1]


def test_later_rounds_get_the_model_and_add_to_the_union(tmp_path: Path) -> None:
    models_seen: list[list[str] | None] = []

    def handle(message: Message) -> list[Message]:
        task, model = read_task(message.content)
        models_seen.append(None if model is None else sorted(model))
        return send(blob_of(seed=task.round))(message)

    learner = Recorder()
    strategy = exchange([handle, HOSTILE[Code.NOT_A_BLOB]], tmp_path, rounds=3, learner=learner)
    assert [len(sets) for sets in learner.sets] == [1, 2, 3]
    assert models_seen == [None, sorted(learner.arrays), sorted(learner.arrays)]
    assert [r.round for r in strategy.results] == [1, 2, 3]
    assert [o.code for o in outcomes(strategy, 3)] == [Code.OK, Code.NOT_A_BLOB]


def test_a_round_without_a_single_set_is_survived(tmp_path: Path) -> None:
    def second_time(message: Message) -> list[Message]:
        task, model = read_task(message.content)
        assert model is None  # nothing has been learned yet
        return send(blob_of())(message) if task.round == 2 else HOSTILE[Code.NODE_ERROR](message)

    strategy = exchange([second_time], tmp_path, rounds=2)
    assert strategy.results[0].learned is None
    assert strategy.results[1].learned is not None
