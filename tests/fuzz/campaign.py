"""Many inputs of several kinds, by several processes: started, watched, started again, and added up.

A campaign lives in a folder: campaign.json, for each share of the inputs its tally (.json, .seen), journal
and log, the corpus of the guided fuzzer, and ``found/``: the inputs that broke something. What was counted
is kept whatever ends a process, so that a campaign can go on later; but only on the same fedbits.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.journal import Journal
from fuzz.tally import Tally, merged, read_hashes

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HANGS = 20.0  # seconds of wall time after which an input that is being read is taken to hang
_POLL, _PATIENCE = 0.2, 15.0  # seconds between two looks, and for a process to stop by itself
_CRASHES = 50  # of one share, after which it is given up


@dataclass
class Share:
    """Inputs of one kind, which one process tries, and if it breaks another one."""

    kind: str
    number: int
    inputs: int
    folder: Path
    seed: int
    process: subprocess.Popen[bytes] | None = None
    crashes: int = 0
    _count: int = field(default=-1, init=False)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.kind}-{self.number}"

    @property
    def tally(self) -> Tally:
        return Tally.load(self.path.with_suffix(".json"), keep=self.folder / "found")

    @property
    def journal(self) -> Journal:
        return Journal(self.path.with_suffix(".journal"))

    @property
    def done(self) -> bool:
        return self.tally.inputs >= self.inputs

    def command(self) -> list[str]:
        common = [f"--inputs={self.inputs}", f"--seed={self.seed}", f"--path={self.path}"]
        if self.kind == "guided":
            return [sys.executable, str(HERE / "guided.py"), *common, str(self.folder / "corpus")]
        return [sys.executable, str(HERE / "worker.py"), f"--kind={self.kind}", *common]

    def start(self) -> None:
        self.journal.stop(False)
        self._count = self.tally.inputs
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if self.kind == "pure":
            environment["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
        with self.path.with_suffix(".log").open("ab") as log:  # a session of its own: Ctrl-C is ours alone
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def look(self) -> bool:
        """Whether the process has ended; if it hangs, it is ended, and what hung or crashed it is kept."""
        if self.process is None:
            return True
        code, current = self.process.poll(), self.journal.current()
        if code is None and (current is None or current[1] < HANGS):
            return False
        self.process.kill()
        self.process.wait()
        self.process = None
        if code != 0:
            self._broke("Hang" if code is None else f"Exit {code}", current)
        return True

    def _broke(self, kind: str, current: tuple[bytes, float] | None) -> None:
        """Note what the process was reading; an error of its own is none of fedbits and ends the campaign."""
        self.crashes += 1
        if current is None or self.crashes > _CRASHES:
            log = self.path.with_suffix(".log").read_text(errors="replace")
            raise RuntimeError(f"{self.path.name} ended with {kind}:\n{log[-1500:]}")
        tally = self.tally
        tally.found(current[0], kind.replace(" ", "-"), f"the process was reading this input: {kind}")
        tally.save(self.path.with_suffix(".json"))
        self.journal.end(tally.inputs)

    def stop(self) -> None:
        """Let the process finish its input; kill it if it does not."""
        if self.process is None:
            return
        self.journal.stop()
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def split(wanted: dict[str, int], jobs: int, folder: Path, seed: int) -> list[Share]:
    """As many shares of each kind as there are jobs."""
    return [
        Share(kind, job, inputs // jobs + (job < inputs % jobs), folder, seed)
        for kind, inputs in wanted.items()
        for job in range(jobs)
        if inputs // jobs + (job < inputs % jobs)
    ]


def run(
    shares: Iterable[Share], jobs: int, seconds: float, progress: Callable[[int], None] = lambda _: None
) -> bool:
    """Try all inputs of all shares, ``jobs`` processes at a time; whether nothing was left after ``seconds``.

    On an interruption, all processes finish their inputs, write what they counted, and end.

    Args:
        progress: is told now and then how many inputs have been tried.
    """
    shares = list(shares)
    waiting, running = deque(share for share in shares if not share.done), list[Share]()
    until = time.monotonic() + seconds
    try:
        while (waiting or running) and time.monotonic() < until:
            while waiting and len(running) < jobs:
                running.append(waiting.popleft())
                running[-1].start()
            time.sleep(_POLL)
            for share in [share for share in running if share.look()]:
                running.remove(share)
                if not share.done:
                    waiting.appendleft(share)
            progress(sum(share.journal.inputs for share in shares))
    finally:
        for share in running:
            share.journal.stop()
        for share in running:
            share.stop()
    return not waiting and not running


def report(shares: Iterable[Share]) -> dict[str, Any]:
    """Figures of each kind and of all, and how many inputs differ from all others, of whatever share."""
    shares = list(shares)
    kinds = {share.kind: [other.tally for other in shares if other.kind == share.kind] for share in shares}
    total = merged(tally for tallies in kinds.values() for tally in tallies)
    paths = [share.path.with_suffix(".json") for share in shares]
    hashes = [np.asarray(read_hashes(path), np.uint64) for path in paths if path.exists()]
    return {
        "inputs": total.inputs,
        "different inputs": len(np.unique(np.concatenate(hashes))) if hashes else 0,
        "broken": sum(finding["count"] for finding in total.findings.values()),
        "all": total.report(),
        **{kind: merged(tallies).report() for kind, tallies in kinds.items()},
    }


def begin(folder: Path, settings: dict[str, Any], resume: bool) -> None:
    """Make the folder ready for a campaign of these ``settings``; without ``resume``, it begins anew.

    Raises:
        ValueError: it cannot go on, as there is none or it was another one.
    """
    known = folder / "campaign.json"
    if resume:
        if not known.exists():
            raise ValueError(f"there is no campaign in {folder} that could go on")
        before = json.loads(known.read_text())
        if before != settings:
            changed = [name for name in settings if before.get(name) != settings[name]]
            raise ValueError(f"the campaign in {folder} had other {', '.join(changed)}: it cannot go on")
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "corpus").mkdir(exist_ok=True)
    for path in [*folder.glob("*.*"), *folder.glob("corpus/*")]:
        if path.is_file():
            path.unlink()
    known.write_text(json.dumps(settings))


def sources() -> str:
    """A digest of all that decides what an input does: fedbits, and how inputs are made."""
    digest = hashlib.sha256()
    for path in sorted([*ROOT.glob("fedbits/**/*.*"), *HERE.glob("*.py"), *HERE.glob("corpus/*")]):
        if "__pycache__" in path.parts:
            continue
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
