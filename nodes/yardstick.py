"""The yardstick: Flower's own FedAvg on the same nodes, network, partition and seed, and what it sends.

One local epoch of SGD per round (learning rate 0.05, momentum 0.9, batches of 16, no augmentation), full
participation, uplink counted as the serialised arrays that the nodes reply with. Of rates from 0.01 to 0.3
and batches of 16 to 64 these needed the fewest rounds on digits (Dirichlet 0.3); of four pairs tried on a
sixth of Fashion-MNIST (Dirichlet 0.1), too.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from torch import nn
from torch.nn import functional

from fedbits.data import TensorData
from fedbits.evaluate import accuracy
from fedbits.progress import Progress
from fedbits.rng import torch_stream
from nodes import models
from nodes.careful_grid import CarefulGrid
from nodes.codes import Code
from nodes.messages import LOCAL_TRAINING, RefusedError

logger = logging.getLogger("fedbits.nodes")

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
ROUND, WEIGHT = "server-round", "num-examples"


@dataclass(frozen=True)
class LocalTraining:
    """How a FedAvg node trains in one round."""

    epochs: int = 1
    rate: float = 0.05
    momentum: float = 0.9
    batch: int = 16


# ------------------------------------------------------------------------------------------------- the node


def read_request(records: RecordDict) -> tuple[int, ArrayRecord]:
    """The round and weights FedAvg sends; raises :class:`RefusedError` (``bad_task``) on anything else."""
    config, arrays = records.get(CONFIG), records.get(ARRAYS)
    turn = config.get(ROUND) if isinstance(config, ConfigRecord) else None
    if not isinstance(turn, int) or not isinstance(arrays, ArrayRecord):
        raise RefusedError(Code.BAD_TASK)
    return turn, arrays


def reply(arrays: ArrayRecord, samples: int) -> RecordDict:
    """A node's reply as FedAvg expects it: weights, and the number of samples behind them."""
    return RecordDict({ARRAYS: arrays, METRICS: MetricRecord({WEIGHT: samples})})


def train_locally(
    network: nn.Module,
    data: TensorData,
    *,
    seed: int,
    device: torch.device,
    how: LocalTraining | None = None,
) -> None:
    """Train ``network`` in place on ``data``, on ``device``; it comes back to the CPU."""
    how = how or LocalTraining()
    network.to(device).train()
    data = data.to(device)
    optimiser = torch.optim.SGD(network.parameters(), how.rate, how.momentum)
    draws = torch_stream(seed, "local training")
    for _ in range(how.epochs):
        for index in torch.randperm(len(data), generator=draws).split(how.batch):
            samples, labels = data.batch(index.to(device))
            optimiser.zero_grad(set_to_none=True)
            functional.cross_entropy(network(samples), labels).backward()
            optimiser.step()
    network.cpu()


# ----------------------------------------------------------------------------------------------- the server


@dataclass(frozen=True)
class FedAvgRound:
    """One round: accuracy of the average after it, bytes the nodes sent in it, and how many replied well."""

    round: int
    accuracy: float
    uplink_bytes: int
    replies: int


@dataclass(frozen=True)
class FedAvgResult:
    """``reached`` is the first round whose accuracy is at least ``target``, or None if none was."""

    target: float
    rounds: tuple[FedAvgRound, ...]
    reached: int | None

    @property
    def uplink_bytes(self) -> int:
        """Sent by all nodes up to the round that reached the target, or in all rounds."""
        return sum(r.uplink_bytes for r in self.rounds if self.reached is None or r.round <= self.reached)


@dataclass(frozen=True)
class FedAvgPlan:
    """What the server side of the yardstick needs to know; ``addresses`` are the nodes', in their order."""

    addresses: Sequence[int]
    rounds: int
    timeout: float
    target: float
    device: torch.device


class Counted(FedAvg):
    """Flower's FedAvg, sending to our handler and keeping only replies that can be averaged."""

    def __init__(self, addresses: Sequence[int], timeout: float, expected: nn.Module) -> None:
        super().__init__(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=len(addresses))
        self.addresses, self.timeout, self.expected = addresses, timeout, expected
        self.received = 0
        self.uplink_bytes = 0

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        for message in super().configure_train(server_round, arrays, config, grid):
            address = message.metadata.dst_node_id
            if address in self.addresses:  # Flower asks every node there is
                yield Message(message.content, address, LOCAL_TRAINING, ttl=self.timeout + 10)

    def aggregated(self, turn: int, replies: Iterable[Message]) -> ArrayRecord | None:
        """The average of the sound ones among ``replies``; None without any.

        They are taken by node: a sum of floating-point numbers must not depend on who was first.
        """
        order = {address: place for place, address in enumerate(self.addresses)}
        ordered = sorted(self.sound(replies), key=lambda message: order[message.metadata.src_node_id])
        average, _ = self.aggregate_train(turn, ordered)
        if average is None:
            logger.warning("no node took part in FedAvg round %d", turn)
        return average

    def sound(self, replies: Iterable[Message]) -> Iterator[Message]:
        """The replies that can be averaged; the bytes of all are counted."""
        for message in replies:
            arrays = message.content.get(ARRAYS) if message.has_content() else None
            if not isinstance(arrays, ArrayRecord):
                continue
            self.uplink_bytes += models.array_bytes(arrays)
            if self._fits(arrays) and _has_weight(message.content.get(METRICS)):
                self.received += 1
                yield message

    def _fits(self, arrays: ArrayRecord) -> bool:
        try:
            models.load_arrays(self.expected, arrays)
        except RefusedError:
            return False
        return True


def _has_weight(record: object) -> bool:
    weight = record.get(WEIGHT) if isinstance(record, MetricRecord) else None
    return isinstance(weight, int | float) and math.isfinite(weight) and weight > 0


def run_fedavg(
    grid: CarefulGrid, network: nn.Module, test: TensorData, plan: FedAvgPlan, progress: Progress
) -> FedAvgResult:
    """Rounds of FedAvg from ``network`` until the average reaches ``plan.target`` on ``test``."""
    arrays = models.to_arrays(network)
    rounds: list[FedAvgRound] = []
    with progress.task("FedAvg rounds", plan.rounds) as task:
        for turn in range(1, plan.rounds + 1):
            strategy = Counted(plan.addresses, plan.timeout, network)
            messages = strategy.configure_train(turn, arrays, ConfigRecord(), grid)
            replies = grid.send_and_receive(messages, timeout=plan.timeout)
            arrays = strategy.aggregated(turn, replies) or arrays
            models.load_arrays(network, arrays)
            reached = accuracy(network.to(plan.device), test)
            network.cpu()
            rounds.append(FedAvgRound(turn, reached, strategy.uplink_bytes, strategy.received))
            task.advance(note=f"{reached:.1%} of {plan.target:.1%}")
            if reached >= plan.target:
                return FedAvgResult(plan.target, tuple(rounds), turn)
    return FedAvgResult(plan.target, tuple(rounds), None)
