"""What a running SuperLink is told and asked, through Flower's own command."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import tomli_w

from fedbits.errors import ConfigError, FedbitsError
from fedbits.files import write_atomic
from nodes.config import RunConfig
from nodes.deploy.fab import write_app
from nodes.deploy.folders import ServerFolder, check_files
from nodes.deploy.surroundings import environment, program

CONNECTION = "fedbits"
COMMAND_SECONDS = 60.0


class UnreachableError(FedbitsError):
    """The SuperLink does not answer, or not as it should."""


@dataclass(frozen=True)
class Run:
    """A run as the SuperLink sees it; ``status`` is such as ``running`` or ``finished:completed``."""

    number: int
    status: str
    details: str

    @property
    def ended(self) -> bool:
        return self.status.startswith("finished")

    @property
    def completed(self) -> bool:
        return self.status == "finished:completed"


@dataclass(frozen=True)
class Control:
    """The SuperLink of a server's folder, called from the same host."""

    folder: ServerFolder

    def register(self, name: str, public_key: Path) -> int | None:
        """Let the node with this key take part: its address, or None if it is registered already."""
        found = self._call("supernode", "register", str(public_key), CONNECTION, "--name", name)
        if found.get("success"):
            return int(found["node-id"])
        if "already" in str(found.get("error-message", "")).lower():
            return None
        raise FedbitsError(f"the node {name!r} cannot be registered: {_reason(found)}")

    def unregister(self, address: int) -> None:
        """Shut out the node at this address; one that is not known any more is no error."""
        self._call("supernode", "unregister", str(address), CONNECTION)

    def nodes(self) -> list[dict[str, Any]]:
        """The registered nodes with their state, as Flower describes them."""
        return list(self._asked("supernode", "list", CONNECTION)["nodes"])

    def start(self, config: RunConfig) -> int:
        """Submit a run: its number."""
        with tempfile.TemporaryDirectory(prefix="fb-") as temporary:
            app = write_app(config, Path(temporary) / "fedbits-run")
            return int(self._asked("run", str(app), CONNECTION)["run-id"])

    def runs(self) -> list[Run]:
        """All runs, the newest first."""
        entries = self._asked("list", CONNECTION)["runs"]
        return [Run(int(e["run-id"]), e["status"], _details(e)) for e in entries]

    def run(self, number: int) -> Run:
        """One run; raises :class:`ConfigError` if there is none of this number."""
        for run in self.runs():
            if run.number == number:
                return run
        raise ConfigError(f"there is no run {number}: 'fedbits deploy status' lists those there are")

    def stop(self, number: int) -> None:
        """End a run that goes on; raises :class:`ConfigError` if it does not."""
        run = self.run(number)
        if run.ended:
            raise ConfigError(f"run {number} has ended already ({run.status})")
        self._asked("stop", str(number), CONNECTION)

    def follow(self, number: int, output: IO[str], whole: bool = True) -> subprocess.Popen[bytes]:
        """Copy the log of a run to ``output`` until it ends (or, without ``whole``, as far as it is)."""
        how = "--stream" if whole else "--show"
        return subprocess.Popen(
            [program("flwr"), "log", str(number), CONNECTION, how],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL if whole else output,
        )

    def _asked(self, *words: str) -> dict[str, Any]:
        found = self._call(*words)
        if not found.get("success"):
            raise UnreachableError(f"the SuperLink at {self.folder.address} does not do it: {_reason(found)}")
        return found

    def _call(self, *words: str) -> dict[str, Any]:
        """The object that Flower's command prints; a failure is one with ``success`` false."""
        try:
            done = subprocess.run(
                [program("flwr"), *words, "--format", "json"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise UnreachableError(
                f"the SuperLink at {self.folder.address} does not answer: is 'fedbits deploy server' running?"
            ) from error
        found = _object(done.stdout)
        if found is None:
            found = {"success": False, "error-message": done.stderr or done.stdout}
        return found

    def _environment(self) -> dict[str, str]:
        check_files(self.folder.authority)
        home = self.folder.state / "flwr"
        connection = {
            "address": self.folder.address,
            "root-certificates": str(self.folder.authority),
        }
        text = tomli_w.dumps({"superlink": {"default": CONNECTION, CONNECTION: connection}})
        surroundings = environment(home)
        write_atomic(home / "config.toml", text)
        return surroundings


def _object(text: str) -> dict[str, Any] | None:
    start = text.find("{")
    try:
        found = json.loads(text[start:]) if start >= 0 else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _reason(found: dict[str, Any]) -> str:
    """The last paragraph of what Flower says, without the frame around it."""
    said = str(found.get("error-message", "")).strip().split("\n\n")[-1]
    lines = [line.strip("│╭╮╰╯─ ") for line in said.splitlines()]
    text = " ".join(line for line in lines if line)[:500]
    if "connection" in text.lower() or not text:
        return "it cannot be reached; is 'fedbits deploy server' running?"
    return text


def _details(entry: dict[str, Any]) -> str:
    details = str(entry.get("status-details", ""))
    return "" if details == "N/A" else details
