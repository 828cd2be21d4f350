"""A run of a deployment from submission to report, across a SuperLink that may be away for a while."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedbits.errors import FedbitsError
from fedbits.files import write_atomic
from nodes.config import RunConfig
from nodes.deploy.control import Control, Run, UnreachableError
from nodes.run_folder import RunFolder

AWAY_SECONDS = 300.0  # for which the SuperLink may be away before we give up on it
LOOK_SECONDS = 2.0
RUN_FILE = "run.json"


def submit(control: Control, config: RunConfig, default_name: str) -> tuple[int, RunFolder]:
    """Make the run's folder on this host and submit the run: its number, and the folder.

    Raises:
        ConfigError: a folder that is there already; data or settings that cannot work.
        FedbitsError: the SuperLink does not take it.
    """
    from nodes.server_app import Plan
    from nodes.shard import Source, load

    Plan.of(config, load(Source.of(config)))  # what the server would find out a minute later
    folder = RunFolder.create(Path(config.out).absolute(), config.name, default_name)
    config = replace(config, out=str(folder.path.parent), name=folder.path.name)
    try:
        number = control.start(config)
    except FedbitsError:
        folder.path.rmdir()
        raise
    write_atomic(folder.path / RUN_FILE, json.dumps({"run": str(number)}) + "\n")
    return number, folder


def follow(control: Control, number: int, clock: Callable[[], float] = time.monotonic) -> Run:
    """Show the run's log on standard error until it ends: what became of it.

    Raises:
        UnreachableError: the SuperLink stays away.
    """
    seen = clock()
    while True:
        log = control.follow(number, sys.stderr)
        try:
            while log.poll() is None:
                time.sleep(LOOK_SECONDS / 4)
        finally:
            _end(log)
        try:
            run = control.run(number)
        except UnreachableError:
            if clock() - seen > AWAY_SECONDS:
                raise
        else:
            seen = clock()
            if run.ended:
                return run
        time.sleep(LOOK_SECONDS)


def read_report(folder: RunFolder, run: Run) -> dict[str, Any]:
    """The report of a run that has ended; raises :class:`FedbitsError` where it left none."""
    path = folder.path / "report.json"
    if run.completed and path.exists():
        return dict(json.loads(path.read_text()))
    reason = run.details or f"it left no report in {folder.path}"
    raise FedbitsError(f"run {run.number} ended as {run.status}: {reason}")


def _end(log: subprocess.Popen[bytes]) -> None:
    if log.poll() is None:
        log.terminate()
    log.wait()
