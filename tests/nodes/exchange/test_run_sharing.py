"""Sets of a run on an exchange, by its folder and by its address."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from exchanges import Running
from fake_nodes import FakeGrid, blob_of, context_of, digits, small_config

from fedbits.errors import ConfigError, FedbitsError
from fedbits.wire import exchange_pb2 as pb
from nodes import careful_grid, report, roles, sharing
from nodes.client_app import make_client_app
from nodes.config import RunConfig, is_address
from nodes.edge_node import Assignment, distil_to_blob
from nodes.exchange.store import Store
from nodes.run_folder import RunFolder
from nodes.server_app import Plan, Session, serve
from nodes.shard import Source, load


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(careful_grid, "POLL_INTERVAL", 0.01)
    for name in sharing._VARIABLES:
        monkeypatch.delenv(name, raising=False)


def run(folder: Path, exchange: str, broken: int | None = None, **changes: Any) -> dict[str, Any]:
    """The report of a run of three nodes without processes; node ``broken`` sends garbage."""

    def garbage(assignment: Assignment) -> bytes:
        return b"garbage"

    config = small_config(exchange=exchange, repeats=1, **changes)
    grid = FakeGrid({})
    for node in range(config.nodes):
        app = make_client_app(config, garbage if node == broken else distil_to_blob)
        grid.handlers[100 + node] = lambda message, n=node, a=app: [a(message, context_of(n, config.nodes))]  # type: ignore[misc]
    plan = Plan.of(config, load(Source.of(config)))
    return report.write(serve(grid, Session(plan, RunFolder.create(folder, "", "run"))))


def stored(folder: Path) -> list[pb.Entry]:
    store = Store(folder)
    try:
        return store.index.page(pb.ListRequest())[0]
    finally:
        store.close()


def sent(facts: dict[str, Any], folder: Path) -> dict[bytes, int]:
    """Digest of each accepted blob, and its node."""
    entries = [(node["node"], entry) for node in facts["nodes"] for entry in node["rounds"] if entry["file"]]
    return {
        hashlib.sha256((folder / "run" / entry["file"]).read_bytes()).digest(): node
        for node, entry in entries
        if entry["code"] == "ok"
    }


def test_what_is_accepted_is_put_into_the_folder_of_an_exchange(tmp_path: Path) -> None:
    facts = run(tmp_path, str(tmp_path / "storage"), broken=1)
    entries = stored(tmp_path / "storage")
    assert {entry.sha256: entry.node for entry in entries} == {
        digest: f"node-{node:03}" for digest, node in sent(facts, tmp_path).items()
    }
    assert [entry.data_set for entry in entries] == ["digits", "digits"]
    assert facts["headline"]["shared_sets"] == 2 and facts["headline"]["joined_sets"] == 0
    told = [node["rounds"][0]["exchange"] for node in facts["nodes"]]
    assert told == ["published", None, "published"]
    assert roles.get("edge_node").rows(facts)["exchange"] == "2 sets put there"


def test_sets_that_are_there_join_only_where_they_are_asked_to(tmp_path: Path) -> None:
    storage = str(tmp_path / "storage")
    with sharing.opened(storage) as shelf:
        assert shelf is not None
        strangers = {0: blob_of(seed=5), 1: blob_of(seed=6), 2: blob_of("other")}
        assert shelf.put(strangers) == dict.fromkeys(strangers, "published")
        assert len(sharing.joined(shelf, digits().spec)) == 2  # the third is of another data set
    alone = run(tmp_path / "alone", storage, overrides={"ipc": 1, "bits": 2})
    joined = run(tmp_path / "joined", storage, overrides={"ipc": 3, "bits": 2}, join=True)
    assert alone["headline"]["joined_sets"] == 0
    head = joined["headline"]
    earlier = sent(alone, tmp_path / "alone")
    assert head["joined_sets"] == 2 + len(earlier)
    mine = sum(len(blob) for blob in list(strangers.values())[:2])
    assert head["joined_bytes"] == mine + alone["headline"]["uplink_bytes"]
    assert head["accuracies"] != alone["headline"]["accuracies"]


def test_the_same_run_again_puts_nothing_twice_and_a_replay_costs_nothing(tmp_path: Path) -> None:
    storage = str(tmp_path / "storage")
    blob = blob_of()
    with sharing.opened(storage) as shelf:
        assert shelf is not None
        assert shelf.put({0: blob}) == shelf.put({0: blob}) == {0: "published"}
        assert shelf.put({1: blob, 2: b"garbage"}) == {1: "replay", 2: "not_a_blob"}
        assert shelf.sets("digits") == [blob]
    assert list((tmp_path / "storage/partial").iterdir()) == []


def test_an_exchange_that_serves_takes_them_as_the_servers(
    tmp_path: Path, exchange: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = exchange()
    address = f"127.0.0.1:{running.server.port}"
    assert is_address(address)
    with sharing.opened(address) as shelf:
        assert shelf is not None and shelf.put({4: blob_of(seed=7)}) == {4: "published"}
    facts = run(tmp_path, address, join=True, nodes=2)
    assert facts["headline"]["shared_sets"] == 2 and facts["headline"]["joined_sets"] == 1
    running.stop()
    entries = stored(tmp_path / "storage")
    assert {entry.node for entry in entries} == {sharing.SERVER} and len(entries) == 3


def test_a_run_goes_on_without_an_exchange_that_went_away(
    tmp_path: Path, exchange: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "PATIENCE", 0.2)
    running = exchange()
    with sharing.opened(f"127.0.0.1:{running.server.port}") as shelf:
        running.stop()
        assert shelf is not None and shelf.put({0: blob_of(), 1: blob_of(seed=1)}) == {
            0: "failed",
            1: "failed",
        }


def test_an_exchange_that_cannot_be_used_ends_the_run_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "PATIENCE", 0.2)
    with sharing.opened(str(tmp_path / "taken")), pytest.raises(ConfigError, match="another exchange"):
        sharing.check(str(tmp_path / "taken"))
    with pytest.raises(ConfigError, match="loopback"):
        sharing.check("192.0.2.1:9440")
    with pytest.raises(FedbitsError):
        run(tmp_path, "127.0.0.1:9")
    monkeypatch.setenv(sharing._VARIABLES[0], str(tmp_path / "ca.crt"))
    with pytest.raises(ConfigError, match="set all of"):
        sharing.check("192.0.2.1:9440")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"join": True}, "--exchange"),
        ({"role": "cl_learner", "exchange": "x"}, "exchange 'x' has no effect on the role 'cl_learner'"),
    ],
)
def test_settings_without_effect_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RunConfig(**changes)
