"""A node as its role sees it: its data, its place in the run, and what it keeps between rounds."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from flwr.app import Context, RecordDict
from torch import nn

from fedbits.data import TensorData
from fedbits.errors import BudgetError, ConfigError, DataError
from fedbits.evaluate import build_network, protocol
from fedbits.memory import keep_freed_memory
from fedbits.progress import Task as ProgressTask
from nodes.codes import Code
from nodes.config import RunConfig
from nodes.messages import Facts, RefusedError
from nodes.shard import Holding


@dataclass(frozen=True)
class Node:
    """One node of a run, for the time of one message.

    Attributes:
        config: of the run.
        role: the node's own where its Flower node config names one (``role``), else the run's.
        number: of the node among all, if it has been told.
        data: its real samples.
        state: what it keeps from one round to the next. Flower holds it for as long as the run lasts; it
            never leaves the node.
    """

    config: RunConfig
    role: str
    number: int | None
    data: TensorData
    state: RecordDict

    @classmethod
    def of(cls, config: RunConfig | None, context: Context) -> Node:
        """The node that ``context`` belongs to; without ``config`` the run is Flower's run config."""
        keep_freed_memory()
        torch.set_num_threads(1)  # nodes share the machine's cores; small networks run fastest so
        config = config or RunConfig.from_flat(context.run_config)
        role = str(context.node_config.get("role", config.role))
        holding = Holding.of(config, context.node_config)
        number = context.node_config.get("number", holding.partition)
        number = number if isinstance(number, int) else None
        return cls(config, role, number, holding.load(), context.state)

    def network(self) -> nn.Module:
        """A network of the kind the server trains, to put weights into."""
        how = protocol(self.config.protocol, **self.config.protocol_overrides)
        return build_network(self.data, how, seed=0)

    def facts(self, started: float | None = None, data: TensorData | None = None) -> Facts:
        """What the node says of itself: of ``data``, where that is not all it has."""
        data = self.data if data is None else data
        return Facts(
            partition=-1 if self.number is None else self.number,
            samples=len(data),
            class_counts=tuple(data.class_counts()),
            seconds=0.0 if started is None else time.monotonic() - started,
            peak_bytes=peak_memory(),
            site_counts=() if data.sites is None else tuple(torch.bincount(data.sites).tolist()),
        )


def peak_memory() -> int:
    """The highest memory use of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def failure_code(error: Exception) -> Code:
    """What the server is told of an error on the node."""
    if isinstance(error, RefusedError):
        return error.code
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return Code.OUT_OF_MEMORY
    for kind, code in (
        (BudgetError, Code.BUDGET_TOO_SMALL),
        (DataError, Code.NO_DATA),
        (ConfigError, Code.BAD_TASK),
        (OutOfTimeError, Code.TIMEOUT),
    ):
        if isinstance(error, kind):
            return code
    return Code.NODE_ERROR


class OutOfTimeError(Exception):
    """The node's time for a task is up."""


class Deadline:
    """A progress that shows nothing and ends the work when the time is up."""

    def __init__(self, end: float) -> None:
        self.end = end

    def advance(self, steps: int = 1, note: str = "") -> None:
        if time.monotonic() > self.end:
            raise OutOfTimeError

    def task(self, title: str, total: int, done: int = 0) -> AbstractContextManager[ProgressTask]:
        self.advance(0)
        return nullcontext(self)
