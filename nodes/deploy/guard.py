"""What other hosts may ask of the SuperLink: what nodes need, and nothing else.

Flower serves everything on one port and, as it is installed, asks nobody who starts a run for a name. A run
is a program, so whoever reaches the port could run theirs on the server and on every node.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

NODE_PATHS = "/v1/fleet/"  # nodes show their keys there
HEALTH_PATH = "/health"


class LocalControl:
    """ASGI middleware that answers requests from other hosts with 404 unless they are those of nodes.

    Nodes, too, are told to come back (503) until the file ``admitted`` is there: one whose key is not known
    yet would give up for good.
    """

    def __init__(self, app: ASGIApp, admitted: Path) -> None:
        self.app = app
        self.admitted = admitted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import PlainTextResponse

        path = scope.get("path", "")
        if scope["type"] != "http":
            refusal = None if scope["type"] == "lifespan" or is_local(scope) else (404, "not found")
        elif path.startswith(NODE_PATHS):
            refusal = None if self.admitted.exists() else (503, "not yet: keys are being read")
        else:
            refusal = None if path == HEALTH_PATH or is_local(scope) else (404, "not found")
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await PlainTextResponse(refusal[1], status_code=refusal[0])(scope, receive, send)


def is_local(scope: Scope) -> bool:
    """Whether a request comes from this host: by its loopback address, or from the address it went to."""
    client, server = scope.get("client"), scope.get("server")
    if not client:
        return False
    if server and client[0] == server[0]:
        return True
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
