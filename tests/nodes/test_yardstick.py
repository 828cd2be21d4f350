from __future__ import annotations

import threading

import pytest
import torch
from fake_nodes import FakeGrid, Handler, context_of, digits, small_config
from flwr.app import ArrayRecord, Error, Message, MetricRecord, RecordDict
from torch import nn

from fedbits.evaluate import accuracy, build_network, protocol
from fedbits.progress import SILENT
from nodes import careful_grid, models
from nodes.careful_grid import CarefulGrid
from nodes.client_app import make_client_app
from nodes.yardstick import FedAvgPlan, FedAvgResult, FedAvgRound, run_fedavg


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(careful_grid, "POLL_INTERVAL", 0.01)


def fresh() -> nn.Module:
    return build_network(digits().test, protocol("laptop", width=16), seed=1)


def handlers(nodes: int = 3) -> dict[int, Handler]:
    app = make_client_app(small_config(protocol_overrides={"width": 16}))
    lock = threading.Lock()

    def handler(partition: int) -> Handler:
        def handle(message: Message) -> list[Message]:
            with lock:
                return [app(message, context_of(partition, nodes))]

        return handle

    return {100 + p: handler(p) for p in range(nodes)}


def fedavg(
    handlers: dict[int, Handler], target: float, rounds: int, network: nn.Module | None = None
) -> FedAvgResult:
    plan = FedAvgPlan(sorted(handlers), rounds, 20.0, target, torch.device("cpu"))
    return run_fedavg(CarefulGrid(FakeGrid(handlers)), network or fresh(), digits().test, plan, SILENT)


def test_it_learns_and_stops_when_it_is_as_accurate() -> None:
    network = fresh()
    before = accuracy(network, digits().test)
    result = fedavg(handlers(), target=0.6, rounds=20, network=network)
    assert result.reached == len(result.rounds) == result.rounds[-1].round
    assert result.rounds[-1].accuracy >= 0.6 > before
    assert all(entry.accuracy < 0.6 for entry in result.rounds[:-1])


def test_uplink_is_what_the_nodes_serialise() -> None:
    result = fedavg(handlers(), target=1.1, rounds=2)
    once = models.array_bytes(models.to_arrays(fresh()))
    assert once > 4 * sum(p.numel() for p in fresh().parameters())
    assert [entry.uplink_bytes for entry in result.rounds] == [3 * once] * 2
    assert result.reached is None and result.uplink_bytes == 6 * once


def test_the_same_seed_gives_the_same_rounds() -> None:
    assert fedavg(handlers(), 1.1, 2) == fedavg(handlers(), 1.1, 2)


def test_bad_nodes_cost_only_themselves() -> None:
    def poison(message: Message) -> list[Message]:
        weights = {name: torch.full_like(v, float("nan")) for name, v in fresh().state_dict().items()}
        records = RecordDict(
            {"arrays": ArrayRecord(weights), "metrics": MetricRecord({"num-examples": 10**9})}
        )
        return [Message(records, reply_to=message)]

    def lose_weight(message: Message) -> list[Message]:
        records = RecordDict(
            {"arrays": models.to_arrays(fresh()), "metrics": MetricRecord({"num-examples": -5})}
        )
        return [Message(records, reply_to=message)]

    def fail(message: Message) -> list[Message]:
        return [Message(Error(2, "..."), reply_to=message)]

    bad = {103: poison, 104: lose_weight, 105: fail, 106: lambda m: [Message(RecordDict(), reply_to=m)]}
    result = fedavg(handlers() | bad, target=0.4, rounds=20)
    assert result.reached is not None
    assert {entry.replies for entry in result.rounds} == {3}


def test_a_round_in_which_nobody_takes_part_changes_nothing() -> None:
    network = fresh()
    before = accuracy(network, digits().test)
    result = fedavg({100: lambda m: [Message(Error(2, "..."), reply_to=m)]}, 1.1, 1, network)
    assert result.rounds == (FedAvgRound(1, before, 0, 0),)
