from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc import aio

from fedbits.errors import MismatchError
from nodes.exchange import patience as patience_module
from nodes.exchange.patience import Patience, meaning
from nodes.exchange.refusals import Reason, RefusedError, UnreachableError

GONE = UnreachableError("gone")


class Time:
    """A clock that pauses move, and nothing else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        monkeypatch.setattr(patience_module.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(patience_module.asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def fail(patience: Patience, error: Exception = GONE) -> None:
    asyncio.new_event_loop().run_until_complete(patience.pause(error))


def test_patience_ends(time: Time) -> None:
    patience = Patience(10.0)
    with pytest.raises(UnreachableError):
        for _ in range(100):
            fail(patience)
    assert time.pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]


def test_what_moves_renews_it(time: Time) -> None:
    patience = Patience(1.0)
    for place in range(20):
        fail(patience)
        fail(patience)
        patience.moved(place)
    with pytest.raises(UnreachableError):
        for _ in range(20):
            fail(patience)
            patience.moved(3)  # where it was before


def test_a_long_silence_is_no_failure(time: Time) -> None:
    patience = Patience(1.0)
    for _ in range(10):
        time.now += 86400.0  # of a watch that saw nothing
        fail(patience)
    assert time.pauses == [0.1] * 10


@pytest.mark.parametrize(
    "error", [RefusedError(Reason.QUOTA), RefusedError(Reason.SUPERSEDED), MismatchError("no")]
)
def test_what_will_not_pass_is_not_waited_for(time: Time, error: Exception) -> None:
    with pytest.raises(type(error)):
        fail(Patience(10.0), error)
    assert time.pauses == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNIMPLEMENTED, MismatchError),
        (grpc.StatusCode.UNAVAILABLE, UnreachableError),
        (grpc.StatusCode.INTERNAL, UnreachableError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, RefusedError),
    ],
)
def test_what_was_not_said_by_an_exchange(code: grpc.StatusCode, kind: type[Exception]) -> None:
    error = meaning(aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), "words\nof grpc"), "host:1")
    assert type(error) is kind and "\n" not in str(error)
