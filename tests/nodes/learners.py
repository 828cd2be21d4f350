"""Runs of continual learners without processes: nodes keep their state, as Flower keeps it for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fake_nodes import FakeGrid, Handler, context_of, small_config
from flwr.app import Context, Message

from nodes.client_app import make_client_app
from nodes.config import RunConfig
from nodes.continual.server import ContinualResult
from nodes.run_folder import RunFolder
from nodes.server_app import Plan, Session, serve
from nodes.shard import Source, load


def learner_config(**changes: Any) -> RunConfig:
    """Three nodes, two experiences, two real samples of each class at two bits."""
    settings: dict[str, Any] = {
        "role": "cl_learner",
        "budget": "10KiB",
        "memory": "1KiB",
        "overrides": {"ipc": 2, "bits": 2, "factor": 1},
        "rounds": 2,
        "repeats": 1,
        "protocol_overrides": {"width": 8, "steps": 10, "batch": 64},
    }
    return small_config(**(settings | changes))


def contexts(config: RunConfig) -> dict[int, Context]:
    return {node: context_of(node, config.nodes) for node in range(config.nodes)}


def learner_grid(
    config: RunConfig,
    states: Mapping[int, Context] | None = None,
    instead: Mapping[tuple[int, int], Handler] | None = None,
) -> FakeGrid:
    """Nodes at addresses 100, 101, ..; ``instead`` answers for a node in a round."""
    app, states, instead = make_client_app(config), states or contexts(config), instead or {}

    def handler(node: int) -> Handler:
        def handle(message: Message) -> list[Message]:
            task = message.content.get("fedbits.task")
            turn = task["round"] if task is not None else 0
            other = instead.get((turn, node))
            return other(message) if other else [app(message, states[node])]

        return handle

    return FakeGrid({100 + node: handler(node) for node in range(config.nodes)})


def serve_learners(
    folder: Path,
    config: RunConfig,
    instead: Mapping[tuple[int, int], Handler] | None = None,
    states: Mapping[int, Context] | None = None,
) -> ContinualResult:
    plan = Plan.of(config, load(Source.of(config)))
    session = Session(plan, RunFolder.create(folder, "run", ""))
    result = serve(learner_grid(config, states, instead), session)
    assert isinstance(result, ContinualResult)
    return result
