"""A small task, real blobs of it, and a grid without a network."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedbits import container, data, recipes
from fedbits.budget import Budget
from fedbits.data import DataSet, DataSpec
from fedbits.distill import distill
from nodes.config import RunConfig

FAST = {"width": 8, "steps": 20, "batch": 64}

Handler = Callable[[Message], list[Message]]


@functools.cache
def digits() -> DataSet:
    return data.load("digits")


@functools.cache
def blob_of(name: str = "digits", ipc: int = 2, seed: int = 0) -> bytes:
    """A real blob of a few real digits."""
    train = digits().train
    if name != "digits":
        spec = DataSpec("other", train.spec.shape, train.spec.classes, (0.5,), (0.25,))
        train = data.TensorData(spec, train.samples, train.labels)
    recipe = recipes.get("random", ipc=ipc, bits=2)
    return container.encode(distill(train, recipe, Budget.parse("64KiB"), seed=seed))


def small_config(**changes: Any) -> RunConfig:
    """A run that takes a moment: real samples, quantised, and a small network."""
    settings: dict[str, Any] = {
        "data": "digits",
        "nodes": 3,
        "budget": "2KiB",
        "recipe": "random",
        "overrides": {"ipc": 2, "bits": 2},
        "repeats": 2,
        "device": "cpu",
        "protocol_overrides": FAST,
        "timeout": 30.0,
    }
    return RunConfig(**(settings | changes))


def context_of(partition: int | None = 0, partitions: int = 3) -> Context:
    """The Flower context of a node."""
    node_config = {} if partition is None else {"partition-id": partition, "num-partitions": partitions}
    return Context(
        run_id=1, node_id=10 + (partition or 0), node_config=node_config, state=RecordDict(), run_config={}
    )


class FakeGrid(Grid):
    """Delivers each message to the handler of its node when its reply is pulled.

    A handler returns the replies there are (none: not yet), or raises as a grid does that cannot read one.
    """

    def __init__(self, handlers: dict[int, Handler]) -> None:
        self.handlers = handlers
        self.sent: dict[str, Message] = {}

    @classmethod
    def of_apps(cls, apps: dict[int, ClientApp], partitions: int) -> FakeGrid:
        """Nodes at addresses 100, 101, .. that run ``apps`` by partition."""

        def handler(partition: int, app: ClientApp) -> Handler:
            return lambda message: [app(message, context_of(partition, partitions))]

        return cls({100 + p: handler(p, app) for p, app in apps.items()})

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        numbers = []
        for message in messages:
            number = str(uuid.uuid4())
            message.metadata.__dict__["_message_id"] = number
            self.sent[number] = message
            numbers.append(number)
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [
            reply
            for number in message_ids
            for reply in self.handlers[self.sent[number].metadata.dst_node_id](self.sent[number])
        ]

    def get_node_ids(self) -> Iterable[int]:
        return list(self.handlers)

    def set_run(self, run: Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Run:
        raise NotImplementedError

    def create_message(self, *arguments: Any, **named: Any) -> Message:
        raise NotImplementedError

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [NodeInfo(node_id=number) for number in self.handlers]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        raise AssertionError("replies must be pulled one by one")
