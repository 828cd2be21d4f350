"""One call: who makes it, by what right, and how it ends if it does not end well."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from grpc import aio

from nodes.exchange import rpc
from nodes.exchange.access import Access, Right, Rule
from nodes.exchange.identity import certified_name, claimed_name
from nodes.exchange.metrics import Metrics
from nodes.exchange.refusals import Reason, RefusedError

logger = logging.getLogger("fedbits.exchange")

Handler = Callable[[Any, "Call"], Awaitable[Any]]


@dataclass
class Call:
    """What a method knows of its call besides the request.

    Attributes:
        node: who calls; empty until that is known.
        right: that the call takes; None if anybody may make it.
        idle: seconds in which something must move.
        facts: for the log.
    """

    context: Any
    node: str
    right: Right | None
    access: Access
    idle: float
    facts: dict[str, Any]

    def rule(self) -> Rule:
        """What the node may do by now; raises :class:`RefusedError` if that is not what it is doing."""
        rule = self.access.rule(self.node)
        if self.right is not None:
            rule.check(self.right)
        return rule

    async def read(self) -> Any:
        """The next request of a stream, or None at its end.

        Raises:
            RefusedError: it does not come, or the node has lost its right.
        """
        request = await self._within(self.context.read())
        self.rule()
        return None if request is aio.EOF else request

    async def write(self, reply: Any) -> None:
        """Send one reply of a stream; raises as :meth:`read` does."""
        self.rule()
        await self._within(self.context.write(reply))

    async def _within(self, move: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self.idle):
                return await move
        except TimeoutError:
            raise RefusedError(Reason.IDLE, f"nothing moved for {self.idle:g} seconds") from None


@dataclass(frozen=True)
class Desk:
    """Where every call is met: its caller is identified, its end is counted, logged and told.

    Args:
        insecure: take the name that callers give themselves.
        idle: seconds in which something must move in a stream.
        calls_per_node: that may go on at the same time.
    """

    access: Access
    metrics: Metrics
    insecure: bool
    idle: float
    calls_per_node: int
    running: Counter[str]

    def method(self, name: str, handler: Handler, right: Right | None) -> rpc.Behaviour:
        """The behaviour of method ``name``; ``right`` is None for the one that anybody may call."""

        async def behave(request: Any, context: Any) -> Any:
            started, reply, refusal = time.monotonic(), None, None
            call = Call(context, "", right, self.access, self.idle, {})
            with self.metrics.call(name) as outcomes:
                try:
                    self._admit(call)
                    reply = await self._counted(handler, request, call)
                except RefusedError as error:
                    refusal = error
                except asyncio.CancelledError:  # the caller has gone, or the exchange is going
                    outcomes.append("cancelled")
                    self._log(name, call, started, "cancelled")
                    raise
                except Exception:
                    logger.exception(
                        "a call failed in a way it should not", extra={"facts": {"method": name}}
                    )
                    refusal = RefusedError(Reason.FAILED)
                if refusal is None:
                    self._log(name, call, started, "ok")
                    return reply
                outcomes.append(refusal.reason.value)
            self.metrics.refusals.labels(name, refusal.reason.value).inc()
            self._log(name, call, started, refusal.reason.value, refusal)
            metadata = ((rpc.REASON_KEY, refusal.reason.value),)
            await context.abort(refusal.reason.status, str(refusal), metadata)
            return None

        return behave

    def _admit(self, call: Call) -> None:
        """Find out who calls; raises :class:`RefusedError` for somebody who must not."""
        metadata = call.context.invocation_metadata() or ()
        if self.insecure:
            call.node = claimed_name(metadata, rpc.NODE_KEY)
        else:
            call.node = certified_name(call.context.auth_context())
        if call.right is not None:
            _check_protocol(dict(metadata).get(rpc.PROTOCOL_KEY))
        call.rule()

    async def _counted(self, handler: Handler, request: Any, call: Call) -> Any:
        if self.running[call.node] >= self.calls_per_node:
            raise RefusedError(
                Reason.BUSY, f"the node has {self.calls_per_node} calls going on: wait for one"
            )
        self.running[call.node] += 1
        try:
            return await handler(request, call)
        finally:
            self.running[call.node] -= 1
            if not self.running[call.node]:
                del self.running[call.node]

    def _log(
        self, name: str, call: Call, started: float, outcome: str, refusal: RefusedError | None = None
    ) -> None:
        facts = {"method": name, "outcome": outcome, "seconds": round(time.monotonic() - started, 4)}
        facts |= {"node": call.node, "peer": call.context.peer(), **call.facts}
        if refusal is not None:
            facts["text"] = str(refusal)
            if refusal.__cause__ is not None:
                facts["cause"] = repr(refusal.__cause__)
        level = logging.ERROR if refusal is not None and refusal.reason is Reason.FAILED else logging.INFO
        logger.log(level, "call", extra={"facts": facts})


def _check_protocol(spoken: str | None) -> None:
    if spoken != str(rpc.PROTOCOL):
        raise RefusedError(
            Reason.PROTOCOL,
            f"the caller speaks protocol {str(spoken)[:20]}, this exchange {rpc.PROTOCOL}: call Hello first",
        )
