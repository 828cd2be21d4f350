"""The command: what it says, and in what form; and an exchange that is served by it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from exchanges import Running
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from fedbits.cli.common import OneSentenceGroup
from nodes.exchange import cli

Exchange = Callable[..., Running]
COMMANDS = ("serve", "publish", "fetch", "list", "watch", "certificates")
ROOT = Path(cli.__file__).parents[2]
MAIN = """
import typer
from fedbits.cli.common import OneSentenceGroup
from nodes.exchange.cli import register
app = typer.Typer(cls=OneSentenceGroup)
app.callback()(lambda: None)
register(app)
app()
"""


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer(cls=OneSentenceGroup)
    app.callback()(lambda: None)
    cli.register(app)
    return app


def invoke(app: typer.Typer, *arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["exchange", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def files(blobs: list[bytes], tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.fbits" for number in range(3)]
    for path, blob in zip(paths, blobs, strict=False):
        path.write_bytes(blob)
    return paths


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples(app: typer.Typer, command: str) -> None:
    code, out, _ = invoke(app, command, "--help")
    assert code == 0 and f"fedbits exchange {command} " in out.split("Examples:")[1] and "--json" in out


def test_sets_go_there_and_come_back(
    app: typer.Typer, exchange: Exchange, files: list[Path], tmp_path: Path
) -> None:
    there = ("--insecure", "--address", exchange().address)
    code, out, _ = invoke(app, "publish", *files[:2], *there, "--as", "alpha", "--json")
    published = json.loads(out)["sets"]
    assert code == 0 and [entry["sequence"] for entry in published] == [1, 2]
    assert published[0]["node"] == "alpha" and published[0]["bits"] == 8 * files[0].stat().st_size
    assert json.loads(invoke(app, "list", *there, "--json")[1])["sets"] == published
    assert published[1]["sha256"][:12] in invoke(app, "list", *there)[1]
    _, out, _ = invoke(app, "fetch", published[1]["sha256"][:20], "-o", tmp_path / "got", *there, "--json")
    assert json.loads(out) == {"sets": published[1:], "file": str(tmp_path / "got")}
    assert (tmp_path / "got").read_bytes() == files[1].read_bytes()
    _, out, _ = invoke(app, "watch", "--count", "2", "--into", tmp_path / "in", *there, "--json")
    watched = [json.loads(line) for line in out.splitlines()]
    assert [entry["sha256"] for entry in watched] == [entry["sha256"] for entry in published]
    assert Path(watched[0]["file"]).read_bytes() == files[0].read_bytes()
    _, out, _ = invoke(app, "watch", "--count", "1", "--since", "1", *there)
    assert out.startswith("2  ") and "alpha" in out


def test_what_an_exchange_refuses_is_one_sentence(
    app: typer.Typer, exchange: Exchange, files: list[Path], tmp_path: Path
) -> None:
    there = ("--insecure", "--address", exchange().address)
    files[0].write_bytes(b"no blob")
    for arguments, words in (
        (("publish", files[0], *there), "not a fedbits blob"),
        (("fetch", "00", "-o", tmp_path / "got", *there), "no set has a SHA-256 that starts with '00'"),
        (("watch", "--since", "7", *there), "last set has number 0"),
    ):
        assert_one_sentence(invoke(app, *arguments), words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("publish", "missing.fbits", "--insecure"), "missing.fbits does not exist"),
        (("list",), "--insecure for a trial"),
        (("list", "--insecure", "--address", "10.0.0.1:9440"), "'10.0.0.1' is not its loopback"),
        (("list", "--insecure", "--address", "here"), "HOST:PORT"),
        (("list", "--insecure", "--as", "a b"), "'a b' cannot name a node"),
        (("list", "--insecure", "--patience", "long"), "'long' cannot be read"),
        (("list", "--insecure", "--address", "127.0.0.1:1", "--patience", "1s"), "no exchange answers"),
        (("list", "--ca", "no.crt", "--certificate", "no.crt", "--key", "no.key"), "cannot read no.crt"),
        (("fetch", "00", "-o", "/", "--insecure"), "it is a folder"),
        (("serve", "--storage", "s"), "--insecure for a trial"),
        (("serve", "--storage", "s", "--insecure", "--address", "0.0.0.0:1"), "loopback"),
        (("serve", "--storage", "s", "--insecure", "--quota", "much"), "'much' cannot be read"),
        (("serve", "--storage", "s", "--insecure", "--access", "no.toml"), "access list no.toml"),
        (("serve", "--storage", "s", "--insecure", "--blob-limit", "9GiB"), "--decode-memory"),
        (("certificates", "c", "--names", "a/b"), "'a/b' cannot name a node"),
        (("nosuch",), "nosuch"),
    ],
)
def test_wrong_input_is_one_sentence(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_one_sentence(invoke(app, *arguments), words)
    assert list(tmp_path.iterdir()) == []


def test_parents_are_digests(app: typer.Typer, files: list[Path]) -> None:
    assert_one_sentence(invoke(app, "publish", files[0], "--insecure", "--parent", "12"), "64 hexadecimal")


def assert_one_sentence(outcome: tuple[int, str, str], words: str) -> None:
    code, out, err = outcome
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1 and words in err


def test_certificates_are_listed(app: typer.Typer, tmp_path: Path) -> None:
    _, out, _ = invoke(
        app, "certificates", tmp_path / "c", "--names", "a, b", "--hosts", "10.0.0.1,host", "--json"
    )
    assert json.loads(out)["files"] == [
        f"{name}.{kind}" for name in ("ca", "server", "a", "b") for kind in ("key", "crt")
    ]


def test_the_command_loads_nothing_large() -> None:
    program = MAIN.replace(
        "app()", "import sys; print([m for m in ('grpc', 'torch', 'flwr') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """``fedbits exchange serve`` in a process of its own, and what it said when it was ready."""
    arguments = ["exchange", "serve", "--storage", str(tmp_path / "storage"), "--address", "127.0.0.1:0"]
    arguments += ["--insecure", "--metrics", "127.0.0.1:0", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "}\n")
    yield process, json.loads("".join(lines) + "}")
    process.kill()
    process.communicate()


def test_a_served_exchange_is_healthy_counted_logged_and_ends_well(
    app: typer.Typer, served: tuple[subprocess.Popen[str], dict[str, Any]], files: list[Path], tmp_path: Path
) -> None:
    process, told = served
    address = f"127.0.0.1:{told['port']}"
    with grpc.insecure_channel(address) as channel:
        asked = health_pb2.HealthCheckRequest(service="fedbits.v1.Exchange")
        health = health_pb2_grpc.HealthStub(channel).Check(asked).status
    assert health == health_pb2.HealthCheckResponse.SERVING
    there = ("--insecure", "--address", address, "--as", "alpha")
    assert invoke(app, "publish", files[0], *there)[0] == 0
    files[1].write_bytes(b"no blob")
    assert invoke(app, "publish", files[1], *there)[0] == 2
    with urllib.request.urlopen(f"http://127.0.0.1:{told['metrics_port']}/metrics") as page:
        metrics = page.read().decode()
    for line in (
        "fedbits_exchange_published_sets_total 1.0",
        'fedbits_exchange_refusals_total{method="Publish",reason="not_a_blob"} 1.0',
        f"fedbits_exchange_stored_bytes {float(files[0].stat().st_size)}",
        'fedbits_exchange_call_seconds_count{method="Publish",outcome="ok"} 1.0',
    ):
        assert line in metrics
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    log = [json.loads(line) for line in err.splitlines()]
    assert process.returncode == 0
    assert [entry["event"] for entry in log if entry["event"] != "call"] == ["serving", "stopping", "stopped"]
    refused = next(entry for entry in log if entry.get("outcome") == "not_a_blob")
    assert (refused["method"], refused["node"], refused["bytes"]) == ("Publish", "alpha", 7)


def test_calls_that_go_on_are_ended_within_the_grace(exchange: Exchange, blobs: list[bytes]) -> None:
    """An upload that stands still is cut; what arrived of it is kept for the next start."""
    from exchanges import announce, chunk, raw_calls

    from nodes.exchange import rpc

    running = exchange(grace=0.2)

    async def stand_still() -> str:
        async with raw_calls(running.address) as calls:
            call = calls["Publish"](metadata=((rpc.PROTOCOL_KEY, "1"), (rpc.NODE_KEY, "alpha")))
            await call.write(announce(blobs[0]))
            await call.read()
            await call.write(chunk(blobs[0][:20]))
            while not running.partials():
                await asyncio.sleep(0.01)
            await running.server.__aexit__()
            running.stopped = True
            return (await call.code()).name

    assert running.loop(stand_still()) in ("CANCELLED", "UNAVAILABLE")
    assert [path.stat().st_size for path in running.partials()] == [20]
    again = exchange()
    assert again.publish(blobs[0]).sequence == 1
