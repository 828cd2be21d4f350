"""The exchange of memories as a Flower strategy: the server follows every node's, and learns the union."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedbits import container
from fedbits.distilled_set import DistilledSet
from fedbits.progress import SILENT, Progress
from fedbits.progress import Task as ProgressTask
from nodes.careful_grid import careful
from nodes.codes import Code
from nodes.continual.sync import DIGEST_BYTES, Update, read_update, with_known
from nodes.messages import REMEMBER, Facts, RefusedError, Task, Terms, admit, read_reply, task_records
from nodes.roster import Member, Returns
from nodes.run_folder import RunFolder

logger = logging.getLogger("fedbits.nodes")

_SENTENCES = {
    Code.OK: "its memory is in the union",
    Code.BUDGET_TOO_SMALL: "the memory is too small for one sample of each class that it should hold",
    Code.OVER_BUDGET: "the memory is larger than it may be",
}


def sentence(code: Code) -> str:
    """What a code means where memories are exchanged, for people."""
    return _SENTENCES.get(code, code.sentence)


@dataclass(frozen=True)
class Held:
    """A blob of a node's memory as the server has it; ``bits`` of it by component."""

    blob: bytes
    distilled: DistilledSet
    bits: dict[str, int]


@dataclass(frozen=True)
class Outcome:
    """What became of one node in one round.

    Attributes:
        round, node: numbers, from 1 and from 0.
        code: ``ok``, or why the node's memory is what it was.
        facts: what the node says of itself; its samples are those of the round's experience.
        arrived: seconds from the start of the round to the reply.
        sent_blobs, sent_bytes: blobs received, accepted or not, and all bytes of the reply that count: these
            blobs and the digests of the whole memory.
        shrunk: blobs that the node says it has cut or distilled again.
        lost: blobs that it had, and neither has nor has replaced: it must have started anew.
        memory_bytes, memory_samples: of its memory as the server has it after the round.
        files: of the blobs in the run's folder, relative to it.
    """

    round: int
    node: int
    code: Code
    facts: Facts
    arrived: float
    sent_blobs: int = 0
    sent_bytes: int = 0
    shrunk: int = 0
    lost: int = 0
    memory_bytes: int = 0
    memory_samples: int = 0
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tested:
    """Networks trained on the union: for each, correct test samples of each class; and how many there are."""

    correct: list[list[int]]
    totals: list[int]
    seconds: float

    def accuracies(self, classes: Iterable[int]) -> list[float]:
        """Of each network, on the test samples of ``classes``, in [0, 1]."""
        wanted = [c for c in classes if self.totals[c]]
        many = sum(self.totals[c] for c in wanted)
        return [sum(row[c] for c in wanted) / many for row in self.correct] if many else []


@dataclass(frozen=True)
class RoundResult:
    """A round's end.

    Attributes:
        seen: classes that any node's memory has brought so far, ascending.
        tested: None while there is nothing to learn from.
        down_bytes: sent to all nodes: digests.
    """

    round: int
    outcomes: tuple[Outcome, ...]
    seen: tuple[int, ...]
    tested: Tested | None
    down_bytes: int


Learner = Callable[[int, Sequence[DistilledSet]], Tested]
"""How the server learns from the union of sets after a round."""


@dataclass(frozen=True)
class Setting:
    """What a :class:`MemoryExchange` is made of; ``terms`` are those of each member, by its number."""

    members: Sequence[Member]
    terms: Sequence[Terms]
    folder: RunFolder
    learner: Learner
    timeout: float
    progress: Progress = SILENT


@dataclass
class MemoryExchange(Strategy):
    """Each round every node learns an experience and sends what is new; the server learns from all memories.

    A node that fails, or sends what cannot be used, costs only itself: of it the server keeps what it had.
    One that lost its memory starts anew; the server keeps of the old one what the node's bytes have room for.
    The union is in the order of nodes and of blobs in their memories, so that the result does not depend on
    who was first.
    """

    setting: Setting
    memories: dict[int, dict[bytes, Held]] = field(init=False)  # of each node, oldest first
    results: list[RoundResult] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._numbers = {member.address: member.number for member in self.setting.members}
        self._returns = Returns(list(self._numbers))
        self.memories = {member.number: {} for member in self.setting.members}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        if server_round > 1:
            self._returns.wait(careful(grid))
        for member in self.setting.members:
            limit = f"{self.setting.terms[member.number].limit()} B"
            task = Task(server_round, member.number, limit, self.setting.timeout)
            records = with_known(task_records(task, None), list(self.memories[member.number]))
            yield Message(
                records,
                dst_node_id=member.address,
                message_type=REMEMBER,
                ttl=self.setting.timeout + 10,
            )

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        down = DIGEST_BYTES * sum(len(memory) for memory in self.memories.values())
        outcomes = self._receive(server_round, replies)
        sets = [held.distilled for _, memory in sorted(self.memories.items()) for held in memory.values()]
        seen = {c for one in sets for c, count in enumerate(one.class_counts()) if count}
        seen.update(self.results[-1].seen if self.results else ())
        tested = self.setting.learner(server_round, sets) if sets else None
        result = RoundResult(server_round, tuple(outcomes), tuple(sorted(seen)), tested, down)
        self.results.append(result)
        metrics = MetricRecord({"accepted": sum(o.code is Code.OK for o in outcomes)})
        if tested is not None and (accuracies := tested.accuracies(result.seen)):
            metrics["accuracy"] = sum(accuracies) / len(accuracies)
        return None, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        return None

    def summary(self) -> None:
        logger.info("memories of %d continual learners", len(self.setting.members))

    def _receive(self, turn: int, replies: Iterable[Message]) -> list[Outcome]:
        started = time.monotonic()
        outcomes = []
        with self.setting.progress.task(f"round {turn}: memories", len(self.setting.members)) as task:
            for message in replies:
                node = self._numbers[message.metadata.src_node_id]
                outcome = self._judge(turn, node, message, time.monotonic() - started)
                outcomes.append(outcome)
                _tell(outcome, task)
        return sorted(outcomes, key=lambda outcome: outcome.node)

    def _judge(self, turn: int, node: int, message: Message, arrived: float) -> Outcome:
        """Take one reply apart; the node's memory becomes what it says, or stays what it was."""
        reply, update = read_reply(message, blob=False), None
        before, code = self.memories[node], reply.code
        files: tuple[str, ...] = ()
        if code is Code.OK:
            try:
                update = read_update(message.content)
                self.memories[node], files = self._followed(turn, node, update)
            except RefusedError as refusal:
                code = refusal.code
                files = self._rejected(turn, node, update)
        now = self.memories[node]
        return Outcome(
            turn,
            node,
            code,
            reply.facts,
            arrived,
            sent_blobs=len(update.blobs) if update else 0,
            sent_bytes=update.bytes if update else 0,
            shrunk=update.shrunk if update and code is Code.OK else 0,
            lost=len(_lost(before, update)) if update and code is Code.OK else 0,
            memory_bytes=sum(len(held.blob) for held in now.values()),
            memory_samples=sum(len(held.distilled) for held in now.values()),
            files=files,
        )

    def _followed(self, turn: int, node: int, update: Update) -> tuple[dict[bytes, Held], tuple[str, ...]]:
        """The node's memory after ``update``, and where its new blobs are.

        Raises:
            RefusedError: a blob is neither there nor sent, the memory is larger than it may be, or a blob is
                not what was agreed.
        """
        before, terms = self.memories[node], self.setting.terms[node]
        if not all(name in before or name in update.blobs for name in update.digests):
            raise RefusedError(Code.MISSING)
        kept = sum(len(before[name].blob) for name in update.digests if name not in update.blobs)
        if kept + update.blob_bytes > terms.limit():
            raise RefusedError(Code.OVER_BUDGET)
        folder = self.setting.folder
        files = [folder.keep(turn, node, blob, name.hex()[:8]) for name, blob in update.blobs.items()]
        new = {name: _held(blob, terms) for name, blob in update.blobs.items()}
        memory = _kept(before, update, terms.limit() - kept - update.blob_bytes)
        memory |= {name: new[name] if name in new else before[name] for name in update.digests}
        return memory, tuple(file.relative_to(folder.path).as_posix() for file in files)

    def _rejected(self, turn: int, node: int, update: Update | None) -> tuple[str, ...]:
        folder, blobs = self.setting.folder, update.blobs if update else {}
        files = [folder.reject(turn, node, blob, name.hex()[:8]) for name, blob in blobs.items()]
        return tuple(file.relative_to(folder.path).as_posix() for file in files)


def _held(blob: bytes, terms: Terms) -> Held:
    return Held(blob, admit(blob, terms), dict(container.ledger(blob).components))


def _lost(before: Mapping[bytes, Held], update: Update) -> list[bytes]:
    """What a node had, and neither has now nor has cut or distilled again."""
    gone = [name for name in before if name not in update.digests]
    return gone if len(gone) > update.shrunk else []


def _kept(before: Mapping[bytes, Held], update: Update, room: int) -> dict[bytes, Held]:
    """Of what a node lost, the oldest that fit into ``room`` bytes: the server still has them."""
    kept = {}
    for name in _lost(before, update):
        room -= len(before[name].blob)
        if room < 0:
            break
        kept[name] = before[name]
    return kept


def components(memory: Iterable[Held]) -> dict[str, int]:
    """Bits of all blobs of a memory, by component."""
    total: Counter[str] = Counter()
    for held in memory:
        total.update(held.bits)
    return dict(total)


def _tell(outcome: Outcome, task: ProgressTask) -> None:
    what = f"{outcome.sent_bytes:,} B" if outcome.code is Code.OK else outcome.code.value
    logger.info("round %d, node %d: %s (%s)", outcome.round, outcome.node, what, sentence(outcome.code))
    task.advance(note=f"node {outcome.node}: {what}")
