"""The yardstick: FedAvg in which every node replays raw samples, at equal bytes of memory.

In each experience there are some rounds of Flower's FedAvg (:mod:`nodes.yardstick` says how nodes train). A
node trains on what has arrived and on its memory; after the experience's last round it keeps random samples
of it, raw as the data stores them. Its memory may take as many bytes as the one it is compared with, shared
equally by the classes that it has seen (as it is never sent, nothing speaks for quotas from the start), and
lives in the same place. Weights are counted both ways.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from torch import nn

from fedbits import device
from fedbits.data import TensorData
from fedbits.errors import BudgetError
from fedbits.progress import Progress
from fedbits.rng import derive_seed
from nodes import models
from nodes.careful_grid import CarefulGrid
from nodes.codes import Code
from nodes.continual.stream import NodeStream, seed_of
from nodes.messages import REPLAY_TRAINING, RefusedError, Terms, is_count
from nodes.node import Node
from nodes.roster import Member
from nodes.yardstick import ARRAYS, CONFIG, METRICS, ROUND, WEIGHT, Counted, train_locally
from scenarios.raw import RawMemory

logger = logging.getLogger("fedbits.nodes")

_RAW, _LEARNED = "fedbits.raw", "fedbits.raw.learned"
_EXPERIENCE, _LAST, _NODE, _CAPACITY = "experience", "last", "node", "capacity"
_MEMORY_BYTES = "memory-bytes"


# ------------------------------------------------------------------------------------------------- the node


@dataclass(frozen=True)
class Request:
    """What a node is asked for: one FedAvg round ``turn`` in ``experience`` (both 1 ..).

    ``last`` is the experience's last round, after which the node remembers it, in ``capacity`` bytes.
    """

    turn: int
    experience: int
    last: bool
    node: int
    capacity: int

    def records(self, arrays: ArrayRecord) -> RecordDict:
        config = {
            ROUND: self.turn,
            _EXPERIENCE: self.experience,
            _LAST: self.last,
            _NODE: self.node,
            _CAPACITY: self.capacity,
        }
        return RecordDict({ARRAYS: arrays, CONFIG: ConfigRecord(config)})  # type: ignore[arg-type]

    @classmethod
    def read(cls, records: RecordDict) -> tuple[Request, ArrayRecord]:
        """The inverse; raises :class:`RefusedError` (``bad_task``) on anything else."""
        config, arrays = records.get(CONFIG), records.get(ARRAYS)
        if not isinstance(config, ConfigRecord) or not isinstance(arrays, ArrayRecord):
            raise RefusedError(Code.BAD_TASK)
        turn, experience, last, node, capacity = (
            config.get(key) for key in (ROUND, _EXPERIENCE, _LAST, _NODE, _CAPACITY)
        )
        if not all(is_count(value) for value in (turn, experience, node, capacity)) or last not in (0, 1):
            raise RefusedError(Code.BAD_TASK)
        return cls(turn, experience, bool(last), node, capacity), arrays  # type: ignore[arg-type]


def train_with_replay(records: RecordDict, node: Node) -> RecordDict:
    """One FedAvg round of a node, on the experience and its raw memory."""
    request, weights = Request.read(records)
    number = request.node if node.number is None else node.number
    stream = NodeStream.of(node.data, node.config, number)
    if not 1 <= request.experience <= len(stream.experiences):
        raise RefusedError(Code.BAD_TASK)
    arriving = stream.arriving(request.experience)
    memory = RawMemory(node.data.spec, request.capacity)
    learned = load(node.state, memory)
    data = _together(arriving, memory)
    if not len(data):
        raise RefusedError(Code.EMPTY_SHARD)
    network, seed = node.network(), seed_of(node.config, number, request.experience)
    models.load_arrays(network, weights)
    where = device.pick(node.config.device)
    train_locally(network, data, seed=derive_seed(seed, "fedavg", request.turn), device=where)
    if request.last and len(arriving) and request.experience > learned:
        _keep(node.state, memory, arriving, seed, request.experience)
    metrics = MetricRecord({WEIGHT: len(data), _MEMORY_BYTES: memory.size})
    return RecordDict({ARRAYS: models.to_arrays(network), METRICS: metrics})


def _together(arriving: TensorData, memory: RawMemory) -> TensorData:
    if not len(memory):
        return arriving
    held = memory.union(arriving.spec)
    samples = torch.cat([arriving.samples, held.samples.to(arriving.samples.device)])
    return TensorData(arriving.spec, samples, torch.cat([arriving.labels, held.labels]))


def _keep(state: RecordDict, memory: RawMemory, arriving: TensorData, seed: int, experience: int) -> None:
    before = dict(memory.held)
    try:
        memory.add(arriving, derive_seed(seed, "raw memory"))
    except BudgetError as error:  # it goes on without this experience; the report shows what it holds
        logger.warning("the raw memory stays as it was: %s", error)
        memory.held = before
    arrays = {str(label): Array(samples.numpy()) for label, samples in memory.held.items()}
    state[_RAW], state[_LEARNED] = ArrayRecord(arrays), MetricRecord({"experience": experience})


def load(state: RecordDict, memory: RawMemory) -> int:
    """Give ``memory`` what the node kept, and return the last experience in it; 0 is none."""
    arrays, learned = state.get(_RAW), state.get(_LEARNED)
    if not isinstance(arrays, ArrayRecord) or not isinstance(learned, MetricRecord):
        return 0
    memory.held = {int(label): torch.from_numpy(np.array(array.numpy())) for label, array in arrays.items()}
    return int(learned["experience"])  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------- the server


@dataclass(frozen=True)
class ReplayPlan:
    """What the server's side needs to know.

    Attributes:
        terms: the limit of each is the memory of the member of that number.
        experiences, rounds: FedAvg has ``rounds`` rounds in each experience.
    """

    members: Sequence[Member]
    terms: Sequence[Terms]
    experiences: int
    rounds: int
    timeout: float


@dataclass(frozen=True)
class ExperienceResult:
    """After all rounds of an experience.

    Attributes:
        correct, totals: test samples of each class, as of :class:`nodes.continual.strategy.Tested`.
        uplink_bytes, downlink_bytes: weights from and to all nodes, in this experience.
        memory_bytes: of each node's raw memory, by its number, as far as it replied in the last round.
        replies: that could be averaged, in all its rounds.
    """

    experience: int
    correct: list[int]
    totals: list[int]
    uplink_bytes: int
    downlink_bytes: int
    memory_bytes: dict[int, int]
    replies: int


Test = Callable[[nn.Module], tuple[list[int], list[int]]]
"""Of each class, correct test samples and how many there are."""


class _Replayed(Counted):
    """FedAvg with a message of its own for each node."""

    def __init__(self, plan: ReplayPlan, expected: nn.Module, experience: int, last: bool) -> None:
        super().__init__([member.address for member in plan.members], plan.timeout, expected)
        self.replay, self.experience, self.last = plan, experience, last
        self.downlink_bytes = 0
        self.memory_bytes: dict[int, int] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        for member in self.replay.members:
            limit = self.replay.terms[member.number].limit()
            request = Request(server_round, self.experience, self.last, member.number, limit)
            self.downlink_bytes += models.array_bytes(arrays)
            records = request.records(arrays)
            yield Message(records, member.address, REPLAY_TRAINING, ttl=self.timeout + 10)

    def sound(self, replies: Iterable[Message]) -> Iterator[Message]:
        numbers = {member.address: member.number for member in self.replay.members}
        for message in super().sound(replies):
            size = message.content[METRICS].get(_MEMORY_BYTES)
            if is_count(size):
                self.memory_bytes[numbers[message.metadata.src_node_id]] = size  # type: ignore[assignment]
                yield message


def run(
    grid: CarefulGrid, network: nn.Module, plan: ReplayPlan, test: Test, progress: Progress
) -> list[ExperienceResult]:
    """All experiences, starting from ``network``."""
    arrays = models.to_arrays(network)
    results = []
    with progress.task("FedAvg rounds", plan.experiences * plan.rounds) as task:
        for experience in range(1, plan.experiences + 1):
            up = down = replies = 0
            memory: dict[int, int] = {}
            for place in range(1, plan.rounds + 1):
                turn = (experience - 1) * plan.rounds + place
                strategy = _Replayed(plan, network, experience, place == plan.rounds)
                messages = strategy.configure_train(turn, arrays, ConfigRecord(), grid)
                received = grid.send_and_receive(messages, timeout=plan.timeout)
                arrays = strategy.aggregated(turn, received) or arrays
                up, down = up + strategy.uplink_bytes, down + strategy.downlink_bytes
                replies, memory = replies + strategy.received, strategy.memory_bytes
                task.advance(note=f"experience {experience}")
            models.load_arrays(network, arrays)
            correct, totals = test(network)
            network.cpu()
            results.append(ExperienceResult(experience, correct, totals, up, down, memory, replies))
    return results
