"""The ClientApp of a node: it does what its role does with a message, and replies whatever happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod

from nodes import roles
from nodes.codes import Code
from nodes.config import RunConfig
from nodes.edge_node import Distil, EdgeNode, distil_to_blob
from nodes.messages import ACTIONS, RefusedError, check_protocol, error_records, reply_records
from nodes.node import Node, failure_code
from nodes.roles import Role

logger = logging.getLogger("fedbits.nodes")


def make_client_app(
    config: RunConfig | None = None, distil: Distil = distil_to_blob, mods: list[Mod] | None = None
) -> ClientApp:
    """The ClientApp of a node.

    Args:
        config: the run; taken from Flower's run config when left out.
        distil: how an edge node's or base station's assignment becomes a blob.
        mods: Flower mods around every handler.
    """
    app = ClientApp(mods=mods)

    def role(name: str) -> Role:
        found = roles.get(name)
        return replace(found, distil=distil) if isinstance(found, EdgeNode) else found

    def work(message: Message, context: Context) -> Message:
        def done() -> RecordDict:
            node = Node.of(config, context)
            own = role(node.role)
            known = own.work()
            if message.metadata.message_type not in known:
                logger.error("a %s is not asked for %s", node.role, message.metadata.message_type)
                raise RefusedError(Code.BAD_TASK)
            own.check_data(node.data)
            return known[message.metadata.message_type](message.content, node)

        return _answer(message, done)

    @app.query("hello")
    def hello(message: Message, context: Context) -> Message:
        return _answer(message, lambda: _greet(message.content, config, context))

    for action in ACTIONS:
        app.train(action.removeprefix("train."))(work)
    return app


def _greet(records: RecordDict, config: RunConfig | None, context: Context) -> RecordDict:
    check_protocol(records)
    return reply_records(Node.of(config, context).facts())


def _answer(message: Message, work: Callable[[], RecordDict]) -> Message:
    """The reply to ``message``; an error in ``work`` becomes a code, its text stays in the node's log."""
    try:
        return Message(work(), reply_to=message)
    except Exception as error:
        logger.exception("the node could not do what it was asked")
        return Message(error_records(failure_code(error)), reply_to=message)


app = make_client_app()  # what an app bundle of a deployment names
