"""Base stations: an edge node's work on beams, and what each site gains from the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from beams_made import NAME, write_beams
from fake_nodes import FAST, FakeGrid, context_of
from flwr.app import Message

from fedbits.data.beams import SITES
from fedbits.data.beams.measurements import SAMPLE_BYTES
from fedbits.errors import DataError
from nodes import careful_grid, report, roles
from nodes.client_app import make_client_app
from nodes.config import RunConfig
from nodes.edge_node import Assignment, distil_to_blob
from nodes.messages import HELLO, MAX_SITES, Facts, greeting, read_reply, reply_records
from nodes.run_folder import RunFolder
from nodes.server_app import Plan, Session, serve
from nodes.shard import Source, load


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(careful_grid, "POLL_INTERVAL", 0.01)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beams")
    write_beams(folder)
    return folder


def stations(root: Path, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "role": roles.BASE_STATION,
        "data": NAME,
        "data_root": str(root),
        "nodes": 4,
        "partition": "site",
        "budget": "2KiB",
        "recipe": "random",
        "overrides": {"ipc": 2, "bits": 4},
        "repeats": 2,
        "device": "cpu",
        "protocol_overrides": FAST,
        "timeout": 30.0,
    }
    return RunConfig(**(settings | changes))


def run(
    folder: Path,
    config: RunConfig,
    own: dict[int, dict[str, Any]] | None = None,
    broken: tuple[int, ...] = (),
) -> tuple[dict[str, Any], str]:
    """The report and the page of a run without processes; ``own`` are node configs of some nodes."""

    def garbage(assignment: Assignment) -> bytes:
        return b"garbage"

    def answer(number: int, message: Message) -> list[Message]:
        context = context_of(number, config.nodes)
        if own and number in own:
            context.node_config = {"number": number} | own[number]
        distil = garbage if number in broken else distil_to_blob
        return [make_client_app(config, distil)(message, context)]

    grid = FakeGrid({100 + n: lambda message, n=n: answer(n, message) for n in range(config.nodes)})  # type: ignore[misc]
    plan = Plan.of(config, load(Source.of(config)))
    facts = report.write(serve(grid, Session(plan, RunFolder.create(folder, "run", ""))))
    return facts, (folder / "run/report.html").read_text()


def of(facts: dict[str, Any], origin: str) -> list[dict[str, Any]]:
    return [model for model in facts["sites"]["models"] if model["origin"] == origin]


def codes(facts: dict[str, Any]) -> list[str]:
    return [node["rounds"][0]["code"] for node in facts["nodes"]]


def test_the_servers_model_stands_beside_those_of_each_site_and_of_all_raw_data(
    root: Path, tmp_path: Path
) -> None:
    facts, page = run(tmp_path, stations(root))
    assert codes(facts) == ["ok"] * 4
    (server,), (raw,) = of(facts, "sets"), of(facts, "raw data")
    own, own_raw = of(facts, "own set"), of(facts, "own raw data")
    assert [model["sites"] for model in own] == [[name] for name in SITES]
    assert [model["sites"] for model in own_raw] == [[name] for name in SITES]
    assert server["accuracies"] == facts["headline"]["accuracies"] and len(server["accuracies"]) == 2
    assert server["bytes"] == facts["headline"]["uplink_bytes"] == sum(model["bytes"] for model in own)
    assert raw["bytes"] == facts["data"]["train_samples"] * SAMPLE_BYTES
    assert facts["sites"]["compression"] == pytest.approx(raw["bytes"] / server["bytes"])
    tests = facts["sites"]["test_samples"]
    for model in facts["sites"]["models"]:
        pooled = sum(model["by_site"][name] * tests[name] for name in SITES) / sum(tests.values())
        assert model["accuracy"] == pytest.approx(pooled)
    for model in own:
        assert model["here"] == model["by_site"][model["sites"][0]]
    assert "<h2>Sites</h2>" in page and "canyon: own raw data" in page and "<script" not in page
    rows = roles.get("base_station").rows(facts)
    assert "raw data of all sites" in rows and set(SITES) <= set(rows)


def test_a_site_knows_its_own_beams_and_none_of_the_others(root: Path, tmp_path: Path) -> None:
    """The sites of this data have no beam in common, so that a site's raw data say nothing of another."""
    training = {"width": 8, "steps": 100, "batch": 64}
    facts, _ = run(tmp_path, stations(root, protocol_overrides=training, repeats=1, nodes=2))
    for model in of(facts, "own raw data"):
        elsewhere = [value for name, value in model["by_site"].items() if name not in model["sites"]]
        assert model["here"] > 0.1 and max(elsewhere) == 0.0
    assert [model["sites"] for model in of(facts, "own set")] == [["macro", "plaza"], ["canyon", "offices"]]


def test_nodes_may_name_their_own_roles_and_data(root: Path, tmp_path: Path) -> None:
    own: dict[int, dict[str, Any]] = {
        0: {"role": "edge_node", "data": "beams:canyon?samples=60", "data-root": str(root)},
        1: {"role": "base_station", "data": "beams:plaza?samples=60", "data-root": str(root)},
        2: {"role": "base_station", "data": "digits"},
        3: {"role": "cl_learner", "data": "beams:macro?samples=60", "data-root": str(root)},
    }
    facts, _ = run(tmp_path, stations(root, repeats=1), own)
    assert codes(facts) == ["ok", "ok", "no_data", "bad_task"]
    assert [model["sites"] for model in of(facts, "own set")] == [["canyon"], ["plaza"]]
    (server,) = of(facts, "sets")
    assert server["sites"] == ["canyon", "plaza"]


def test_a_base_station_may_take_part_in_a_run_of_edge_nodes(root: Path, tmp_path: Path) -> None:
    config = stations(root, role=roles.EDGE_NODE, nodes=2, repeats=1)
    facts, _ = run(tmp_path, config, {1: {"role": "base_station", "data": NAME, "data-root": str(root)}})
    assert codes(facts) == ["ok", "ok"] and "sites" not in facts


def test_without_any_set_there_is_nothing_to_compare(root: Path, tmp_path: Path) -> None:
    facts, page = run(tmp_path, stations(root, nodes=2), broken=(0, 1))
    assert facts["sites"]["models"] == [] and facts["sites"]["compression"] is None
    assert "<h2>Sites</h2>" not in page
    assert "raw data of all sites" not in roles.get("base_station").rows(facts)


def test_data_without_sites_are_refused_before_the_run() -> None:
    config = RunConfig(role=roles.BASE_STATION, data="digits", recipe="random")
    with pytest.raises(DataError, match="digits is none"):
        Plan.of(config, load(Source.of(config)))


def test_what_a_node_says_of_its_sites_is_checked(root: Path) -> None:
    app = make_client_app(stations(root))
    message = Message(greeting(), dst_node_id=10, message_type=HELLO)
    facts = read_reply(app(message, context_of(2, 4)), blob=False).facts
    assert facts.site_counts[2] == facts.samples and sum(facts.site_counts) == facts.samples
    for wrong in ((1,) * (MAX_SITES + 1), (-1,)):
        reply = Message(reply_records(Facts(site_counts=wrong)), reply_to=message)
        assert read_reply(reply, blob=False).facts == Facts()
