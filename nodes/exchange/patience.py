"""What a failed call means, and whether to make it again."""

from __future__ import annotations

import asyncio
import time

import grpc
from grpc import aio

from fedbits.errors import MismatchError
from nodes.exchange import rpc
from nodes.exchange.refusals import TEMPORARY, Reason, RefusedError, UnreachableError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_LIVELY = (
    60.0  # seconds after which a call that ends had somebody at its other end: connecting takes 20 at most
)


class Patience:
    """How long to go on trying: for some seconds from the first failure after the last sign of life."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._furthest = seconds, -1
        self._tried = time.monotonic()
        self._alive()

    def _alive(self) -> None:
        self._failing_since: float | None = None
        self._pause = _FIRST_PAUSE

    def moved(self, place: int) -> None:
        """Bytes, or sets, so far; only what was not reached before is a sign of life."""
        if place > self._furthest:
            self._furthest = place
            self._alive()

    async def pause(self, error: Exception) -> None:
        """Wait for a while, longer each time; raises ``error`` if it will not pass, or patience has ended."""
        now = time.monotonic()
        if now - self._tried > _LIVELY:
            self._alive()
        if self._failing_since is None:
            self._failing_since = now
        if not _passes(error) or now + self._pause > self._failing_since + self._seconds:
            raise error
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._tried = time.monotonic()


def _passes(error: Exception) -> bool:
    return isinstance(error, UnreachableError) or (
        isinstance(error, RefusedError) and error.reason in TEMPORARY
    )


def reason_of(error: aio.AioRpcError) -> Reason | None:
    """Why an exchange has refused a call, if it was an exchange that did."""
    told = dict(error.trailing_metadata() or ()).get(rpc.REASON_KEY)
    return Reason(str(told)) if told in set(Reason) else None


def meaning(error: aio.AioRpcError, address: str) -> Exception:
    """What a failed call means to the one who made it."""
    reason = reason_of(error)
    details = " ".join((error.details() or "").split())[:300]
    if reason is not None:
        return MismatchError(details) if reason is Reason.PROTOCOL else RefusedError(reason, details)
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return MismatchError(
            f"what answers at {address} is not an exchange, or not one that this fedbits knows"
        )
    if error.code() in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    ):
        return UnreachableError(
            f"no exchange answers at {address} ({details}): is it running, is the address right, and are the "
            "certificates of both ends valid and of the same authority?"
        )
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:  # by grpc itself: too many calls at once
        return RefusedError(Reason.BUSY)
    # Among these, what grpc makes of a call that was refused in the middle of a chunk: the next says why.
    return UnreachableError(
        f"the exchange at {address} does not answer as it should: {error.code().name}: {details}"
    )
