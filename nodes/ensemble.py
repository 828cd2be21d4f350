"""The yardstick of networks: nodes send small networks in as many bytes, and these are asked together.

A critic's rival to sets: each node trains a network on its own data, once, and the server trains nothing.
What they know together is tried by every rule of :class:`fedbits.labels.Ensemble`; and, as one model is
wanted in the end, fresh networks learn the samples of the union by their labels, too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flwr.app import Message

from fedbits.data.union import Union
from fedbits.distilled_set import DistilledSet
from fedbits.evaluate import Evaluation, accuracy
from fedbits.pooling import ensembles, taught_by
from nodes.codes import Code
from nodes.config import RunConfig
from nodes.messages import NETWORK, RefusedError, Reply, Task, Terms, admit_network, read_reply, task_records
from nodes.roster import Member

if TYPE_CHECKING:
    from nodes.careful_grid import CarefulGrid
    from nodes.server_app import Session

_ALL = ""  # of the test data


@dataclass(frozen=True)
class NodeNetwork:
    """What became of one node's network; ``accuracy`` on the test data, where it arrived and is one."""

    node: int
    code: Code
    bytes: int = 0
    accuracy: float | None = None
    distilled: DistilledSet | None = None


@dataclass(frozen=True)
class EnsembleResult:
    """``together`` has the test accuracy by each rule, empty where no network arrived.

    ``taught`` is that of fresh networks which learnt the samples of the union as the networks label them;
    None where there are no samples.
    """

    nodes: tuple[NodeNetwork, ...]
    together: Mapping[str, float]
    taught: Evaluation | None
    seconds: float

    @property
    def uplink_bytes(self) -> int:
        """Of the networks that were accepted."""
        return sum(entry.bytes for entry in self.nodes if entry.code is Code.OK)


def run_ensemble(
    grid: CarefulGrid, session: Session, members: Sequence[Member], sets: Sequence[DistilledSet]
) -> EnsembleResult:
    """Ask every node for a network within its budget; ``sets`` are those of the union."""
    started = time.monotonic()
    entries = sorted(_collected(grid, session, members), key=lambda entry: entry.node)
    arrived = [entry.distilled for entry in entries if entry.distilled is not None]
    test, device = session.plan.data.test, session.plan.device
    asked = ensembles(arrived) if arrived else {}
    together = {str(rule): accuracy(network.to(device), test) for rule, network in asked.items()}
    taught = _taught(session, sets, arrived)
    return EnsembleResult(tuple(entries), together, taught, time.monotonic() - started)


def _collected(grid: CarefulGrid, session: Session, members: Sequence[Member]) -> list[NodeNetwork]:
    plan, numbers = session.plan, {member.address: member.number for member in members}
    asked = [_task(member, plan.config) for member in members if member.code is not Code.PROTOCOL]
    terms, found = plan.terms(), []
    with session.progress.task("networks from nodes", len(asked)) as task:
        for message in grid.send_and_receive(asked, timeout=plan.config.timeout):
            node = numbers[message.metadata.src_node_id]
            entry = _judged(node, read_reply(message), terms[node], session)
            found.append(entry)
            task.advance(note=f"node {node}: {entry.code.value}")
    return found


def _task(member: Member, config: RunConfig) -> Message:
    task = Task(1, member.number, config.budget_text(member.number), config.timeout)
    records = task_records(task, None)
    return Message(records, member.address, NETWORK, ttl=config.timeout + 10)


def _judged(node: int, reply: Reply, terms: Terms, session: Session) -> NodeNetwork:
    size = len(reply.blob or b"")
    if reply.code is not Code.OK or reply.blob is None:
        return NodeNetwork(node, reply.code, size)
    try:
        distilled = admit_network(reply.blob, terms)
    except RefusedError as refusal:
        return NodeNetwork(node, refusal.code, size)
    assert distilled.network is not None
    known = accuracy(distilled.network.on(session.plan.device), session.plan.data.test)
    return NodeNetwork(node, Code.OK, size, known, distilled)


def _taught(
    session: Session, sets: Sequence[DistilledSet], networks: Sequence[DistilledSet]
) -> Evaluation | None:
    """Views of the samples are labelled by those networks that know their classes."""
    from nodes.server_app import test_union

    parts = taught_by(sets, networks)
    if not parts:
        return None
    return test_union(Union(session.plan.data.spec, parts), {_ALL: session.plan.data.test}, session)[_ALL]
