"""Who takes part: nodes register late and in any order, so they are waited for, asked, and numbered."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flwr.app import Message

from fedbits.errors import FedbitsError
from fedbits.progress import Progress
from nodes.careful_grid import CarefulGrid
from nodes.codes import Code
from nodes.messages import HELLO, Facts, Reply, greeting, read_reply

logger = logging.getLogger("fedbits.nodes")

REGISTER_SECONDS = 120.0
RETURN_SECONDS = 120.0  # of a node that is started again: systemd waits, Python imports, data are read
HELLO_SECONDS = 300.0  # the first answer of a node includes the start of its process and reading its data


@dataclass(frozen=True)
class Member:
    """One node: ``number`` is the server's (0 ..), ``address`` Flower's, ``facts`` what it says of itself.

    ``code`` is ``ok``, or why it did not introduce itself.
    """

    number: int
    address: int
    facts: Facts
    code: Code = Code.OK


def assemble(
    grid: CarefulGrid, nodes: int, progress: Progress, seconds: float = HELLO_SECONDS
) -> list[Member]:
    """Wait for ``nodes`` nodes and number them by the partition they hold.

    A node that does not answer, or claims what another claims too, takes a number that is left over: it
    can neither displace another nor hold up the run beyond ``seconds``.

    Raises:
        FedbitsError: fewer than one node registered in time.
    """
    addresses = _wait(grid, nodes)
    greetings = [Message(greeting(), dst_node_id=a, message_type=HELLO, ttl=seconds + 10) for a in addresses]
    answers: dict[int, Reply] = {}
    with progress.task("nodes starting", len(addresses)) as task:
        for message in grid.send_and_receive(greetings, timeout=seconds):
            reply = read_reply(message, blob=False)
            answers[message.metadata.src_node_id] = reply
            if reply.code is not Code.OK:
                logger.warning("node at %d: %s", message.metadata.src_node_id, reply.code.sentence)
            task.advance()
    numbers = number_nodes({a: answers[a].facts.partition if a in answers else -1 for a in addresses})
    silent = Reply(Code.TIMEOUT)
    members = [
        Member(numbers[a], a, answers.get(a, silent).facts, answers.get(a, silent).code) for a in addresses
    ]
    return sorted(members, key=lambda member: member.number)


def _wait(grid: CarefulGrid, nodes: int) -> list[int]:
    end = time.monotonic() + REGISTER_SECONDS
    while len(addresses := sorted(grid.get_node_ids())) < nodes and time.monotonic() < end:
        grid.pause(0.1)
    if not addresses:
        raise FedbitsError(
            f"no node registered within {REGISTER_SECONDS:.0f} seconds; start some nodes first"
        )
    if len(addresses) < nodes:
        logger.warning("only %d of %d nodes registered", len(addresses), nodes)
    return addresses[:nodes]


@dataclass
class Returns:
    """Waits, before a round, for nodes that went away in the last one; each time they go away, once.

    Flower takes a node to be there for a minute after its last heartbeat, and lets it in again only then. By
    that time the round that lost it may be over: without a wait, the next would begin without it, too.
    """

    addresses: Sequence[int]
    missed: set[int] = field(default_factory=set)

    def wait(self, grid: CarefulGrid, seconds: float | None = None) -> None:
        """Return when all nodes are there but those that were waited for in vain, or when the time is up."""
        end = time.monotonic() + (RETURN_SECONDS if seconds is None else seconds)
        while away := set(self.addresses) - set(grid.get_node_ids()):
            self.missed &= away
            if away <= self.missed:
                return
            if time.monotonic() >= end:
                logger.warning("%d nodes went away and have not come back", len(away))
                break
            grid.pause(grid.interval)
        self.missed = away


def number_nodes(claims: Mapping[int, int]) -> dict[int, int]:
    """Numbers 0 .. n-1 for addresses, by the partitions they claim where those are free."""
    numbers: dict[int, int] = {}
    free = set(range(len(claims)))
    for address in sorted(claims):
        if claims[address] in free:
            numbers[address] = claims[address]
            free.remove(claims[address])
    left = iter(sorted(free))
    for address in sorted(claims):
        if address not in numbers:
            numbers[address] = next(left)
    return numbers
