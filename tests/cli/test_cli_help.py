"""What the command says of itself, and how soon."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

import fedbits as package
from fedbits import cli
from fedbits.cli.common import OneSentenceGroup

COMMANDS = ("distill", "inspect", "show", "decode", "recode", "evaluate", "recipe", "sweep")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(fedbits, command):
    outcome = fedbits(command, "--help")
    assert outcome.code == 0
    assert f"fedbits {command} " in outcome.out.split("Examples:")[1]
    assert "--json" in outcome.out


def test_every_command_is_listed(fedbits):
    listing = fedbits("--help").out
    assert all(command in listing for command in COMMANDS)


def test_without_arguments_the_help_is_shown(fedbits):
    outcome = fedbits()
    assert outcome.code == 2
    assert "distill" in outcome.out


def test_version(fedbits):
    assert fedbits("--version").out == f"fedbits {package.__version__}\n"


def test_start_up_loads_nothing_large():
    code = "import sys, fedbits.cli; print(*{'torch', 'flwr', 'ray', 'matplotlib'} & set(sys.modules))"
    root = Path(package.__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


@pytest.mark.parametrize(
    "arguments",
    [("nosuch",), ("inspect",), ("distill", "--data", "digits", "--ipc", "few"), ("show", "a", "--nosuch")],
)
def test_wrong_usage_is_one_sentence(fedbits, arguments):
    outcome = fedbits(*arguments)
    assert outcome.is_one_sentence()
    assert "--help" in outcome.err


class Entry:
    """An entry point whose package lacks something."""

    name = "fly"

    def load(self) -> None:
        raise ImportError("No module named 'wings'")


def test_a_broken_plugin_breaks_only_its_own_command(monkeypatch, capsys):
    monkeypatch.setattr(cli.metadata, "entry_points", lambda group: [Entry()])
    app = typer.Typer(cls=OneSentenceGroup)
    app.command("walk")(lambda: typer.echo("walking"))
    cli.load_plugins(app)
    with pytest.raises(SystemExit, match="0"):
        app(["walk"])
    with pytest.raises(SystemExit, match="2"):
        app(["fly", "--high", "up"])
    captured = capsys.readouterr()
    assert captured.out == "walking\n"
    assert captured.err.startswith("error: 'fedbits fly' is not available here (No module named 'wings')")
