"""A node: it distils its own data within its budget and replies with the blob."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod
from torch import nn

from fedbits import container, device, recipes
from fedbits.budget import Budget
from fedbits.data import TensorData
from fedbits.distill import distill
from fedbits.errors import BudgetError, ConfigError, DataError
from fedbits.evaluate import build_network, protocol
from fedbits.memory import keep_freed_memory
from fedbits.progress import Progress
from fedbits.progress import Task as ProgressTask
from fedbits.rng import derive_seed
from nodes import models, yardstick
from nodes.codes import Code
from nodes.config import RunConfig
from nodes.messages import (
    Facts,
    RefusedError,
    check_protocol,
    error_records,
    read_task,
    reply_records,
)
from nodes.shard import Holding

logger = logging.getLogger("fedbits.nodes")


@dataclass(frozen=True)
class Assignment:
    """One piece of work for a node: distil ``data`` in ``round`` within ``budget``.

    ``seed`` is the node's own for the round, ``model`` the global model to distil against, if there is one.
    ``progress`` stops the work when the node's time is up.
    """

    config: RunConfig
    data: TensorData
    budget: Budget
    seed: int
    model: nn.Module | None
    progress: Progress


Distil = Callable[[Assignment], bytes]


def distil_to_blob(assignment: Assignment) -> bytes:
    """What a node does with an assignment: distil, and encode."""
    config = assignment.config
    distilled = distill(
        assignment.data,
        recipes.get(config.recipe, **config.overrides),
        assignment.budget,
        seed=assignment.seed,
        device=str(device.pick(config.device)),
        progress=assignment.progress,
        extractor=assignment.model,
    )
    return container.encode(distilled)


def make_client_app(
    config: RunConfig | None = None, distil: Distil = distil_to_blob, mods: list[Mod] | None = None
) -> ClientApp:
    """The ClientApp of a node.

    Args:
        config: the run; taken from Flower's run config when left out.
        distil: how an assignment becomes a blob.
        mods: Flower mods around every handler.
    """
    app = ClientApp(mods=mods)

    @app.query("hello")
    def hello(message: Message, context: Context) -> Message:
        return _answer(message, lambda: _greet(message.content, config, context))

    @app.train("distil")
    def distil_shard(message: Message, context: Context) -> Message:
        return _answer(message, lambda: _distil(message.content, _Node.of(config, context), distil))

    @app.train("fedavg")
    def train_locally(message: Message, context: Context) -> Message:
        return _answer(message, lambda: _train_locally(message.content, _Node.of(config, context)))

    return app


@dataclass(frozen=True)
class _Node:
    """``number`` is what it has been told that it is among the nodes, if it has been told."""

    config: RunConfig
    number: int | None
    data: TensorData

    @classmethod
    def of(cls, config: RunConfig | None, context: Context) -> _Node:
        keep_freed_memory()
        torch.set_num_threads(1)  # nodes share the machine's cores; small networks run fastest so
        config = config or RunConfig.from_flat(context.run_config)
        holding = Holding.of(config, context.node_config)
        number = context.node_config.get("number", holding.partition)
        return cls(config, number if isinstance(number, int) else None, holding.load())

    def network(self) -> nn.Module:
        """A network of the kind the server trains, to put weights into."""
        how = protocol(self.config.protocol, **self.config.protocol_overrides)
        return build_network(self.data, how, seed=0)

    def facts(self, started: float | None = None) -> Facts:
        return Facts(
            partition=-1 if self.number is None else self.number,
            samples=len(self.data),
            class_counts=tuple(self.data.class_counts()),
            seconds=0.0 if started is None else time.monotonic() - started,
            peak_bytes=peak_memory(),
        )


def _answer(message: Message, work: Callable[[], RecordDict]) -> Message:
    """The reply to ``message``; an error in ``work`` becomes a code, its text stays in the node's log."""
    try:
        return Message(work(), reply_to=message)
    except Exception as error:
        logger.exception("the node could not do what it was asked")
        return Message(error_records(_code(error)), reply_to=message)


def _code(error: Exception) -> Code:
    if isinstance(error, RefusedError):
        return error.code
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return Code.OUT_OF_MEMORY
    for kind, code in (
        (BudgetError, Code.BUDGET_TOO_SMALL),
        (DataError, Code.NO_DATA),
        (ConfigError, Code.BAD_TASK),
        (_OutOfTimeError, Code.TIMEOUT),
    ):
        if isinstance(error, kind):
            return code
    return Code.NODE_ERROR


def _greet(records: RecordDict, config: RunConfig | None, context: Context) -> RecordDict:
    check_protocol(records)
    return reply_records(_Node.of(config, context).facts())


def _distil(records: RecordDict, node: _Node, distil: Distil) -> RecordDict:
    started = time.monotonic()
    task, weights = read_task(records)
    if len(node.data) == 0:
        return error_records(Code.EMPTY_SHARD, node.facts())
    assignment = Assignment(
        config=node.config,
        data=node.data,
        budget=Budget.parse(task.budget),
        seed=derive_seed(node.config.seed, "node", node.number or 0, "round", task.round),
        model=None if weights is None else _global_model(node, weights),
        progress=_Deadline(started + task.seconds),
    )
    try:
        blob = distil(assignment)
    except Exception as error:
        logger.exception("node %s failed in round %d", node.number, task.round)
        return error_records(_code(error), node.facts(started))
    return reply_records(node.facts(started), blob)


def _global_model(node: _Node, weights: ArrayRecord) -> nn.Module:
    network = node.network()
    models.load_arrays(network, weights)
    return network


def _train_locally(records: RecordDict, node: _Node) -> RecordDict:
    if len(node.data) == 0:
        raise RefusedError(Code.EMPTY_SHARD)
    network = node.network()
    turn, weights = yardstick.read_request(records)
    models.load_arrays(network, weights)
    yardstick.train_locally(
        network,
        node.data,
        seed=derive_seed(node.config.seed, "fedavg", node.number or 0, turn),
        device=device.pick(node.config.device),
    )
    return yardstick.reply(models.to_arrays(network), len(node.data))


def peak_memory() -> int:
    """The highest memory use of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class _OutOfTimeError(Exception):
    pass


class _Deadline:
    """A progress that shows nothing and ends the work when the time is up."""

    def __init__(self, end: float) -> None:
        self.end = end

    def advance(self, steps: int = 1, note: str = "") -> None:
        if time.monotonic() > self.end:
            raise _OutOfTimeError

    def task(self, title: str, total: int, done: int = 0) -> AbstractContextManager[ProgressTask]:
        self.advance(0)
        return nullcontext(self)


app = make_client_app()  # what an app bundle of a deployment names
