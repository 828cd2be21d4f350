"""README.md and docs/: every command in a block of a page is one that the command line takes."""

from __future__ import annotations

import copy
import re
import shlex
from pathlib import Path

import click
import pytest
import typer

from fedbits.cli import app, load_plugins

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> list[str]:
    """Those that begin a line of a page's shell blocks, without comments and what is piped on."""
    blocks = re.findall(r"```(?:bash|sh|console)\n(.*?)```", page.read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [re.split(r"\s+[#|>&]", line)[0] for line in lines if re.match(r"\s*fedbits\s", line)]


EVERY = [(page.name, line) for page in PAGES for line in commands(page)]


@pytest.fixture(scope="module")
def fedbits() -> click.Command:
    whole = copy.deepcopy(app)
    load_plugins(whole)
    return typer.main.get_command(whole)


@pytest.mark.parametrize(("page", "line"), EVERY)
def test_the_command_line_takes_what_pages_say(page: str, line: str, fedbits: click.Command) -> None:
    words = ["1" if word.isupper() else word for word in shlex.split(line.split(" [")[0])]
    command, (name, *words) = fedbits, words
    context = click.Context(command, info_name=name)
    while isinstance(command, click.Group):
        name, command, words = command.resolve_command(context, words)
        assert command is not None
        context = click.Context(command, info_name=name, parent=context)
    given, rest, _ = command.make_parser(context).parse_args(args=list(words))
    assert not rest
    for wanted in command.params:
        if wanted.required:
            wanted.process_value(context, given.get(wanted.name or ""))  # which asks for what is missing


@pytest.mark.parametrize("line", ["distill --budgets 1KiB", "distil", "exchange publish", "inspect a b"])
def test_a_wrong_command_would_be_found(line: str, fedbits: click.Command) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        test_the_command_line_takes_what_pages_say("", f"fedbits {line}", fedbits)


def test_pages_have_commands() -> None:
    assert {"README.md", "deployment.md", "exchange.md", "continual.md"} <= {page for page, _ in EVERY}
    assert len(EVERY) > 30
