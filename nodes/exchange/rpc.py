"""The service's methods as gRPC calls, made from the description in ``exchange.proto``.

This takes the place of the stubs that ``grpcio-tools`` would generate: those want the grpcio of their own
release or a later one, and the core that holds the generated messages must not import grpc.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.message import Message

from fedbits.wire import exchange_pb2 as pb

PROTOCOL = 1  # what this fedbits speaks, and all that it speaks
PROTOCOL_KEY, NODE_KEY, REASON_KEY = "fedbits-protocol", "fedbits-node", "fedbits-reason"
CHUNK = (
    1 << 18
)  # bytes of a blob in one message: large enough that messages cost nothing, small enough to hold
MESSAGE_LIMIT = CHUNK + (
    1 << 13
)  # of what the exchange takes: a chunk, or an announcement with all its parents
REPLY_LIMIT = 1 << 23  # of what a client takes: a page of entries is at most about 1 MiB

SERVICE = pb.DESCRIPTOR.services_by_name["Exchange"]

# What both sides agree on about a connection: one that is dead is noticed within a minute and a half, and
# pings are allowed even where nothing moves (a watch may be silent for days).
CONNECTION = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
    # What the other end may send ahead in a stream is fixed: left to itself, it grows to 16 MiB, which an
    # exchange would have to hold for every upload. 10 MB a second and stream over a distance of 50 ms.
    ("grpc.http2.lookahead_bytes", 2 * CHUNK),
    ("grpc.http2.bdp_probe", 0),
)


@dataclass(frozen=True)
class Method:
    """One method of the service."""

    name: str
    streams_in: bool
    streams_out: bool
    request: type[Message]
    reply: type[Message]

    @property
    def kind(self) -> str:
        """As grpc calls it: unary_unary, unary_stream, stream_stream."""
        return f"{'stream' if self.streams_in else 'unary'}_{'stream' if self.streams_out else 'unary'}"

    @property
    def path(self) -> str:
        return f"/{SERVICE.full_name}/{self.name}"


METHODS = tuple(
    Method(
        method.name,
        method.client_streaming,
        method.server_streaming,
        message_factory.GetMessageClass(method.input_type),
        message_factory.GetMessageClass(method.output_type),
    )
    for method in SERVICE.methods
)

Behaviour = Callable[[Any, Any], Awaitable[Any]]


def handlers(behaviours: Mapping[str, Behaviour]) -> grpc.GenericRpcHandler:
    """What a server is given: a behaviour ``(request or requests, context)`` for each method by its name."""
    made = {}
    for method in METHODS:
        make = getattr(grpc, f"{method.kind}_rpc_method_handler")
        made[method.name] = make(
            behaviours[method.name],
            request_deserializer=method.request.FromString,
            response_serializer=method.reply.SerializeToString,
        )
    return grpc.method_handlers_generic_handler(SERVICE.full_name, made)


class Stub:
    """The methods on a channel, each by its name: ``Stub(channel).calls["Fetch"](request, metadata=...)``."""

    def __init__(self, channel: Any) -> None:
        self.calls = {
            method.name: getattr(channel, method.kind)(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.reply.FromString,
            )
            for method in METHODS
        }
