"""The server of a run: it exchanges sets with the nodes, trains, and measures FedAvg beside it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedbits import device
from fedbits.data import DataSet, Labelled, TensorData
from fedbits.data.union import Union
from fedbits.distilled_set import DistilledSet
from fedbits.errors import ConfigError
from fedbits.evaluate import Evaluation, Protocol, accuracy, build_network, evaluate_on, protocol, train
from fedbits.pooling import with_pooled_labels
from fedbits.progress import SILENT, Progress
from fedbits.recipe import Recipe
from fedbits.rng import derive_seed
from nodes import models, roles, sharing
from nodes.careful_grid import CarefulGrid
from nodes.codes import Code
from nodes.config import RunConfig
from nodes.ensemble import EnsembleResult, run_ensemble
from nodes.messages import Terms
from nodes.roster import Member, assemble
from nodes.run_folder import RunFolder
from nodes.run_log import log_to
from nodes.shard import Source, load
from nodes.sharing import Joined
from nodes.stopping import Stoppable
from nodes.strategy import DistilledExchange, Exchange, Learned, Learner, RoundResult
from nodes.yardstick import FedAvgPlan, FedAvgResult, run_fedavg

_WHOLE = ""  # of the test data
DEPLOYED_INTERVAL = 1.0  # seconds between two looks for replies, each of which is a request over TLS


@dataclass(frozen=True)
class Plan:
    """A run's configuration with every name in it resolved against the data."""

    config: RunConfig
    data: DataSet
    recipe: Recipe
    protocol: Protocol
    device: torch.device

    @classmethod
    def of(cls, config: RunConfig, data: DataSet) -> Plan:
        """Resolve ``config``.

        Raises:
            ConfigError, BudgetError: a name that does not exist or values that cannot work together.
        """
        try:
            how = protocol(config.protocol, **config.protocol_overrides)
        except TypeError as error:
            raise ConfigError(f"protocol {config.protocol!r} has no such setting: {error}") from error
        recipe = config.resolved_recipe()
        plan = cls(config, data, recipe, how, device.pick(config.device))
        build_network(data.test, how, seed=0)
        roles.get(config.role).check(plan)
        return plan

    def terms(self) -> list[Terms]:
        """What each edge node's blob must keep to, by its number."""
        numbers = range(self.config.nodes)
        return [Terms(self.data.spec, self.config.node_budget(n), self.recipe.ipc) for n in numbers]


@dataclass(frozen=True)
class Session:
    """Everything one run of the server works with.

    ``stop`` ends it from outside; ``interval`` is the time between two looks for replies, in seconds.
    """

    plan: Plan
    folder: RunFolder
    progress: Progress = SILENT
    stop: threading.Event = field(default_factory=threading.Event)
    interval: float | None = None


@dataclass(frozen=True)
class Result:
    """What happened, for the report; ``seconds`` by part of the run. Each role has its own."""

    plan: Plan
    folder: RunFolder
    members: list[Member]
    seconds: dict[str, float]


@dataclass(frozen=True)
class RunResult(Result):
    """Of edge nodes; ``joined`` are the sets that came from an exchange."""

    rounds: list[RoundResult]
    fedavg: FedAvgResult | None
    ensemble: EnsembleResult | None
    joined: list[Joined]

    @property
    def accuracies(self) -> list[float]:
        """Test accuracies after the last round, one a network; empty if no set was ever accepted."""
        learned = self.rounds[-1].learned
        return [] if learned is None else learned.accuracies


def make_server_app(open_session: Callable[[Context], Session], done: Callable[[Result], None]) -> ServerApp:
    """The ServerApp of a run; ``done`` is called with its result."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        done(serve(grid, open_session(context)))

    return app


def serve(grid: Grid, session: Session) -> Result:
    """Wait for the nodes, and do what the run's role asks of the server.

    Raises:
        StoppedError: ``session.stop`` was set.
    """
    session = replace(session, progress=Stoppable(session.progress, session.stop))
    config, started = session.plan.config, time.monotonic()
    careful = CarefulGrid(grid, session.stop, session.interval)
    members = assemble(careful, config.nodes, session.progress)
    ready = time.monotonic() - started
    result = roles.get(config.role).serve(careful, session, members)
    return replace(result, seconds={"start": ready, **result.seconds})


def exchange_sets(
    grid: CarefulGrid,
    session: Session,
    members: Sequence[Member],
    parts: Mapping[str, TensorData] | None = None,
) -> RunResult:
    """Run the exchange of nodes' sets, and the yardstick if there is one.

    The final networks are tested on ``parts`` of the test data, too.
    """
    plan, started = session.plan, time.monotonic()
    with sharing.opened(plan.config.exchange) as shelf:
        joined = sharing.joined(shelf, plan.data.spec) if shelf and plan.config.join else []
        learner = UnionLearner(session, parts or {})
        strategy = DistilledExchange(
            replace(_exchange(session, members, learner), shelf=shelf, joined=joined)
        )
        strategy.start(
            grid,
            initial_arrays=models.to_arrays(fresh_network(plan)),
            num_rounds=plan.config.rounds,
            timeout=plan.config.timeout,
        )
    exchanged = time.monotonic()
    learned = strategy.results[-1].learned
    fedavg, ensemble = None, None
    if plan.config.measures("fedavg") and learned is not None:
        fedavg = _measure_fedavg(grid, session, members, mean(learned.accuracies))
    if plan.config.measures("networks"):
        ensemble = run_ensemble(grid, session, members, strategy.union)
    seconds = {"exchange": exchanged - started, "yardstick": time.monotonic() - exchanged}
    return RunResult(plan, session.folder, list(members), seconds, strategy.results, fedavg, ensemble, joined)


def _exchange(session: Session, members: Sequence[Member], learner: Learner) -> Exchange:
    config = session.plan.config
    budgets = [config.budget_text(number) for number in range(config.nodes)]
    return Exchange(
        members=members,
        terms=session.plan.terms(),
        budgets=budgets,
        folder=session.folder,
        learner=learner,
        timeout=config.timeout,
        progress=session.progress,
    )


def fresh_network(plan: Plan) -> torch.nn.Module:
    """The network that a run starts from; the yardstick starts from the same."""
    return build_network(plan.data.test, plan.protocol, derive_seed(plan.config.seed, "global model"))


def _measure_fedavg(
    grid: CarefulGrid, session: Session, members: Sequence[Member], target: float
) -> FedAvgResult:
    plan = session.plan
    what = FedAvgPlan(
        addresses=[member.address for member in members if member.code is not Code.PROTOCOL],
        rounds=plan.config.yardstick_rounds,
        timeout=plan.config.timeout,
        target=target,
        device=plan.device,
    )
    return run_fedavg(grid, fresh_network(plan), plan.data.test, what, session.progress)


def test_union(data: Labelled, tests: Mapping[str, TensorData], session: Session) -> dict[str, Evaluation]:
    """What ``repeats`` fresh networks that are trained on ``data`` as the run says know of ``tests``."""
    plan = session.plan
    return evaluate_on(
        data,
        tests,
        plan.protocol,
        repeats=plan.config.repeats,
        seed=plan.config.seed,
        device=plan.device,
        progress=session.progress,
    )


@dataclass(frozen=True)
class UnionLearner:
    """Trains on the union from scratch: one network between rounds, ``repeats`` of them after the last."""

    session: Session
    parts: Mapping[str, TensorData] = field(default_factory=dict)

    def __call__(self, turn: int, sets: Sequence[DistilledSet]) -> Learned:
        plan, progress = self.session.plan, self.session.progress
        config, test, started = plan.config, plan.data.test, time.monotonic()
        union = Union(plan.data.spec, with_pooled_labels(sets) if config.pooled else sets)
        if turn == config.rounds:
            found = test_union(union, {_WHOLE: test, **self.parts}, self.session)
            by_part = {name: list(found[name].accuracies) for name in self.parts}
            return Learned(list(found[_WHOLE].accuracies), time.monotonic() - started, by_part=by_part)
        network = fresh_network(plan).to(plan.device)
        seed = derive_seed(config.seed, "global training", turn)
        train(network, union, plan.protocol, seed=seed, progress=progress)
        accuracies = [accuracy(network, test)]
        return Learned(accuracies, time.monotonic() - started, models.to_arrays(network))


# ------------------------------------------------------------------------------------------- in a deployment


def _open_deployed(context: Context) -> Session:
    """The session of a run that was submitted: its settings are Flower's run config, its folder is there."""
    from fedbits.cli.common import LineProgress

    config = RunConfig.from_flat(context.run_config)
    folder = RunFolder.open(Path(config.out) / (config.name or f"run-{context.run_id}"))
    for name in ("flwr", "fedbits"):
        log_to(folder.log, name)
    plan = Plan.of(config, load(Source.of(config)))
    return Session(plan, folder, LineProgress(sys.stderr), interval=DEPLOYED_INTERVAL)


def _write_report(result: Result) -> None:
    from nodes import report  # which takes a Result apart

    report.write(result)


app = make_server_app(_open_deployed, _write_report)  # what an app bundle of a deployment names
