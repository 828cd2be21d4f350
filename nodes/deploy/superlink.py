"""``python -m nodes.deploy.superlink``: Flower's SuperLink behind :class:`~nodes.deploy.guard.LocalControl`.

It takes the arguments of ``flower-superlink``, and ends when the process that started it does.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from nodes.deploy.guard import LocalControl

ADMITTED = "FEDBITS_NODES_ADMITTED"  # names the file that says that the keys of nodes are known


def guard_control(admitted: Path) -> None:
    """Put the guard in front of everything that the SuperLink serves; nodes wait for the file ``admitted``.

    Raises:
        RuntimeError: Flower has no such place any more. It must not start without the guard.
    """
    from flwr.superlink import extensions, main
    from starlette.middleware import Middleware

    if main.extensions is not extensions or not callable(getattr(extensions, "get_middleware", None)):
        raise RuntimeError("this version of Flower takes no middleware for its SuperLink: install flwr 1.41")
    others = extensions.get_middleware
    extensions.get_middleware = lambda: (Middleware(LocalControl, admitted=admitted), *others())
    if main._get_middleware()[0].cls is not LocalControl:
        raise RuntimeError("this version of Flower ignores middleware for its SuperLink: install flwr 1.41")


def quiet() -> None:
    """Leave out of the log the requests that went well: every node and every run asks once a second."""
    logging.getLogger("uvicorn.access").addFilter(is_worth_a_line)


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Whether an entry of uvicorn's access log is of a request that was refused or failed."""
    status = record.args[-1] if isinstance(record.args, tuple) and record.args else None
    return not isinstance(status, int) or status >= 400


def main() -> None:
    from flwr.supercore.app_utils import start_parent_process_monitor
    from flwr.superlink.cli.flower_superlink import flower_superlink

    start_parent_process_monitor(os.getppid())
    quiet()
    guard_control(Path(os.environ[ADMITTED]))
    flower_superlink()


if __name__ == "__main__":
    main()
