from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fake_nodes import FakeGrid, context_of, small_config

from fedbits.page import duration
from fedbits.svg import bytes_text
from nodes import careful_grid, report
from nodes.client_app import make_client_app
from nodes.config import RunConfig
from nodes.edge_node import Assignment, distil_to_blob
from nodes.plots import Curve, accuracy_over_bytes
from nodes.report_html import ratio_text
from nodes.run_folder import RunFolder
from nodes.server_app import Plan, RunResult, Session, serve
from nodes.shard import Source, load


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(careful_grid, "POLL_INTERVAL", 0.01)


def serve_small(folder: Path, config: RunConfig, broken: int | None = None) -> RunResult:
    """A run without processes; node ``broken`` sends garbage."""

    def garbage(assignment: Assignment) -> bytes:
        return b"garbage"

    grid = FakeGrid({})
    for partition in range(config.nodes):
        app = make_client_app(config, garbage if partition == broken else distil_to_blob)
        grid.handlers[100 + partition] = lambda message, p=partition, a=app: [
            a(message, context_of(p, config.nodes))
        ]  # type: ignore[misc]
    plan = Plan.of(config, load(Source.of(config)))
    return serve(grid, Session(plan, RunFolder.create(folder, "run", "")))


def written(folder: Path) -> tuple[dict[str, Any], str]:
    facts = json.loads((folder / "run/report.json").read_text())
    return facts, (folder / "run/report.html").read_text()


def test_both_forms_carry_the_facts(tmp_path: Path) -> None:
    config = small_config(nodes=3, yardstick="fedavg", yardstick_rounds=3)
    result = serve_small(tmp_path, config, broken=1)
    returned = report.write(result)
    facts, page = written(tmp_path)
    assert facts == returned
    assert RunConfig.from_flat(facts["config"]) == config
    head = facts["headline"]
    blobs = sorted((tmp_path / "run/blobs/round-1").iterdir())
    assert head["uplink_bytes"] == sum(path.stat().st_size for path in blobs)
    assert head["rejected_bytes"] == len(b"garbage") and head["nodes_in_union"] == 2
    assert head["accuracy"] == pytest.approx(sum(head["accuracies"]) / 2) and head["std"] > 0
    assert head["fedavg_ratio"] == pytest.approx(head["fedavg_uplink_bytes"] / head["uplink_bytes"])
    assert [node["rounds"][0]["code"] for node in facts["nodes"]] == ["ok", "not_a_blob", "ok"]
    entry = facts["nodes"][0]["rounds"][0]
    assert sum(entry["ledger_bits"].values()) == 8 * entry["bytes"]
    assert entry["file"] == "blobs/round-1/node-000.fbit"
    assert {"python", "torch", "flwr", "fedbits"} <= set(facts["versions"])
    for text in ("not a blob", "FedAvg", "data:image/png;base64,", f"{head['uplink_bytes']:,} bytes", "<svg"):
        assert text in page


def test_the_page_needs_nothing_beside_itself(tmp_path: Path) -> None:
    report.write(serve_small(tmp_path, small_config(nodes=2)))
    _, page = written(tmp_path)
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', page)
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "<script" not in page and "$" not in page


def test_a_run_without_any_set_still_has_a_report(tmp_path: Path) -> None:
    config = small_config(nodes=1, yardstick="fedavg")
    report.write(serve_small(tmp_path, config, broken=0))
    facts, page = written(tmp_path)
    assert facts["headline"]["accuracy"] is None and facts["yardstick"] is None
    assert "no node delivered a set" in page


def test_rounds_accumulate(tmp_path: Path) -> None:
    report.write(serve_small(tmp_path, small_config(nodes=2, rounds=2)))
    facts, page = written(tmp_path)
    first, second = facts["rounds"]
    assert second["cumulative_uplink_bytes"] == first["uplink_bytes"] + second["uplink_bytes"]
    assert (first["networks"], second["networks"]) == (1, 2)
    assert "<th>round</th>" in page


def test_the_same_seed_gives_the_same_result(tmp_path: Path) -> None:
    first, second = (serve_small(tmp_path / name, small_config(nodes=2, rounds=2)) for name in "ab")
    assert first.accuracies == second.accuracies


def test_what_people_wrote_is_escaped(tmp_path: Path) -> None:
    result = serve_small(tmp_path, small_config(nodes=1))
    facts = report.describe(result)
    facts["data"]["name"] = "<script>alert(1)</script>"
    from nodes.report_html import render

    assert "<script>" not in render(facts, {})


def test_a_plot_takes_the_pages_colours() -> None:
    svg = accuracy_over_bytes(Curve([100], [0.5], [0.1]), Curve([1e5, 2e5], [0.4, 0.6]), 0.5)
    assert svg.startswith("<svg") and "var(--ours)" in svg and "var(--theirs)" in svg
    assert "font-family" not in svg and "#0102" not in svg
    assert accuracy_over_bytes(Curve([], []), None, None).startswith("<svg")


def test_numbers_for_people() -> None:
    assert [bytes_text(n) for n in (12, 9_800, 51_000_000)] == ["12 B", "9.8 KB", "51 MB"]
    assert [duration(s) for s in (48, 200, 3900)] == ["48 s", "3 min 20 s", "1 h 05 min"]
    assert ratio_text(1234.4).startswith("1,234") and ratio_text(2.34).startswith("2.3")
