"""Progress, exit codes and JSON, as every command uses them."""

import io
import json
import math

import pytest
import typer

from fedbits.cli import common
from fedbits.errors import BudgetError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_shows_steps_rate_and_note(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    with common.terminal_progress(terminal) as progress, progress.task("distilling", 40, done=10) as task:
        for _ in range(30):
            task.advance(note="loss 0.25")
    shown = terminal.getvalue()
    assert "distilling" in shown and "40/40" in shown and "it/s" in shown and "loss 0.25" in shown


def test_lines_come_now_and_then_with_rate_and_remaining_time():
    now, log = [0.0], io.StringIO()
    with common.LineProgress(log, interval=10, clock=lambda: now[0]).task("training", 100, done=20) as task:
        for _ in range(10):
            now[0] += 4.0
            task.advance(2, note="loss 1.5")
    assert log.getvalue().splitlines() == [
        "training: 26/100, 2.0 s/it, 2:28 left, loss 1.5",
        "training: 32/100, 2.0 s/it, 2:16 left, loss 1.5",
        "training: 38/100, 2.0 s/it, 2:04 left, loss 1.5",
    ]


def test_a_log_is_taken_for_no_terminal():
    with common.terminal_progress(io.StringIO()) as progress:
        assert isinstance(progress, common.LineProgress)


def test_guard_gives_one_line_whatever_the_message(capsys):
    with pytest.raises(typer.Exit) as end, common.guard():
        raise BudgetError("too small:\n  give more")
    assert end.value.exit_code == 2
    assert capsys.readouterr() == ("", "error: too small: give more\n")


def test_guard_says_what_an_interruption_kept(capsys):
    with pytest.raises(typer.Exit) as end, common.guard(lambda: "half of it"):
        raise KeyboardInterrupt
    assert end.value.exit_code == 130
    assert capsys.readouterr().err == "interrupted: half of it\n"


def test_json_has_no_number_that_json_does_not_know(capsys, tmp_path):
    common.print_json({"a": [math.nan, 1.5], "b": {"c": math.inf}, "d": tmp_path})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5], "b": {"c": None}, "d": str(tmp_path)}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3725, "1:02:05"), (-1, "0:00")]
)
def test_durations(seconds, text):
    assert common.clock_text(seconds) == text
