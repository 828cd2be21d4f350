from __future__ import annotations

import pytest
from fake_nodes import FakeGrid, Handler
from flwr.app import Message

from fedbits.errors import FedbitsError
from fedbits.progress import SILENT
from nodes import roster
from nodes.careful_grid import CarefulGrid
from nodes.messages import Facts, reply_records
from nodes.roster import Returns, assemble, number_nodes


def claim(partition: int) -> Handler:
    return lambda message: [Message(reply_records(Facts(partition=partition)), reply_to=message)]


def test_nodes_are_numbered_by_the_partition_they_hold() -> None:
    grid = CarefulGrid(FakeGrid({7: claim(2), 5: claim(0), 9: claim(1)}))
    assert [(m.number, m.address) for m in assemble(grid, 3, SILENT)] == [(0, 5), (1, 9), (2, 7)]


@pytest.mark.parametrize("claims", [{5: 0, 6: 0, 7: 1}, {5: 10**12, 6: -1, 7: 1}, {5: -1, 6: -1, 7: -1}])
def test_numbers_are_unique_whatever_is_claimed(claims: dict[int, int]) -> None:
    assert sorted(number_nodes(claims).values()) == [0, 1, 2]


def test_a_strange_claim_does_not_displace_an_honest_one() -> None:
    assert number_nodes({1: 99, 2: 0, 3: 2})[2] == 0
    assert number_nodes({1: 99, 2: 0, 3: 2})[3] == 2


def test_a_silent_node_still_takes_part() -> None:
    grid = CarefulGrid(FakeGrid({5: claim(1), 6: lambda message: []}))
    assert [(m.number, m.address) for m in assemble(grid, 2, SILENT, seconds=0.1)] == [(0, 6), (1, 5)]


class Wavering(FakeGrid):
    """At each look other nodes are there; the last look stays."""

    def __init__(self, *looks: set[int]) -> None:
        super().__init__({})
        self.looks = list(looks)

    def get_node_ids(self) -> list[int]:
        return sorted(self.looks.pop(0) if len(self.looks) > 1 else self.looks[0])


def test_a_round_waits_for_a_node_that_comes_back() -> None:
    grid = Wavering({5}, {5}, {5, 6})
    returns = Returns([5, 6])
    returns.wait(CarefulGrid(grid, interval=0.001))
    assert grid.looks == [{5, 6}] and not returns.missed


def test_a_node_that_stays_away_is_waited_for_once_each_time_it_goes() -> None:
    grid, returns = Wavering({5}), Returns([5, 6])
    careful = CarefulGrid(grid, interval=0.001)
    returns.wait(careful, 0.01)
    assert returns.missed == {6}
    returns.wait(careful, 60.0)  # returns at once
    grid.looks = [{5, 6}]
    returns.wait(careful, 60.0)
    assert not returns.missed
    grid.looks = [{6}, {6}, {5, 6}]
    returns.wait(careful, 60.0)
    assert grid.looks == [{5, 6}]


def test_without_any_node_there_is_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "REGISTER_SECONDS", 0.05)
    with pytest.raises(FedbitsError, match="no node registered"):
        assemble(CarefulGrid(FakeGrid({})), 2, SILENT)
