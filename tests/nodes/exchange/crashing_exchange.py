"""An exchange that is killed with -9 at one instant: ``python crashing_exchange.py STORAGE PORT INSTANT``.

It decodes nothing, so that it starts at once; ``INSTANT`` may be ``never``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodes.exchange import publishing, server, store
from nodes.exchange.credentials import Credentials
from nodes.exchange.index import Index
from nodes.exchange.settings import Settings


class NoExaminers:
    """Takes everything for a set."""

    newest_format = 1

    def __init__(self, *_: object) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def examine(self, *_: object) -> dict[str, Any]:
        if sys.argv[3] == "while examining":
            die()
        return {}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(holder: Any, name: str, before: bool, at: int = 1) -> None:
    """Let the ``at``-th call of ``holder.name`` be the last thing that happens, or almost happens."""
    real: Callable[..., Any] = getattr(holder, name)
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if before and calls == at:
            die()
        result = real(*args, **kwargs)
        if calls == at:
            die()
        return result

    setattr(holder, name, wrapped)


INSTANTS: dict[str, Callable[[], None]] = {
    "never": lambda: None,
    "before the first byte": lambda: dying(publishing, "_write_at", True),
    "after some bytes": lambda: dying(publishing, "_write_at", False, at=2),
    "while examining": lambda: None,
    "before the bytes are synchronised": lambda: dying(store, "_synchronise", True),
    "after the rename": lambda: dying(Path, "replace", False),
    "before the row": lambda: dying(Index, "add", True),
    "after the row": lambda: dying(Index, "add", False),
}


def main() -> None:
    INSTANTS[sys.argv[3]]()
    server.Examiners = NoExaminers  # type: ignore[assignment, misc]
    settings = Settings(Path(sys.argv[1]), f"127.0.0.1:{sys.argv[2]}", Credentials(insecure=True))
    asyncio.run(server.serve(settings, lambda started: print(started.port, flush=True)))


if __name__ == "__main__":
    main()
