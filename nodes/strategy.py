"""The exchange of distilled sets as a Flower strategy, in which a bad node costs only itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedbits import container
from fedbits.distilled_set import DistilledSet
from fedbits.progress import SILENT, Progress
from fedbits.progress import Task as ProgressTask
from nodes.careful_grid import careful
from nodes.codes import Code
from nodes.messages import DISTIL, Facts, RefusedError, Reply, Task, Terms, admit, read_reply, task_records
from nodes.roster import Member, Returns
from nodes.run_folder import RunFolder
from nodes.sharing import Joined, Shelf

logger = logging.getLogger("fedbits.nodes")


@dataclass(frozen=True)
class Outcome:
    """What became of one node in one round.

    Attributes:
        round, node: numbers, from 1 and from 0.
        code: ``ok`` or why its set is not in the union.
        facts: what the node says of itself.
        blob_bytes: received, whether accepted or not.
        components: the bits of an accepted blob, by component.
        distilled: the accepted set.
        file: where the blob was saved.
        arrived: seconds from the start of the round to the reply.
        shared: whether it is on the run's exchange: ``published`` or why not; empty where there is none.
    """

    round: int
    node: int
    code: Code
    facts: Facts
    arrived: float
    blob_bytes: int = 0
    components: dict[str, int] | None = None
    distilled: DistilledSet | None = None
    file: Path | None = None
    shared: str = ""


@dataclass(frozen=True)
class Learned:
    """What the server's training gave: accuracies in [0, 1], one per network, and one network's weights.

    ``by_part`` has the same networks' accuracies on parts of the test data, where the role has such.
    """

    accuracies: list[float]
    seconds: float
    arrays: ArrayRecord | None = None
    by_part: Mapping[str, list[float]] = field(default_factory=dict)


class Learner(Protocol):
    """How the server trains on what it has: the union of ``sets`` after round ``turn``."""

    def __call__(self, turn: int, sets: Sequence[DistilledSet]) -> Learned: ...


@dataclass(frozen=True)
class RoundResult:
    """``learned`` is None when nothing has arrived so far."""

    round: int
    outcomes: tuple[Outcome, ...]
    learned: Learned | None


@dataclass(frozen=True)
class Exchange:
    """What a :class:`DistilledExchange` is made of.

    ``terms`` and ``budgets`` are those of each member, by its number; a budget is the text that is sent.
    Accepted sets are put on ``shelf``; ``joined`` are in the union before any of them.
    """

    members: Sequence[Member]
    terms: Sequence[Terms]
    budgets: Sequence[str]
    folder: RunFolder
    learner: Learner
    timeout: float
    progress: Progress = SILENT
    shelf: Shelf | None = None
    joined: Sequence[Joined] = ()


class DistilledExchange(Strategy):
    """Each round, every node gets its budget (later with the global model), distils, and sends a blob.

    Each reply is saved as received, checked and decoded by itself, in the order of arrival; training sees the
    accepted sets in the order of rounds and nodes, so that its result does not depend on who was first.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.results: list[RoundResult] = []
        self._numbers = {member.address: member.number for member in exchange.members}
        self._returns = Returns(list(self._numbers))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        if server_round > 1:
            self._returns.wait(careful(grid))
        model = arrays if server_round > 1 and self._accepted() else None
        for member in self.exchange.members:
            budget = self.exchange.budgets[member.number]
            task = Task(server_round, member.number, budget, self.exchange.timeout)
            yield Message(
                task_records(task, model),
                dst_node_id=member.address,
                message_type=DISTIL,
                ttl=self.exchange.timeout + 10,
            )

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        outcomes = self._share(self._receive(server_round, replies))
        sets = self.union + [o.distilled for o in outcomes if o.distilled is not None]
        learned = self.exchange.learner(server_round, sets) if sets else None
        self.results.append(RoundResult(server_round, tuple(outcomes), learned))
        metrics = MetricRecord({"accepted": sum(o.code is Code.OK for o in outcomes)})
        if learned is not None:
            metrics["accuracy"] = sum(learned.accuracies) / len(learned.accuracies)
        return (learned.arrays if learned else None), metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        return None

    def summary(self) -> None:
        logger.info("distilled exchange with %d nodes", len(self.exchange.members))

    @property
    def union(self) -> list[DistilledSet]:
        """Sets that joined, and those accepted so far."""
        return [entry.distilled for entry in self.exchange.joined] + self._accepted()

    def _accepted(self) -> list[DistilledSet]:
        return [o.distilled for r in self.results for o in r.outcomes if o.distilled is not None]

    def _receive(self, turn: int, replies: Iterable[Message]) -> list[Outcome]:
        started = time.monotonic()
        outcomes = []
        title = f"round {turn}: sets from nodes"
        with self.exchange.progress.task(title, len(self.exchange.members)) as task:
            for message in replies:
                node = self._numbers[message.metadata.src_node_id]
                outcome = self._judge(turn, node, read_reply(message), time.monotonic() - started)
                outcomes.append(outcome)
                _tell(outcome, task)
        return sorted(outcomes, key=lambda outcome: outcome.node)

    def _share(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Put what was accepted on the exchange, if there is one."""
        if self.exchange.shelf is None:
            return outcomes
        blobs = {o.node: o.file.read_bytes() for o in outcomes if o.distilled is not None and o.file}
        told = self.exchange.shelf.put(blobs)
        return [replace(o, shared=told.get(o.node, "")) for o in outcomes]

    def _judge(self, turn: int, node: int, reply: Reply, arrived: float) -> Outcome:
        """Save, check and decode one reply; a refusal is an outcome like any other."""
        terms, folder = self.exchange.terms[node], self.exchange.folder
        code, blob, size = reply.code, reply.blob, len(reply.blob or b"")
        if blob is None:
            return Outcome(turn, node, code, reply.facts, arrived)
        if code is Code.OK and size <= terms.limit():
            file = folder.keep(turn, node, blob)
            try:
                distilled = admit(blob, terms)
                components = dict(container.ledger(blob).components)
            except RefusedError as refusal:
                code = refusal.code
            else:
                return Outcome(turn, node, code, reply.facts, arrived, size, components, distilled, file)
        code = Code.OVER_BUDGET if code is Code.OK else code
        return Outcome(turn, node, code, reply.facts, arrived, size, file=folder.reject(turn, node, blob))


def _tell(outcome: Outcome, task: ProgressTask) -> None:
    what = f"{outcome.blob_bytes:,} B" if outcome.code is Code.OK else outcome.code.value
    logger.info("round %d, node %d: %s (%s)", outcome.round, outcome.node, what, outcome.code.sentence)
    task.advance(note=f"node {outcome.node}: {what}")
