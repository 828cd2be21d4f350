"""Results with what is needed to believe them: command, commit, seed, machine, versions."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def write(name: str, result: dict[str, Any], seed: int | None = None) -> Path:
    """Write ``results/NAME.json`` and return its path."""
    document = {
        "command": " ".join(["python", *sys.argv]),
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


def commit() -> str:
    """The commit of this checkout, marked where the working tree differs from it."""

    def git(*words: str) -> str:
        found = subprocess.run(["git", *words], capture_output=True, text=True, cwd=RESULTS.parent)
        return found.stdout.strip()

    changed = git("status", "--porcelain", "--", "../fedbits", "../nodes")
    return git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
    }
