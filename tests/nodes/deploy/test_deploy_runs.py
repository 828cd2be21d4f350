"""Runs of a deployment: the bundle, and what commands say without a server."""

from __future__ import annotations

import inspect
import json
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from deploying import command, keys, refusal
from flwr.app import Context, RecordDict
from flwr.cli.build import build_fab_from_disk
from flwr.common.config import get_fused_config_from_fab
from flwr.supercore.object_ref import load_app

from fedbits.errors import ConfigError, FedbitsError
from nodes.cli import simulate
from nodes.config import RunConfig
from nodes.deploy import following
from nodes.deploy.cli_runs import run
from nodes.deploy.control import Control, Run, UnreachableError
from nodes.deploy.fab import CLIENT_APP, SERVER_APP, write_app
from nodes.deploy.folders import ServerFolder
from nodes.deploy.overview import overview
from nodes.deploy.server import admit_nodes
from nodes.run_folder import RunFolder
from nodes.server_app import _open_deployed

CONFIG = RunConfig(data="digits", recipe="random", overrides={"ipc": 2, "bits": 2}, seed=2**40, name="r")


def test_the_bundle_is_settings_and_names(tmp_path: Path) -> None:
    bundle = build_fab_from_disk(write_app(CONFIG, tmp_path / "app"))
    names = zipfile.ZipFile(BytesIO(bundle)).namelist()
    assert sorted(names) == [".info/CONTENT", "pyproject.toml"]
    run = SimpleNamespace(override_config={})  # as much of Flower's run as its config needs
    assert RunConfig.from_flat(get_fused_config_from_fab(bundle, run)) == CONFIG  # type: ignore[arg-type]


def test_the_names_are_of_installed_apps() -> None:
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp

    assert isinstance(load_app(CLIENT_APP, RuntimeError), ClientApp)
    assert isinstance(load_app(SERVER_APP, RuntimeError), ServerApp)


def context_of(config: RunConfig) -> Context:
    return Context(run_id=7, node_id=0, node_config={}, state=RecordDict(), run_config=config.to_flat())


def test_a_submitted_run_has_its_folder(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    config = RunConfig(**{**vars(CONFIG), "out": str(tmp_path)})
    session = _open_deployed(context_of(config))
    assert session.folder.path == tmp_path / "r" and session.plan.config == config
    (tmp_path / "r" / "report.json").touch()
    with pytest.raises(ConfigError, match="holds another run"):
        _open_deployed(context_of(config))


class FakeControl:
    """A SuperLink that answers as it is told to."""

    def __init__(self, folder: ServerFolder, answers: list[Run | Exception] | None = None) -> None:
        self.folder, self.answers = folder, answers or []
        self.registered: list[str] = []
        self.shut_out: list[int] = []

    def register(self, name: str, public_key: Path) -> int | None:
        self.registered.append(name)
        return 100 + len(self.registered)

    def unregister(self, address: int) -> None:
        self.shut_out.append(address)

    def run(self, number: int) -> Run:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def runs(self) -> list[Run]:
        return [Run(2**63, "running", "")]

    def nodes(self) -> list[dict[str, Any]]:
        return [{"node-id": "101", "status": "online"}, {"node-id": "9", "status": "unregistered"}]

    def follow(self, number: int, output: object, whole: bool = True) -> Any:
        class Ended:
            poll = wait = staticmethod(lambda: 0)

        return Ended()


def test_the_keys_in_the_folder_say_who_takes_part(tmp_path: Path) -> None:
    folder = ServerFolder.read(keys(tmp_path))
    control = FakeControl(folder)
    admit_nodes(control)  # type: ignore[arg-type]
    assert sorted(control.registered) == ["alpha", "beta"]
    address = admit_nodes(control)["alpha"]  # type: ignore[arg-type]
    assert len(control.registered) == 2
    folder.public_keys()["alpha"].unlink()
    assert set(admit_nodes(control)) == {"beta"}  # type: ignore[arg-type]
    assert control.shut_out == [address]


def test_status_names_nodes(tmp_path: Path) -> None:
    folder = ServerFolder.read(keys(tmp_path, ["alpha"]))
    control = FakeControl(folder)
    admit_nodes(control)  # type: ignore[arg-type]
    assert overview(control) == {  # type: ignore[arg-type]
        "nodes": [{"name": "alpha", "status": "online", "address": "101"}],
        "runs": [{"run": str(2**63), "status": "running", "details": ""}],
    }


def test_a_run_is_followed_across_a_server_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.0)
    away, done = UnreachableError("away"), Run(3, "finished:completed", "")
    control = FakeControl(ServerFolder.read(keys(tmp_path)), [away, Run(3, "running", ""), away, done])
    assert following.follow(control, 3) is done  # type: ignore[arg-type]
    control.answers = [away, away]
    times = iter([0.0, following.AWAY_SECONDS + 1])
    with pytest.raises(UnreachableError):
        following.follow(control, 3, lambda: next(times))  # type: ignore[arg-type]


def test_only_a_completed_run_has_a_report(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    done = Run(3, "finished:completed", "")
    with pytest.raises(FedbitsError, match="left no report"):
        following.read_report(folder, done)
    (tmp_path / "report.json").write_text(json.dumps({"name": "x"}))
    assert following.read_report(folder, done) == {"name": "x"}
    with pytest.raises(FedbitsError, match="run 3 ended as finished:failed: no such recipe"):
        following.read_report(folder, Run(3, "finished:failed", "no such recipe"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget", "lots"], "lots"),
        (["--recipe", "unheard-of"], "unheard-of"),
        (["--data", "npz:nowhere.npz"], "nowhere.npz"),
        (["--name", "a/b"], "'a/b'"),
        (["--budget", "1KiB,2=1KiB"], "beyond 0 .. 1"),
        (["--role", "base_station"], "digits is none"),
        (["--role", "cl_learner", "--budget", "1KiB"], "no effect on the role 'cl_learner'"),
    ],
)
def test_a_wrong_run_is_refused_before_it_is_submitted(
    tmp_path: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(control: Control, config: RunConfig) -> int:
        raise AssertionError("it was submitted")

    monkeypatch.setattr(Control, "start", start)
    folder = keys(tmp_path / "k")
    assert said in refusal("run", folder, "--out", tmp_path / "runs", *words)
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunConfig]:
    """The run that ``fedbits deploy run`` hands to a SuperLink, by its options."""
    folder, taken = keys(tmp_path / "k"), []

    def start(control: Control, config: RunConfig) -> int:
        taken.append(config)
        return 5

    monkeypatch.setattr(Control, "start", start)

    def submit(*options: str) -> RunConfig:
        code, out, error = command("run", folder, "--out", tmp_path / "runs", "--detach", "--json", *options)
        assert code == 0 and json.loads(out)["run"] == "5", error
        return taken[-1]

    return submit


def test_a_run_has_all_settings_of_a_simulation(submitted: Callable[..., RunConfig]) -> None:
    learners = submitted(*("--role", "cl_learner", "--memory", "2KiB,1=1KiB", "--policy", "progressive"))
    assert (learners.role, learners.rounds, learners.yardstick_rounds) == ("cl_learner", 5, 5)
    assert (learners.budget_text(1), learners.policy) == ("1KiB", "progressive")
    edge = submitted("--recipe", "random", "--training-steps", "20", "--class-order", "own", "--ipc", "2")
    assert (edge.role, edge.rounds, edge.yardstick_rounds, edge.nodes) == ("edge_node", 1, 50, 2)
    assert (edge.protocol_overrides, edge.overrides) == ({"steps": 20}, {"ipc": 2})


def test_every_option_of_a_simulation_is_one_of_a_run() -> None:
    """But for what nodes of a deployment say themselves."""
    simulated = set(inspect.signature(simulate).parameters)
    assert simulated - set(inspect.signature(run).parameters) == {"partition"}


def test_without_a_server_a_run_leaves_nothing(tmp_path: Path) -> None:
    folder = keys(tmp_path / "k", port=9)
    said = refusal("run", folder, "--out", tmp_path / "runs", "--recipe", "random")
    assert "it cannot be reached; is 'fedbits deploy server' running?" in said
    assert list((tmp_path / "runs").iterdir()) == []
