"""Flower's programs, and the environment they run in."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from fedbits.errors import ConfigError
from nodes.simulate import ENVIRONMENT


def program(name: str) -> str:
    """The path of one of Flower's programs, from the environment that this Python is in.

    Raises:
        ConfigError: Flower is not installed.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ConfigError(
            f"a deployment needs Flower ({name} is not there): "
            "install it with pip install 'fedbits[federated]'"
        )
    return found


def environment(home: Path) -> dict[str, str]:
    """For Flower's programs: no calls to the outside, ``home`` for its files, the others on the path."""
    home.mkdir(parents=True, exist_ok=True)
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join([beside, os.environ.get("PATH", os.defpath)])
    return {**os.environ, **ENVIRONMENT, "FLWR_HOME": str(home), "PATH": path, "PYTHONUNBUFFERED": "1"}
