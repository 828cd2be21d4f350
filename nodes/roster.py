"""Who takes part: nodes register late and in any order, so they are waited for, asked, and numbered."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from flwr.app import Message

from fedbits.errors import FedbitsError
from fedbits.progress import Progress
from nodes.careful_grid import CarefulGrid
from nodes.codes import Code
from nodes.messages import HELLO, Facts, Reply, greeting, read_reply

logger = logging.getLogger("fedbits.nodes")

REGISTER_SECONDS = 120.0
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
