"""docs/deployment.md and the units against what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from deploying import keys

from nodes.deploy.cli import register

DOCS = Path(__file__).parents[3] / "docs"
PAGES = [DOCS / "deployment.md", *sorted((DOCS / "deployment").glob("*.service")), DOCS.parent / "README.md"]


def options() -> dict[str, set[str]]:
    """The options of each command."""
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    group = typer.main.get_command(app).commands["deploy"]  # type: ignore[attr-defined]
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in group.commands.items()
    }


def commands(text: str) -> list[list[str]]:
    """Every ``fedbits deploy`` command in a page, in blocks and in units."""
    joined = text.replace("\\\n", " ")
    lines = re.findall(r"^ *(?:ExecStart=\S*/)?fedbits deploy (.*)$", joined, re.MULTILINE)
    return [shlex.split(line.split(" #")[0]) for line in lines if "──" not in line]  # not the drawing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_the_page_exist(page: Path) -> None:
    known = options()
    shown = commands(page.read_text())
    assert shown
    for name, *words in shown:
        if "|" in name:  # the drawing's, too
            continue
        given = {word for word in words if word.startswith("--")}
        assert given <= known[name], (name, given - known[name])


def test_files_on_the_page_are_those_that_are_made(tmp_path: Path) -> None:
    text = (DOCS / "deployment.md").read_text()
    table = text.split("| folder | file |")[1].split("\n\n")[0]
    shown = set(re.findall(r"`([\w./]+)`", table)) - {"server/", "state/", "nodes/NAME/", "nodes/NAME.pub"}
    made = {path.name for path in keys(tmp_path / "k").rglob("*") if path.is_file()}
    assert shown == made - {"ca.key", "alpha.pub", "beta.pub"}


def test_units_do_not_restart_what_cannot_work() -> None:
    for page in (DOCS / "deployment").glob("*.service"):
        unit = page.read_text()
        assert "RestartPreventExitStatus=2" in unit and "[Install]" in unit
