"""Keys of a small deployment, and its commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer
from typer.testing import CliRunner

from fedbits.cli import common
from nodes.deploy.cli import register
from nodes.deploy.keys import Deployment, make_keys


def keys(folder: Path, hosts: Sequence[str] = ("alpha", "beta"), **more: object) -> Path:
    """``folder`` with keys in it."""
    make_keys(Deployment(folder, hosts, **more))  # type: ignore[arg-type]
    return folder


def command(*words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``fedbits deploy WORDS``."""
    app = typer.Typer(cls=common.OneSentenceGroup)
    app.callback()(lambda: None)
    register(app)
    result = CliRunner().invoke(app, ["deploy", *(str(word) for word in words)])
    return result.exit_code, result.stdout, result.stderr


def refusal(*words: object) -> str:
    """The one sentence with which a command is refused."""
    code, _, error = command(*words)
    assert code == common.USAGE, error
    (line,) = error.strip().splitlines()
    return line.removeprefix("error: ")
