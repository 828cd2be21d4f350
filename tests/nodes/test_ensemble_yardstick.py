"""The yardstick of networks: who is asked, what counts, what a report says of it; and sets with networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_nodes import FakeGrid, Handler, blob_of, context_of, digits, small_config
from labelling import network_labels

from fedbits import container
from fedbits.budget import Budget
from fedbits.distilled_set import DistilledSet
from fedbits.errors import ConfigError
from fedbits.labels.network import training
from fedbits.labels.network.known import told
from nodes import careful_grid, report
from nodes.client_app import make_client_app
from nodes.codes import Code
from nodes.config import RunConfig
from nodes.edge_node import Assignment, distil_to_blob
from nodes.messages import RefusedError, Terms, admit, admit_network
from nodes.run_folder import RunFolder
from nodes.server_app import Plan, RunResult, Session, serve
from nodes.shard import Source, load
from nodes.terminal import rows

SPEC = digits().train.spec


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(careful_grid, "POLL_INTERVAL", 0.01)
    monkeypatch.setattr(training, "_FEWEST", 30)
    monkeypatch.setattr(training, "_MOST", 30)


def network_blob(*counts: int) -> bytes:
    """A network of any weights that was made of so many samples of each class."""
    labels = network_labels(SPEC, known=told(counts or [9] * SPEC.classes))
    return container.encode(DistilledSet.alone(SPEC, labels, "network"))


def serve_nodes(folder: Path, config: RunConfig, instead: dict[int, bytes] | None = None) -> RunResult:
    """A run without processes; some nodes send these bytes where they are asked for a network."""

    def handler(number: int) -> Handler:
        def made(assignment: Assignment) -> bytes:
            odd = (instead or {}).get(number)
            return odd if odd and assignment.config.recipe == "network" else distil_to_blob(assignment)

        app = make_client_app(config, made)
        return lambda message: [app(message, context_of(number, config.nodes))]

    grid = FakeGrid({100 + number: handler(number) for number in range(config.nodes)})
    plan = Plan.of(config, load(Source.of(config)))
    return serve(grid, Session(plan, RunFolder.create(folder, "run", "")))


def test_networks_are_asked_together_and_one_learns_from_them(tmp_path: Path) -> None:
    config = small_config(nodes=3, yardstick="both", yardstick_rounds=1, budget="1KiB,2=40B")
    facts = report.write(serve_nodes(tmp_path, config, {1: b"garbage"}))
    found = facts["networks"]
    assert facts["yardstick"] is not None  # both
    assert [entry["code"] for entry in found["nodes"]] == ["ok", "not_a_blob", "budget_too_small"]
    first = found["nodes"][0]
    assert 0 < found["uplink_bytes"] == first["bytes"] <= 1024
    assert set(found["together"]) == {"mean", "weighted", "corrected"}
    assert found["together"]["mean"] == first["accuracy"]  # of a single one
    assert found["best"] in found["together"] and len(found["taught"]) == config.repeats
    page = (tmp_path / "run/report.html").read_text()
    assert "Networks instead of sets" in page and "taught by all" in page
    assert "taught by all" in rows(facts)["networks instead"]
    assert json.loads((tmp_path / "run/report.json").read_text()) == facts


def test_a_run_whose_networks_all_fail_has_a_report(tmp_path: Path) -> None:
    config = small_config(nodes=2, yardstick="networks")
    facts = report.write(serve_nodes(tmp_path, config, {0: b"x", 1: blob_of()}))
    found = facts["networks"]
    assert [entry["code"] for entry in found["nodes"]] == ["not_a_blob", "wrong_labels"]
    assert found["best"] is None and found["taught"] is None and facts["headline"]["accuracy"] is not None
    assert rows(facts)["networks instead"] == "none arrived"


def test_without_the_yardstick_there_is_none(tmp_path: Path) -> None:
    facts = report.write(serve_nodes(tmp_path, small_config(nodes=1)))
    assert facts["networks"] is None and "networks instead" not in rows(facts)
    assert "Networks instead" not in (tmp_path / "run/report.html").read_text()


@pytest.mark.parametrize("pooled", [False, True])
def test_nodes_send_sets_with_networks(tmp_path: Path, pooled: bool) -> None:
    config = small_config(nodes=2, share=0.5, pooled=pooled, overrides={"bits": 2})
    result = serve_nodes(tmp_path, config)
    sent = [o.distilled for o in result.rounds[0].outcomes]
    assert all(one is not None and one.network is not None and len(one) for one in sent)
    assert all(o.blob_bytes <= 2048 for o in result.rounds[0].outcomes)
    assert len(result.accuracies) == 2


def test_a_budget_of_a_class_counts_those_that_a_network_has_seen() -> None:
    blob = network_blob(*[9] * 5, *[0] * 5)
    fits = -(-len(blob) // 5)
    admit_network(blob, Terms(SPEC, Budget.parse(f"{fits}B/class")))
    with pytest.raises(RefusedError) as refused:
        admit_network(blob, Terms(SPEC, Budget.parse(f"{fits - 1}B/class")))
    assert refused.value.code is Code.OVER_BUDGET


def test_sets_and_networks_are_not_taken_for_each_other() -> None:
    terms = Terms(SPEC, Budget.parse("64KiB"))
    for blob, admitted in ((network_blob(), admit), (blob_of(), admit_network)):
        with pytest.raises(RefusedError) as refused:
            admitted(blob, terms)
        assert refused.value.code is Code.WRONG_LABELS
    assert admit_network(network_blob(), terms).network is not None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"share": 1.0}, "share 1.0"),
        ({"share": -0.1}, "share -0.1"),
        ({"role": "cl_learner", "yardstick": "networks", "budget": "10KiB"}, "networks"),
        ({"role": "cl_learner", "share": 0.5, "budget": "10KiB"}, "share"),
        ({"yardstick": "network"}, "did you mean 'networks'"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        small_config(**changes)


def test_a_union_wants_samples() -> None:
    config = small_config(recipe="network", overrides={})
    with pytest.raises(ConfigError, match="no samples"):
        Plan.of(config, load(Source.of(config)))
