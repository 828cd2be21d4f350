"""What the benchmarks of deployments share: hosts as processes, proxies that count, and runs on them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nodes.config import RunConfig
from nodes.deploy.control import Control, Run
from nodes.deploy.folders import NodeFolder, ServerFolder
from nodes.deploy.following import follow, submit
from nodes.deploy.keys import Deployment, make_keys
from nodes.run_folder import RunFolder

ROOT = Path(__file__).parent.parent
MAIN = """
import typer
from fedbits.cli import common
from nodes.deploy.cli import register
app = typer.Typer(cls=common.OneSentenceGroup)
app.callback()(lambda: None)
register(app)
app()
"""
FAST = {"width": 8, "steps": 20, "batch": 64}  # of the server's training: not what is measured here


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def deploy(*words: str, log: Path, **options: Any) -> subprocess.Popen[str]:
    """``fedbits deploy WORDS`` as a process with a session of its own; what it says goes to ``log``."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    with log.open("a") as stream:
        return subprocess.Popen(
            [sys.executable, "-c", MAIN, "deploy", *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=stream,
            text=True,
            start_new_session=True,
            **{"stdout": stream, **options},
        )


@dataclass
class Hosts:
    """A server and nodes on this machine, each a process group with a folder of its own."""

    folder: Path
    names: Sequence[str]
    days: float = 365.0
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        make_keys(Deployment(self.folder / "keys", self.names, port=free_port(), days=self.days))
        self.server = ServerFolder.read(self.folder / "keys")
        self.control = Control(self.server)

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *error: object) -> None:
        for name in reversed(list(self.processes)):
            self.end(name)

    def node(self, name: str) -> NodeFolder:
        return NodeFolder.read(self.folder / "keys" / "nodes" / name)

    def through(self, name: str, port: int) -> None:
        """Let a node call its server at another port of this machine."""
        replace(self.node(name), server=f"127.0.0.1:{port}").write()

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def serve(self) -> None:
        """Start the server; returns when nodes and runs are welcome."""
        words = ("server", str(self.server.path), "--host", "127.0.0.1", "--json")
        process = deploy(*words, log=self.log("server"), stdout=subprocess.PIPE)
        self.processes["server"] = process
        assert process.stdout is not None
        said = ""
        while line := process.stdout.readline():
            said += line
            if line.startswith("}"):
                break
        if json.loads(said)["port"] != self.server.port:
            raise RuntimeError(f"the server says {said!r}")

    def start(self, name: str, *options: str) -> None:
        """Start a node; ``options`` say what its data are."""
        words = ("node", str(self.node(name).path), *options)
        self.processes[name] = deploy(*words, log=self.log(name))

    def end(self, name: str, number: int = signal.SIGTERM) -> int:
        """Signal a host's processes and wait: the exit code of the first of them."""
        process = self.processes.pop(name)
        os.killpg(process.pid, number)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()

    def submit(self, **settings: Any) -> tuple[int, RunFolder]:
        """Submit a run with quick training on the server's side."""
        common: dict[str, Any] = {
            "nodes": len(self.names),
            "repeats": 1,
            "device": "cpu",
            "recipe": "random",
            "protocol_overrides": FAST,
            "out": str(self.folder / "runs"),
        }
        return submit(self.control, RunConfig(**{**common, **settings}), "run")

    def finish(self, number: int, folder: RunFolder) -> tuple[Run, dict[str, Any] | None]:
        """Wait for a run: what became of it, and its report if it left one."""
        run = follow(self.control, number)
        report = folder.path / "report.json"
        return run, json.loads(report.read_text()) if report.exists() else None


class CountingProxy:
    """Passes TCP on to a port of this machine and counts the bytes of both ways."""

    def __init__(self, target: int) -> None:
        self.target, self.up, self.down, self.connections = target, 0, 0, 0
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def counts(self) -> dict[str, int]:
        return {"up": self.up, "down": self.down, "connections": self.connections}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pass(reader, back, "up"), self._pass(there, writer, "down"))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        try:
            while data := await reader.read(1 << 16):
                setattr(self, way, getattr(self, way) + len(data))
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
