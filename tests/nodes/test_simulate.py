from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fake_nodes import FAST, small_config
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable, Mod

from fedbits import container
from nodes.client_app import make_client_app
from nodes.config import RunConfig
from nodes.messages import DISTIL, Facts, reply_records
from nodes.simulate import run


def misbehave(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """A mod: node 1 raises, node 2 takes its process with it, node 3 sends ten times its budget."""
    partition = context.node_config["partition-id"]
    if message.metadata.message_type == DISTIL:
        if partition == 1:
            raise RuntimeError("secret")
        if partition == 2:
            os._exit(1)
        if partition == 3:
            return Message(reply_records(Facts(partition=3), b"FBIT" * 5120), reply_to=message)
    return call_next(message, context)


def bad_company(config: RunConfig, mods: list[Mod]) -> ClientApp:
    return make_client_app(config, mods=[*mods, misbehave])


def test_a_run_on_flowers_simulation_engine(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = small_config(
        nodes=5,
        partition="dirichlet:0.5",
        protocol_overrides=FAST,
        out=str(tmp_path),
        name="run",
        timeout=120.0,
    )
    report = run(config, make_app=bad_company)
    codes = [node["rounds"][0]["code"] for node in report["nodes"]]
    assert codes == ["ok", "node_error", "node_error", "over_budget", "ok"]
    assert 0 < report["headline"]["accuracy"] <= 1
    folder = tmp_path / "run"
    blobs = [path.read_bytes() for path in sorted(folder.glob("blobs/round-1/*"))]
    assert [len(blob) for blob in blobs] == [report["nodes"][n]["rounds"][0]["bytes"] for n in (0, 4)]
    assert all(len(blob) <= 2048 and len(container.decode(blob)) > 0 for blob in blobs)
    assert (folder / "rejected/round-1/node-003.bin").stat().st_size == 20_480
    assert json.loads((folder / "report.json").read_text()) == report
    assert (folder / "report.html").exists()
    assert "secret" in (folder / "log.txt").read_text()
    captured = capfd.readouterr()
    assert captured.out == "" and "secret" not in captured.err and "flwr" not in captured.err.lower()
