"""Suites: each command once, those that ended well not again, and wrong files in one sentence."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from fedbits.errors import ConfigError
from fedbits.suites import FIGURES, Runs, chosen, read_suites

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
WRITES = "import sys, pathlib; pathlib.Path(sys.argv[1]).open('a').write('x'); sys.exit(int(sys.argv[2]))"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "benchmarks"
    made.mkdir()
    (made / "write.py").write_text(WRITES)
    (made / "suites.toml").write_text(
        '[one]\nabout = "the first"\nlaptop = ["write.py a 0", "write.py b 1"]\nfigures = ["write.py f 0"]\n'
        '[two]\nabout = "the second"\nlaptop = ["write.py c 0"]\npaper = ["write.py p 0"]\n'
    )
    return made


def written(folder: Path) -> dict[str, int]:
    """How often each file was written to, beside the benchmarks."""
    return {path.name: len(path.read_text()) for path in folder.parent.iterdir() if len(path.name) == 1}


def test_every_command_runs_once(folder: Path, tmp_path: Path) -> None:
    runs, suites = Runs(folder, tmp_path / "marks"), list(read_suites(folder).values())
    states = [outcome.state for outcome in runs(suites, "laptop")]
    assert states == ["done", "failed", "done"] and written(folder) == {"a": 1, "b": 1, "c": 1}
    states = [outcome.state for outcome in runs(suites, "laptop")]
    assert states == ["done before", "failed", "done before"]
    assert written(folder) == {"a": 1, "b": 2, "c": 1}
    assert [outcome.command for outcome in runs(suites, FIGURES)] == ["write.py f 0"]
    assert next(outcome.state for outcome in runs(suites, "laptop", again=True)) == "done"


def test_nothing_begins_after_the_time_is_up(folder: Path, tmp_path: Path) -> None:
    outcomes = list(Runs(folder, tmp_path / "marks")(read_suites(folder).values(), "laptop", minutes=0))
    assert {outcome.state for outcome in outcomes} == {"not begun"} and not written(folder)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[one", "not TOML"),
        ('[one]\nabout = "x"\nlaptop = ["gone.py"]\n', "gone.py"),
        ('[one]\nlaptop = ["write.py"]\n', "about"),
        ('[one]\nabout = "x"\nserver = ["write.py"]\n', "laptop, paper"),
        ("one = 3\n", "one"),
    ],
)
def test_wrong_files_are_said(folder: Path, text: str, named: str) -> None:
    (folder / "suites.toml").write_text(text)
    with pytest.raises(ConfigError, match=named):
        read_suites(folder)


def test_an_unknown_suite_is_said(folder: Path) -> None:
    with pytest.raises(ConfigError, match="'ones'"):
        chosen(read_suites(folder), ["ones"])


def test_the_suites_of_the_project_are_there() -> None:
    """Their scripts exist, and no option of theirs holds a folder of one machine."""
    suites = read_suites(BENCHMARKS)
    commands = [c for suite in suites.values() for commands in suite.commands.values() for c in commands]
    assert len(commands) == len(set(commands))
    assert not [word for command in commands for word in shlex.split(command) if word.startswith("/")]
