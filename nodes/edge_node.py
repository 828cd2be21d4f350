"""The role of a node that distils its own data within a budget, once a round, and sends the blob."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flwr.app import ArrayRecord, RecordDict
from torch import nn

from fedbits import container, device
from fedbits.budget import Budget
from fedbits.data import TensorData
from fedbits.distill import distill
from fedbits.errors import ConfigError
from fedbits.progress import Progress
from fedbits.recipe_variants import ALONE
from fedbits.rng import derive_seed
from nodes import models, sharing, yardstick
from nodes.codes import Code
from nodes.config import RunConfig
from nodes.messages import (
    DISTIL,
    LOCAL_TRAINING,
    NETWORK,
    RefusedError,
    budget_bytes,
    error_records,
    read_task,
    reply_records,
)
from nodes.node import Deadline, Node, failure_code

if TYPE_CHECKING:
    from nodes.careful_grid import CarefulGrid
    from nodes.roles import Work
    from nodes.roster import Member
    from nodes.server_app import Plan, RunResult, Session

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
        config.resolved_recipe(),
        assignment.budget,
        seed=assignment.seed,
        device=str(device.pick(config.device)),
        progress=assignment.progress,
        extractor=assignment.model,
    )
    return container.encode(distilled)


@dataclass(frozen=True)
class EdgeNode:
    """The role; ``distil`` is how an assignment becomes a blob."""

    distil: Distil = distil_to_blob

    def work(self) -> Mapping[str, Work]:
        return {DISTIL: self._distil, NETWORK: self._network, LOCAL_TRAINING: _train_locally}

    def check_data(self, data: TensorData) -> None:
        """Any data will do."""

    def check(self, plan: Plan) -> None:
        if plan.recipe.storage == "none":
            raise ConfigError(
                f"recipe {plan.recipe.name!r} has no samples for the server to train on: take another, and "
                f"--yardstick networks to see what networks alone are worth"
            )
        for terms in plan.terms():
            budget_bytes(terms)
        sharing.check(plan.config.exchange)

    def serve(self, grid: CarefulGrid, session: Session, members: Sequence[Member]) -> RunResult:
        from nodes.server_app import exchange_sets

        return exchange_sets(grid, session, members)

    def report(self, result: RunResult) -> tuple[dict[str, Any], str]:
        from nodes import report, report_html

        facts = report.describe(result)
        return facts, report_html.render(facts, report.draw_sheets(result))

    def rows(self, report: Mapping[str, Any]) -> dict[str, str]:
        from nodes.terminal import rows

        return rows(report)

    def _network(self, records: RecordDict, node: Node) -> RecordDict:
        """A network in place of a set, in as many bytes."""
        config = replace(node.config, recipe=ALONE, overrides={}, share=0.0)
        return self._distil(records, replace(node, config=config))

    def _distil(self, records: RecordDict, node: Node) -> RecordDict:
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
            progress=Deadline(started + task.seconds),
        )
        try:
            blob = self.distil(assignment)
        except Exception as error:
            logger.exception("node %s failed in round %d", node.number, task.round)
            return error_records(failure_code(error), node.facts(started))
        return reply_records(node.facts(started), blob)


ROLE = EdgeNode()


def _global_model(node: Node, weights: ArrayRecord) -> nn.Module:
    network = node.network()
    models.load_arrays(network, weights)
    return network


def _train_locally(records: RecordDict, node: Node) -> RecordDict:
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
