"""The ``fedbits`` command as benchmarks run it: its JSON, kept so that a run that was stopped goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import record


def fedbits(*words: str) -> dict[str, Any]:
    """The JSON object that a ``fedbits`` command prints."""
    command = [sys.executable, "-c", "import fedbits.cli; fedbits.cli.main()", *words, "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def kept(path: Path, *words: str) -> dict[str, Any]:
    """The result of a command, from ``path`` if it was run before."""
    if not path.exists():
        path.write_text(json.dumps({**fedbits(*words), "commit": record.commit()}))
    return json.loads(path.read_text())
