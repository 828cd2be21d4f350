"""A federated run on this machine: Flower's simulation engine, with the nodes in processes of their own."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import logging
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from fedbits.errors import FedbitsError
from fedbits.progress import SILENT, Progress
from nodes.config import RunConfig
from nodes.roles import EDGE_NODE
from nodes.run_folder import RunFolder
from nodes.run_log import log_to

if TYPE_CHECKING:
    from flwr.app import Context, Message
    from flwr.clientapp import ClientApp
    from flwr.clientapp.typing import ClientAppCallable, Mod

    from nodes.server_app import Plan, Result, Session

    MakeClientApp = Callable[[RunConfig, list[Mod]], ClientApp]

# Read by Flower and Ray when they are imported or started.
ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # Ray's 15 would starve the nodes on a busy machine
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # nodes see the GPU without reserving it
}
OBJECT_STORE_BYTES = 256 << 20  # it holds messages only; Ray's default is a third of the memory
MAX_NODES_ON_GPU = 8  # at a time; each has its own CUDA context
STOP_INTERVAL = 0.25  # seconds between two looks of a node at whether it should stop


def run(
    config: RunConfig, progress: Progress = SILENT, make_app: MakeClientApp | None = None
) -> dict[str, Any]:
    """Run ``config`` and return the report, which is also in the run's folder.

    Args:
        config: what to run.
        progress: told of each reply and each step of training.
        make_app: makes the nodes' ClientApp from the run and the mods it must apply; the real one when left
            out.

    Raises:
        FedbitsError: wrong configuration, data that is not there, or Flower is not installed.
        KeyboardInterrupt: what has arrived so far stays in the run's folder.
    """
    prepare_environment()
    try:
        from nodes import report
        from nodes.client_app import make_client_app
        from nodes.server_app import Plan, Session
        from nodes.shard import Source, load, load_shard
    except ImportError as error:
        raise FedbitsError(
            f"a federated run needs Flower ({error}): install it with pip install 'fedbits[federated]'"
        ) from error
    source = Source.of(config)
    plan = Plan.of(config, load(source))
    load_shard(source, 0, config.nodes)  # a partition that cannot work fails here, not in each node
    folder = RunFolder.create(Path(config.out), config.name, default_name(config))
    with (
        _logged(folder.log) as log,
        tempfile.TemporaryDirectory(prefix="fb-", ignore_cleanup_errors=True) as temporary,
    ):
        stop = Path(temporary) / "stop"
        mods: list[Mod] = [Bounded(str(folder.log.resolve()), str(stop))]
        app = make_app(config, mods) if make_app else make_client_app(config, mods=mods)
        result = _simulate(Session(plan, folder, progress), app, Surroundings(log, stop, temporary))
    return report.write(result)


def prepare_environment() -> None:
    """Set what Flower and Ray read from the environment; call it before either is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "FLWR_HOME" not in os.environ:
        os.environ["FLWR_HOME"] = tempfile.mkdtemp(prefix="fedbits-flwr-")
        atexit.register(shutil.rmtree, os.environ["FLWR_HOME"], ignore_errors=True)


def default_name(config: RunConfig) -> str:
    """What a run is called when nobody says."""
    data = re.sub(r"[^A-Za-z0-9_]+", "-", config.data).strip("-")[-60:]
    role = "" if config.role == EDGE_NODE else f"{config.role}-"
    return f"{data}-{role}{config.recipe}-seed{config.seed}"


@dataclass(frozen=True)
class Surroundings:
    """Of a simulation: the run's open log, the file that tells nodes to stop, and a folder for Ray."""

    log: TextIO
    stop: Path
    temporary: str


def _simulate(session: Session, app: ClientApp, around: Surroundings) -> Result:
    from flwr.simulation import run_simulation

    from nodes.server_app import make_server_app

    results: list[Result] = []
    server = make_server_app(lambda context: session, results.append)
    backend = _backend(session.plan, around.temporary)
    with _interruptible(session.stop, around.stop) as interrupted:
        try:
            with contextlib.redirect_stdout(around.log), _python_path_kept():  # Ray prints on stdout
                run_simulation(server, app, session.plan.config.nodes, backend_config=backend)
        except FedbitsError:
            raise
        except Exception as error:
            if interrupted.is_set():
                raise KeyboardInterrupt from error
            logging.getLogger("fedbits.nodes").exception("the simulation failed")
            reason = str(error) or type(error).__name__
            raise FedbitsError(f"the simulation failed ({reason}); {session.folder.log} says more") from error
        finally:
            session.stop.set()  # whatever happened, the server must not go on in its own thread
    return results[0]


@contextlib.contextmanager
def _interruptible(stop: threading.Event, stop_nodes: Path) -> Iterator[threading.Event]:
    """Let Ctrl-C end the server and the nodes, and so the simulation.

    Raised in the midst of Flower's engine, a KeyboardInterrupt leaves threads that wait for Ray for ever and
    keep the process from ending. A second Ctrl-C is raised at once all the same.
    """
    interrupted = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        stop.set()
        stop_nodes.touch()

    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    before = signal.signal(signal.SIGINT, end)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _backend(plan: Plan, temporary: str) -> dict[str, Any]:
    """Flower's settings for Ray.

    A node that dies (out of memory, a crash) takes its process with it; Ray then starts a new one, and one
    retry lets tasks wait for that instead of failing at once, each with the process that is not yet there.
    """
    at_once = min(plan.config.nodes, _cores())
    if plan.device.type == "cuda":
        at_once = min(at_once, MAX_NODES_ON_GPU)
    return {
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0, "max_restarts": -1, "max_task_retries": 1},
        "init_args": {
            "num_cpus": at_once,
            "include_dashboard": False,
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "configure_logging": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_temp_dir": temporary,
        },
    }


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Bounded:
    """A Flower mod that ends a node's process when nobody waits for its reply any more.

    That is when the server has given up on it, or the file ``stop`` is there. Without it a node that hangs
    would keep the simulation from ever ending. Only for simulations, where all clocks are one and the
    process is nobody else's. It also sends the node's log to the run's.
    """

    def __init__(self, log: str, stop: str) -> None:
        self.log, self.stop = log, stop

    def __call__(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        left = message.metadata.created_at + message.metadata.ttl - time.time()
        if left <= 0 or Path(self.stop).exists():
            raise TimeoutError("the server no longer waits for this reply")
        log_to(Path(self.log), "fedbits")
        done = threading.Event()
        threading.Thread(target=self._watch, args=(done,), daemon=True).start()
        with open(self.log, "a") as stream:  # noqa: PTH123 - faulthandler needs the descriptor
            faulthandler.dump_traceback_later(left, exit=True, file=stream)
            try:
                return call_next(message, context)
            finally:
                faulthandler.cancel_dump_traceback_later()
                done.set()

    def _watch(self, done: threading.Event) -> None:
        while not done.wait(STOP_INTERVAL):
            if Path(self.stop).exists():
                os._exit(1)


# -------------------------------------------------------------------------------------------------- logging


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[TextIO]:
    """Everything that Flower, Ray and the nodes have to say goes into the run's log, and nowhere else."""
    kept = []
    for name in ("flwr", "ray"):
        logger = logging.getLogger(name)
        kept.append((logger, list(logger.handlers), logger.propagate))
        logger.handlers, logger.propagate = [], False
    handlers = [log_to(path, name) for name in ("flwr", "ray", "fedbits")]
    try:
        with path.open("a", buffering=1) as stream:
            yield stream
    finally:
        logging.getLogger("fedbits").removeHandler(handlers[-1])
        for logger, before, propagate in kept:
            logger.handlers, logger.propagate = before, propagate
        for handler in handlers:
            handler.close()


@contextlib.contextmanager
def _python_path_kept() -> Iterator[None]:
    before = os.environ.get("PYTHONPATH")
    try:
        yield
    finally:  # Flower puts its own search path there for Ray, and leaves it
        if before is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = before
