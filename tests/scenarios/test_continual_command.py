from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("avalanche")

import numpy as np
import typer
from streams import data_set
from typer.testing import CliRunner

from fedbits import container
from fedbits.cli.common import OneSentenceGroup
from scenarios import cli, gdumb
from scenarios.learner import Score
from scenarios.report import accuracies, forgetting

QUICK = ("--experiences", "2", "--training-steps", "20", "--width", "8")
REAL = ("--recipe", "random", "--bits", "2", "--factor", "1", "--memory", "600B")


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer(cls=OneSentenceGroup)
    app.callback()(lambda: None)
    cli.register(app)
    return app


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    data, path = data_set(), tmp_path_factory.mktemp("data") / "tiny.npz"
    arrays = {
        f"{axis}_{name}": tensor.numpy()
        for name, part in (("train", data.train), ("test", data.test))
        for axis, tensor in (("x", part.samples), ("y", part.labels))
    }
    np.savez(path, **arrays)
    return f"split_npz:{path}"


def invoke(app: typer.Typer, *arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["continual", *arguments])
    return result.exit_code, result.stdout, result.stderr


def report_of(app: typer.Typer, *arguments: str) -> dict[str, Any]:
    code, out, err = invoke(app, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_a_run_leaves_a_report_and_its_memory(app: typer.Typer, tiny: str, tmp_path: Path) -> None:
    report = report_of(app, "--scenario", tiny, *QUICK, *REAL, "--out", str(tmp_path / "run"))
    assert json.loads((tmp_path / "run/report.json").read_text()) == report
    assert len(report["accuracy"]) == 2 and report["accuracy"][-1] > 0.4
    assert report["average_incremental_accuracy"] == pytest.approx(sum(report["accuracy"]) / 2)
    blobs = sorted((tmp_path / "run/memory").iterdir())
    assert report["memory_bytes"][-1] == sum(path.stat().st_size for path in blobs) <= 600
    assert sum(len(container.decode(path.read_bytes())) for path in blobs) == report["memory_samples"][-1]
    assert report["settings"]["bits"] == 2 and report["settings"]["protocol"] == "laptop"
    page = (tmp_path / "run/report.html").read_text()
    assert "<svg" in page and "data:image/png;base64" in page


def without_times(report: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name not in ("folder", "finished", "seconds")}


@pytest.mark.parametrize(
    "how",
    [
        (*QUICK, *REAL),
        ("--strategy", "er", "--experiences", "2", "--width", "8", *REAL, "--policy", "progressive"),
    ],
)
def test_a_killed_run_ends_with_the_same_numbers(
    how: Sequence[str], app: typer.Typer, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = report_of(app, "--scenario", tiny, *how, "--out", str(tmp_path / "whole"))
    killed = ("--scenario", tiny, *how, "--out", str(tmp_path / "killed"))
    target = gdumb.GDumb if "er" not in how else _avalanche_learner()
    learn = target.learn

    def stopped(self: Any, experience: int, progress: Any) -> list[Score]:
        if experience == 1:
            raise KeyboardInterrupt
        return learn(self, experience, progress)

    with monkeypatch.context() as patch:
        patch.setattr(target, "learn", stopped)
        code, _, err = invoke(app, *killed)
        assert code == 130 and "--resume" in err
    assert not (tmp_path / "killed/report.json").exists()
    assert without_times(report_of(app, *killed, "--resume")) == without_times(whole)
    assert without_times(report_of(app, *killed, "--resume")) == without_times(whole)  # nothing is left to do


def _avalanche_learner() -> Any:
    from scenarios.avalanche_learner import AvalancheLearner

    return AvalancheLearner


def test_another_run_is_not_resumed(app: typer.Typer, tiny: str, tmp_path: Path) -> None:
    folder = ("--out", str(tmp_path / "run"))
    report_of(app, "--scenario", tiny, *QUICK, "--recipe", "raw", "--memory", "600B", *folder)
    code, _, err = invoke(
        app, "--scenario", tiny, *QUICK, "--recipe", "raw", "--memory", "700B", *folder, "--resume"
    )
    assert code == 2 and "other data or settings" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scenario", "digits"], "'digits'"),
        (["--scenario", "split_digitz"], "digitz"),
        (["--strategy", "lwf"], "'lwf'"),
        (["--memory", "ten"], "'ten'"),
        (["--memory", "1bpp"], "1bpp"),
        (["--memory", "60B"], "too small"),
        (["--recipe", "unheard-of"], "unheard-of"),
        (["--policy", "lazy"], "'lazy'"),
        (["--experiences", "3"], "3 experiences"),
        (["--strategy", "stock-der", "--recipe", "quadd"], "no effect"),
        (["--strategy", "er", "--recipe", "raw"], "raw"),
        (["--recipe", "raw", "--bits", "2"], "no effect"),
        (["--epochs", "2"], "no effect"),
        (["--strategy", "er", "--training-steps", "5"], "no effect"),
        (["--training-steps", "0"], "training-steps"),
        (["--protocol", "unheard-of"], "unheard-of"),
        (["--resume"], "no finished experience"),
    ],
)
def test_wrong_input_is_one_sentence(
    app: typer.Typer, tiny: str, tmp_path: Path, arguments: list[str], words: str
) -> None:
    code, out, err = invoke(
        app, "--scenario", tiny, "--experiences", "2", "--out", str(tmp_path / "run"), *arguments
    )
    assert code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and words in err
    assert not (tmp_path / "run").exists()


def test_help_shows_examples(app: typer.Typer) -> None:
    code, out, _ = invoke(app, "--help")
    assert code == 0 and "fedbits continual --scenario split_fashion_mnist" in out and "--resume" in out


def test_accuracy_counts_all_classes_seen_and_forgetting_what_was_best() -> None:
    rows = [[Score(9, 10)], [Score(10, 10), Score(15, 30)], [Score(4, 10), Score(21, 30), Score(10, 10)]]
    assert accuracies(rows) == [0.9, 25 / 40, 35 / 50]
    assert forgetting(rows) == pytest.approx(((1.0 - 0.4) + (0.5 - 0.7)) / 2)
    assert forgetting(rows[:1]) == 0.0


def test_the_command_line_imports_no_avalanche() -> None:
    program = "import sys, scenarios.cli, scenarios.config; print('avalanche' in sys.modules)"
    root = Path(cli.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout == "False\n"
