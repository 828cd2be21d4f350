"""Every command of README.md, as printed, from a wheel in a fresh environment outside the checkout.

    python benchmarks/readme_commands.py --limit 600
    python benchmarks/readme_commands.py --environment .venv   # one that is there already

Builds a wheel, installs it with its extras, and runs the README's shell and Python blocks in order, in one
folder. A command that takes longer than ``--limit`` gets Ctrl-C: it counts where it then stops by itself, as
commands promise. Servers and watchers run until their block ends. ``--with NAME=PATH`` links what a command
needs and the README does not make (book.txt, models/teacher). What is done is kept in ``--folder``, so a run
that was stopped goes on; with a command that fails the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import record

from fedbits.files import write_atomic

ROOT = Path(__file__).parents[1]
EXTRAS = "federated,exchange,continual,beams,tokens"
_ENDLESS = ("fedbits exchange serve", "fedbits exchange watch")
_ELSEWHERE = ("fedbits deploy server", "fedbits deploy node", "fedbits deploy run")  # of several hosts
_SET_UP = ("make ", "source ", "pip ")
_NEEDS = {
    "fedbits labels tokens make": ("book.txt", "models/teacher"),
    "fedbits labels tokens train": ("book.ftl",),
}
_STOPPED = (0, 130, -signal.SIGINT)  # a program that was about to end, a command, Python


@dataclass(frozen=True)
class Block:
    """One block of the page: ``language`` bash or python, and its commands."""

    language: str
    commands: tuple[str, ...]


def blocks(page: str) -> list[Block]:
    """The page's blocks; a Python block is one command."""
    found = []
    for language, text in re.findall(r"```(bash|python)\n(.*?)```", page, re.DOTALL):
        lines = text.replace("\\\n", " ").splitlines()
        shell = [re.split(r"\s+# ", line)[0].strip() for line in lines if not line.strip().startswith("#")]
        found.append(Block(language, (text,) if language == "python" else tuple(filter(None, shell))))
    return found


def prepare(environment: Path) -> None:
    """A new virtual environment with nothing but the wheel of this checkout and what it depends on."""
    venv.create(environment, with_pip=True)
    wheels = environment / "wheel"
    pip = (environment / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    subprocess.run((*pip, "wheel", "--no-deps", "--wheel-dir", wheels, ROOT), check=True)
    (wheel,) = wheels.glob("fedbits-*.whl")
    subprocess.run((*pip, "install", f"{wheel}[{EXTRAS}]"), check=True)


class Outside:
    """A folder, and an environment whose ``fedbits`` is found first."""

    def __init__(self, folder: Path, environment: Path, limit: float) -> None:
        self.folder, self.limit = folder, limit
        paths = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.variables = {**os.environ, "PATH": paths}
        self.variables.pop("PYTHONPATH", None)

    def begin(self, command: str, language: str = "bash") -> subprocess.Popen[bytes]:
        with (self.folder / "output.log").open("ab") as log:
            log.write(f"\n$ {command}\n".encode())
            words = ["python", "-c", command] if language == "python" else ["bash", "-c", command]
            return subprocess.Popen(
                words,
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, command: str, language: str) -> dict[str, Any]:
        """Wait for a command, and stop it as a user would after the limit."""
        began, process, stopped = time.monotonic(), self.begin(command, language), False
        try:
            process.wait(self.limit)
        except subprocess.TimeoutExpired:
            stopped = True
            end(process)
        status = process.returncode
        good = status in (_STOPPED if stopped else (0,))
        outcome = ("stopped" if stopped else "done") if good else "failed"
        return {"outcome": outcome, "status": status, "seconds": round(time.monotonic() - began, 1)}

    @contextmanager
    def beside(self, command: str) -> Iterator[None]:
        """A server while its block lasts."""
        process = self.begin(command)
        time.sleep(10)  # it listens by then, or the commands that need it fail
        yield
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C to all of its processes, as a terminal sends it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def excuse(command: str, folder: Path) -> str | None:
    """Why ``command`` is not run here, if it is not."""
    if command.startswith(_SET_UP):
        return "set up already"
    if command.startswith(_ELSEWHERE):
        return "wants several hosts: benchmarks/deployment.py runs it"
    for begin, names in _NEEDS.items():
        missing = [name for name in names if not (folder / name).exists()]
        if command.startswith(begin) and missing:
            return f"{missing[0]} is not there (--with)"
    return None


def measure(outside: Outside, page: str) -> dict[str, dict[str, Any]]:
    """What became of each command, by command."""
    kept = outside.folder / "commands.json"
    found: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else {}
    for block in blocks(page):
        with ExitStack() as servers:
            for command in block.commands:
                if command.startswith(_ENDLESS):
                    servers.enter_context(outside.beside(command))
                    found[command] = {"outcome": "beside the others"}
                elif why := excuse(command, outside.folder):
                    found[command] = {"outcome": "left out", "why": why}
                elif found.get(command, {}).get("outcome") not in ("done", "stopped"):
                    found[command] = outside.run(command, block.language)
                    print(found[command], command.splitlines()[0], flush=True)
                write_atomic(kept, json.dumps(found).encode())
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=float, default=600, help="seconds of a command before Ctrl-C")
    parser.add_argument("--environment", type=Path, help="to use; a new one in the folder when left out")
    parser.add_argument("--with", dest="given", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--folder", type=Path, default=Path("runs/readme"))
    args = parser.parse_args()
    folder = args.folder.resolve()
    (folder / "work").mkdir(parents=True, exist_ok=True)
    environment = (args.environment or folder / "venv").resolve()
    if not (environment / "bin" / "fedbits").exists():
        prepare(environment)
    for pair in args.given:
        name, path = pair.split("=", 1)
        (folder / "work" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "work" / name).symlink_to(Path(path).resolve())
    page = (ROOT / "README.md").read_text()
    found = measure(Outside(folder / "work", environment, args.limit), page)
    outcomes = [one["outcome"] for one in found.values()]
    result = {"limit": args.limit, "counts": {name: outcomes.count(name) for name in sorted(set(outcomes))}}
    print(record.write("readme_commands", {**result, "commands": found}))
    return int("failed" in outcomes)


if __name__ == "__main__":
    sys.exit(main())
