"""The role that docs/extending.md adds, asked as any other."""

from __future__ import annotations

import pytest
from fake_nodes import context_of, small_config
from flwr.app import Message
from worked_examples import run

from fedbits.container import decode
from nodes.client_app import make_client_app
from nodes.messages import DISTIL, Task, read_reply, task_records
from nodes.roles import ROLES


def classes_sent(role: str) -> int:
    """Of how many classes a node of that role sends samples."""
    app = make_client_app(small_config(role=role, nodes=4, partition="dirichlet:0.3"))
    task = task_records(Task(1, 0, "2KiB", 60.0), None)
    reply = read_reply(app(Message(task, dst_node_id=10, message_type=DISTIL), context_of(0, 4)))
    assert reply.blob is not None
    return sum(count > 0 for count in decode(reply.blob).class_counts())


def test_a_cautious_node_sends_nothing_of_rare_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    run("role", monkeypatch, ROLES, "cautious_node")
    assert 0 < classes_sent("cautious_node") < classes_sent("edge_node")
