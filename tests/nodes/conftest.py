"""Flower must find its environment before it is imported, and messages ask who sends them."""

from nodes.simulate import prepare_environment

prepare_environment()

from flwr.common.constant import SUPERLINK_NODE_ID  # noqa: E402
from flwr.supercore.task_identity import TaskIdentity  # noqa: E402

TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, SUPERLINK_NODE_ID, 1
