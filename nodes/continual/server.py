"""The server's part of a run of continual learners."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from flwr.app import ArrayRecord
from torch import nn

from fedbits.budget import Budget
from fedbits.data import TensorData
from fedbits.data.union import Union
from fedbits.distilled_set import DistilledSet
from fedbits.evaluate import accuracy, build_network, train
from fedbits.rng import derive_seed
from nodes.careful_grid import CarefulGrid
from nodes.continual import yardstick
from nodes.continual.learner import capacity, memory_config
from nodes.continual.strategy import Held, MemoryExchange, RoundResult, Setting, Tested
from nodes.continual.stream import check_rounds
from nodes.continual.yardstick import ExperienceResult, ReplayPlan
from nodes.messages import Terms, budget_bytes
from nodes.roster import Member
from nodes.server_app import Plan, Result, Session, fresh_network


@dataclass(frozen=True)
class ContinualResult(Result):
    """Of continual learners.

    Attributes:
        memories: as the server has them at the end, by node, oldest blob first.
        replay: FedAvg with replay, where it was asked for.
    """

    rounds: list[RoundResult]
    memories: dict[int, list[Held]]
    replay: list[ExperienceResult] | None


def memory_terms(plan: Plan) -> list[Terms]:
    """What each node's memory must keep to, by its number; their limit is the memory's capacity."""
    config, spec = plan.config, plan.data.spec
    sizes = [capacity(config.node_budget(number), spec) for number in range(config.nodes)]
    return [Terms(spec, Budget(size)) for size in sizes]


def check(plan: Plan) -> None:
    """Raise :class:`fedbits.errors.FedbitsError` where the run cannot work."""
    check_rounds(plan.data.spec.classes, plan.config.rounds)
    for terms in memory_terms(plan):
        memory_config(plan.config, budget_bytes(terms), plan.data.spec.classes)


def serve(grid: CarefulGrid, session: Session, members: Sequence[Member]) -> ContinualResult:
    """Exchange memories, a round for each experience, and run the yardstick if there is one."""
    plan, started = session.plan, time.monotonic()
    strategy = MemoryExchange(
        Setting(
            members=members,
            terms=memory_terms(plan),
            folder=session.folder,
            learner=UnionTester(session),
            timeout=plan.config.timeout,
            progress=session.progress,
        )
    )
    # Nodes get no model, so there are no arrays to begin with.
    strategy.start(grid, ArrayRecord(), num_rounds=plan.config.rounds, timeout=plan.config.timeout)
    exchanged = time.monotonic()
    replay = None
    if plan.config.yardstick == "fedavg" and strategy.results[-1].tested is not None:
        what = ReplayPlan(
            members, memory_terms(plan), plan.config.rounds, plan.config.yardstick_rounds, plan.config.timeout
        )
        replay = yardstick.run(
            grid, fresh_network(plan), what, lambda network: test(network, plan), session.progress
        )
    return ContinualResult(
        plan,
        session.folder,
        list(members),
        {"exchange": exchanged - started, "yardstick": time.monotonic() - exchanged},
        strategy.results,
        {node: list(memory.values()) for node, memory in strategy.memories.items()},
        replay,
    )


@dataclass(frozen=True)
class UnionTester:
    """Trains on the union from scratch: one network between rounds, ``repeats`` of them after the last."""

    session: Session

    def __call__(self, turn: int, sets: Sequence[DistilledSet]) -> Tested:
        plan, started = self.session.plan, time.monotonic()
        config, union = plan.config, Union(plan.data.spec, sets)
        repeats = config.repeats if turn == config.rounds else 1
        rows, totals = [], [0]
        for repeat in range(repeats):
            seed = derive_seed(config.seed, "union", turn, repeat)
            network = build_network(union, plan.protocol, seed).to(plan.device)
            title = f"training {repeat + 1}/{repeats}"
            train(network, union, plan.protocol, seed=seed, progress=self.session.progress, title=title)
            correct, totals = test(network, plan)
            rows.append(correct)
        return Tested(rows, totals, time.monotonic() - started)


def test(network: nn.Module, plan: Plan) -> tuple[list[int], list[int]]:
    """Of each class, the test samples that ``network`` classifies correctly, and how many there are."""
    network.to(plan.device)
    parts = [plan.data.test.subset(index) for index in plan.data.test.class_indices()]
    return [_correct(network, part) for part in parts], [len(part) for part in parts]


def _correct(network: nn.Module, data: TensorData) -> int:
    return round(accuracy(network, data) * len(data)) if len(data) else 0
