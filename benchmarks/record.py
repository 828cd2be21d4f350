"""Results with what is needed to believe them: command, commit, seed, machine, versions."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fedbits.machine import machine

RESULTS = Path(__file__).parent / "results"


def write(name: str, result: dict[str, Any], seed: int | None = None) -> Path:
    """Write ``results/NAME.json`` and return its path."""
    document = {
        "command": " ".join(["python", *map(_anywhere, sys.argv)]),
        "commit": commit(),
        "seed": seed,
        "machine": machine(),
        "versions": {
            name: version(name) for name in ("fedbits", "torch", "torchvision", "numpy", "constriction")
        },
        "result": result,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def _anywhere(word: str) -> str:
    """``word`` of a command without the folders of this machine, if it is a path of its own."""
    return f".../{Path(word).name}" if Path(word).is_absolute() else word


def commit() -> str:
    """The commit of this checkout, marked where the working tree differs from it."""

    def git(*words: str) -> str:
        found = subprocess.run(["git", *words], capture_output=True, text=True, cwd=RESULTS.parent)
        return found.stdout.strip()

    changed = git("status", "--porcelain", "--", "../fedbits", "../nodes", "../scenarios")
    return git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")
