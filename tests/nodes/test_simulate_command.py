from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fedbits.cli.common import OneSentenceGroup
from nodes import cli, simulate
from nodes.config import RunConfig


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer(cls=OneSentenceGroup)
    app.callback()(lambda: None)
    cli.register(app)
    return app


def invoke(app: typer.Typer, *arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["simulate", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_help_shows_examples(app: typer.Typer) -> None:
    code, out, _ = invoke(app, "--help")
    assert code == 0 and "fedbits simulate --data digits" in out and "--yardstick" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "digitz"], "digitz"),
        (["--data", "npz:nowhere.npz"], "nowhere.npz"),
        (["--recipe", "unheard-of"], "unheard-of"),
        (["--protocol", "unheard-of"], "unheard-of"),
        (["--budget", "ten"], "'ten'"),
        (["--budget", "1bpp"], "--ipc"),
        (["--partition", "by-colour"], "by-colour"),
        (["--partition", "classes:99"], "classes"),
        (["--nodes", "9000"], "9000 nodes"),
        (["--timeout", "-3"], "timeout"),
        (["--name", "a/b"], "a/b"),
        (["--nodes", "0"], "nodes"),
        (["--yardstick", "sgd"], "sgd"),
        (["--role", "conductor"], "conductor"),
        (["--memory", "2KiB"], "no effect on the role 'edge_node'"),
        (["--role", "cl_learner", "--budget", "2KiB"], "no effect on the role 'cl_learner'"),
        (["--role", "base_station", "--memory", "2KiB"], "no effect on the role 'base_station'"),
        (["--role", "base_station"], "digits is none"),
        (["--role", "cl_learner", "--rounds", "11"], "at most 10 experiences"),
        (["--role", "cl_learner", "--memory", "1bpp"], "depends on its samples"),
    ],
)
def test_wrong_input_is_one_sentence(
    app: typer.Typer, tmp_path: Path, arguments: list[str], words: str
) -> None:
    code, out, err = invoke(app, "--data", "digits", "--out", str(tmp_path / "runs"), *arguments)
    assert code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and words in err
    assert not (tmp_path / "runs").exists()


def test_a_name_that_is_taken_is_refused(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    code, _, err = invoke(app, "--out", str(tmp_path), "--name", "mine")
    assert code == 2 and "is there already" in err


def report(code: str = "ok", **headline: Any) -> dict[str, Any]:
    values = {
        "accuracy": 0.9,
        "std": 0.01,
        "accuracies": [0.9],
        "uplink_bytes": 5000,
        "nodes_in_union": 1,
        "fedavg_uplink_bytes": None,
        "fedavg_reached": None,
        "fedavg_ratio": None,
    }
    entry = {"round": 1, "code": code, "meaning": "so it is"}
    return {
        "folder": "runs/x",
        "config": {"exchange": ""},
        "headline": values | headline,
        "nodes": [{"node": 0, "rounds": [entry]}],
        "yardstick": {"reached_in_round": 4, "rounds": [{"accuracy": 0.8}]},
        "networks": None,
        "seconds": {"start": 1.0},
    }


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A run that gives a prepared report; notes what it was asked for."""
    held: dict[str, Any] = {"report": report()}

    def run(config: RunConfig, progress: object) -> dict[str, Any]:
        held["config"] = config
        return held["report"]

    monkeypatch.setattr(simulate, "run", run)
    return held


def test_options_reach_the_run(app: typer.Typer, stand_in: dict[str, Any]) -> None:
    invoke(app, "--nodes", "3", "--steps", "7", "--bits", "2", "--budget", "1KiB,0=2KiB", "--timeout", "9")
    config = stand_in["config"]
    assert config.overrides == {"steps": 7, "bits": 2}
    assert (config.nodes, config.budget_text(0), config.timeout) == (3, "2KiB", 9.0)


def test_what_is_usual_depends_on_the_role(app: typer.Typer, stand_in: dict[str, Any]) -> None:
    invoke(app, "--training-steps", "20")
    config = stand_in["config"]
    assert (config.role, config.rounds, config.yardstick_rounds) == ("edge_node", 1, 50)
    assert config.protocol_overrides == {"steps": 20}
    assert config.partition == "dirichlet:0.3"
    invoke(app, "--role", "base_station")
    assert stand_in["config"].partition == "site"
    invoke(app, "--role", "cl_learner", "--memory", "2KiB,1=1KiB", "--class-order", "same")
    config = stand_in["config"]
    assert (config.role, config.rounds, config.yardstick_rounds) == ("cl_learner", 5, 5)
    assert (config.budget_text(0), config.budget_text(1), config.class_order) == ("2KiB", "1KiB", "same")


def test_the_table_of_learners(app: typer.Typer, stand_in: dict[str, Any]) -> None:
    stand_in["report"] = report(forgetting=0.12, memory_bytes=2000) | {
        "accuracy": [None, 0.95, 0.9],
        "rounds": [{"seen": [0, 1, 2]}],
        "yardstick": {"accuracy": [None, 0.6, 0.5], "uplink_bytes": 30_000, "downlink_bytes": 40_000},
    }
    code, out, _ = invoke(app, "--role", "cl_learner")
    assert code == 0
    for text in (
        "90.00%",
        "on 3 classes",
        "none, 95.0%, 90.0%",
        "12.0 points",
        "5,000 B",
        "50.00%, 30,000 B",
    ):
        assert text in out


def test_json_is_the_only_thing_on_standard_output(app: typer.Typer, stand_in: dict[str, Any]) -> None:
    stand_in["report"] = report("over_budget")
    code, out, err = invoke(app, "--json")
    assert code == 0 and json.loads(out) == stand_in["report"]
    assert "node 0, round 1: over_budget" in err


def test_the_table_tells_the_ratio(app: typer.Typer, stand_in: dict[str, Any]) -> None:
    stand_in["report"] = report(fedavg_uplink_bytes=5_000_000, fedavg_reached=True, fedavg_ratio=1000.0)
    _, out, _ = invoke(app)
    assert "1,000.0 times fewer" in out and "round 4" in out
    stand_in["report"] = report(fedavg_uplink_bytes=5_000_000, fedavg_reached=False, fedavg_ratio=1000.0)
    _, out, _ = invoke(app)
    assert "more than 1,000.0 times fewer" in out


def test_a_run_without_a_result_fails(app: typer.Typer, stand_in: dict[str, Any]) -> None:
    stand_in["report"] = report("node_error", accuracy=None, accuracies=[])
    code, _, err = invoke(app)
    assert code == 1 and "no node delivered" in err


def test_an_interrupt_says_what_was_kept(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(config: RunConfig, progress: object) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(simulate, "run", run)
    code, _, err = invoke(app)
    assert code == 130 and "run's folder" in err


def test_the_command_line_imports_no_flower() -> None:
    program = "import sys, fedbits.cli, nodes.config; print([m for m in ('flwr', 'ray') if m in sys.modules])"
    root = Path(cli.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout == "[]\n"
