"""What the hosts of a deployment are started with, and what keeps them from being started."""

from __future__ import annotations

import asyncio
import itertools
import logging
import shutil
import socket
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from deploying import keys, refusal
from flwr.common.config import parse_config_args

from fedbits.errors import ConfigError, FedbitsError
from nodes.config import RunConfig
from nodes.deploy import supervise
from nodes.deploy.folders import NodeFolder, ServerFolder
from nodes.deploy.guard import LocalControl
from nodes.deploy.node import NodeSettings, check_data, supernode_command
from nodes.deploy.server import ServerSettings, check_certificate, superlink_command
from nodes.deploy.superlink import is_worth_a_line
from nodes.deploy.supervise import Child, watch
from nodes.shard import Holding


def test_the_server_asks_for_tls_and_keys_and_keeps_a_database(tmp_path: Path) -> None:
    folder = ServerFolder.read(keys(tmp_path, port=8123))
    words = superlink_command(ServerSettings(folder))
    options = dict(itertools.pairwise(words))
    assert options["--isolation"] == "process"
    assert options["--ssl-certfile"] == str(folder.certificate)
    assert options["--superexec-auth-secret-file"] == str(folder.secret)
    assert options["--port"] == "8123"
    assert Path(options["--database"]).parent == folder.state
    assert {"--enable-supernode-auth", "--disable-runtime-dependency-installation"} <= set(words)
    assert "--insecure" not in words


def test_a_nodes_settings_reach_its_apps(tmp_path: Path) -> None:
    folder = NodeFolder.read(keys(tmp_path) / "nodes/beta")
    settings = NodeSettings(
        folder, "digits", "a 'b\"", partition_id=2, partitions=3, partition="dirichlet:0.3", role="cl_learner"
    )
    file = tmp_path / "node.toml"
    file.write_text(tomli_w.dumps(settings.to_flat()))
    words = supernode_command(settings, file)
    assert words[words.index("--superlink") + 1] == "127.0.0.1:8000"
    read = parse_config_args([words[words.index("--node-config") + 1]])
    assert (read["name"], read["number"], read["role"]) == ("beta", 1, "cl_learner")
    holding = Holding.of(RunConfig(data="npz:elsewhere"), read)
    assert (holding.source.name, holding.partition, holding.partitions) == ("digits", 2, 3)
    assert holding.source.root == Path("a 'b\"").absolute()
    assert holding.source.scheme == "dirichlet:0.3"


def test_paths_of_data_do_not_depend_on_where_apps_run(tmp_path: Path) -> None:
    folder = NodeFolder.read(keys(tmp_path) / "nodes/alpha")
    assert NodeSettings(folder, "npz:own.npz").to_flat()["data"] == f"npz:{Path('own.npz').absolute()}"
    assert NodeSettings(folder, "beams:canyon").to_flat()["data"] == "beams:canyon"


def test_data_is_read_before_the_node_starts(tmp_path: Path) -> None:
    folder = NodeFolder.read(keys(tmp_path) / "nodes/alpha")
    parts = [check_data(NodeSettings(folder, "digits", partition_id=p, partitions=3)) for p in range(3)]
    assert sum(parts) == check_data(NodeSettings(folder, "digits"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "--data", "digits"], "nowhere is not a node's folder"),
        (["{alpha}", "--data", "npz:nowhere.npz"], "nowhere.npz"),
        (["{alpha}", "--data", "digits", "--partition-id", "3", "--partitions", "3"], "--partition-id 3"),
        (["{alpha}", "--data", "digits", "--role", "conductor"], "'conductor'"),
        (["{alpha}", "--data", "digits", "--role", "base_station"], "digits is none"),
        (["{alpha}"], "--data"),
    ],
)
def test_a_wrong_node_is_refused_in_one_sentence(tmp_path: Path, words: list[str], said: str) -> None:
    alpha = keys(tmp_path) / "nodes/alpha"
    assert said in refusal("node", *(word.format(alpha=alpha) for word in words))


def test_a_wrong_server_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        folder = keys(tmp_path / "k", port=taken.getsockname()[1])
        said = refusal("server", folder, "--host", "127.0.0.1")
    assert "cannot listen on 127.0.0.1" in said
    assert "'192.0.2.1'" in refusal("server", folder, "--host", "192.0.2.1")
    assert "is not a server's folder" in refusal("server", tmp_path / "nowhere")
    (folder / "server/server.key").unlink()
    assert "server.key cannot be read" in refusal("server", folder)


def test_a_certificate_that_is_not_valid_now_is_refused(tmp_path: Path) -> None:
    certificate = ServerFolder.read(keys(tmp_path, days=3.0)).certificate
    now = datetime.now(UTC)
    check_certificate(certificate, now)
    for days in (-1, 4):
        with pytest.raises(ConfigError, match="make new keys, or set the clock"):
            check_certificate(certificate, now + timedelta(days=days))
    certificate.write_text("nothing")
    with pytest.raises(ConfigError, match="is not a certificate"):
        check_certificate(certificate, now)


def test_folders_that_were_damaged_are_told_so(tmp_path: Path) -> None:
    folder = keys(tmp_path)
    (folder / "server/server.json").write_text('{"port": "many"}')
    (folder / "nodes/alpha/node.json").write_text("[1]")
    (folder / "nodes/beta/node.json").write_text('{"name": "beta"}')
    with pytest.raises(ConfigError, match="names no port"):
        ServerFolder.read(folder)
    for name in ("alpha", "beta"):
        with pytest.raises(ConfigError, match="copy it again"):
            NodeFolder.read(folder / "nodes" / name)
    shutil.rmtree(folder / "server")
    with pytest.raises(ConfigError, match="not a server's folder"):
        ServerFolder.read(folder)


# ---------------------------------------------------------------------------------------------------- guard


def answered(path: str, client: str, server: str, admitted: Path) -> int:
    """The status with which a request is answered; 200 where it comes through."""
    seen: list[dict[str, Any]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        seen.append(message)

    scope = {"type": "http", "path": path, "client": (client, 5), "server": (server, 8000), "headers": []}
    asyncio.run(LocalControl(inner, admitted)(scope, None, send))  # type: ignore[arg-type]
    return int(seen[0]["status"])


@pytest.mark.parametrize(
    ("path", "client", "status"),
    [
        ("/v1/fleet/pull-messages", "192.0.2.9", 200),
        ("/health", "192.0.2.9", 200),
        ("/v1/control/start-run", "192.0.2.9", 404),
        ("/v1/runtime/acquire-task", "192.0.2.9", 404),
        ("/v1/fleetish", "192.0.2.9", 404),
        ("/docs", "192.0.2.9", 404),
        ("/v1/control/start-run", "127.0.0.1", 200),
        ("/v1/control/start-run", "::1", 200),
        ("/v1/control/start-run", "192.0.2.1", 200),  # the server's own address
    ],
)
def test_other_hosts_reach_only_what_nodes_need(tmp_path: Path, path: str, client: str, status: int) -> None:
    assert answered(path, client, "192.0.2.1", tmp_path) == status


def test_nodes_wait_until_their_keys_are_known(tmp_path: Path) -> None:
    admitted = tmp_path / "admitted"
    assert answered("/v1/fleet/activate-node", "127.0.0.1", "127.0.0.1", admitted) == 503
    assert answered("/v1/control/register-node", "127.0.0.1", "127.0.0.1", admitted) == 200
    admitted.touch()
    assert answered("/v1/fleet/activate-node", "127.0.0.1", "127.0.0.1", admitted) == 200


def test_flower_puts_the_guard_in_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flwr.superlink import extensions, main

    from nodes.deploy.superlink import guard_control

    monkeypatch.setattr(extensions, "get_middleware", extensions.get_middleware)
    guard_control(tmp_path)
    first = main._get_middleware()[0]
    assert first.cls is LocalControl and first.kwargs == {"admitted": tmp_path}


def test_only_requests_that_fail_are_logged() -> None:
    def entry(status: int) -> logging.LogRecord:
        values = ("127.0.0.1:5", "POST", "/v1/fleet/pull-messages", "1.1", status)
        return logging.LogRecord(
            "uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', values, None
        )

    assert [is_worth_a_line(entry(status)) for status in (200, 401, 503)] == [False, True, True]


# ------------------------------------------------------------------------------------------------ processes


def child(code: str) -> Child:
    return Child("test", [sys.executable, "-c", code], {})


def test_a_process_that_ends_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "LOOK_SECONDS", 0.01)
    stop, one = threading.Event(), child("import time; time.sleep(60)")
    one.start()
    first = one.process
    assert first is not None
    thread = threading.Thread(target=watch, args=([one], stop))
    thread.start()
    first.kill()
    end = time.monotonic() + 20
    while one.process is first and time.monotonic() < end:
        time.sleep(0.01)
    stop.set()
    thread.join()
    assert one.process is not first and one.ended() is None
    one.end()
    assert one.ended() is not None


def test_a_process_that_ends_again_and_again_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(supervise, "RESTARTS", 1)
    one = child("raise SystemExit(3)")
    one.start()
    with pytest.raises(FedbitsError, match=r"ended 2 times .* code 3"):
        watch([one], threading.Event())
