"""The node's side, and whole runs without processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fake_nodes import digits
from flwr.app import ArrayRecord, Message
from learners import contexts, learner_config, serve_learners

from fedbits import container
from fedbits.errors import ConfigError
from nodes import careful_grid, report
from nodes.client_app import make_client_app
from nodes.codes import Code
from nodes.config import RunConfig
from nodes.continual.report import forgetting
from nodes.continual.stream import NodeStream
from nodes.continual.sync import Update, digest, read_update, with_known
from nodes.messages import DISTIL, REMEMBER, Task, error_records, read_reply, task_records
from nodes.server_app import Plan
from nodes.shard import Source, load


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(careful_grid, "POLL_INTERVAL", 0.01)
    torch.set_num_threads(1)


# --------------------------------------------------------------------------------------------- the streams


def test_a_stream_brings_every_sample_once_and_classes_of_its_own() -> None:
    config = learner_config(rounds=3)
    stream = NodeStream.of(digits().train, config, 1)
    parts = [stream.arriving(turn) for turn in (1, 2, 3)]
    assert sum(len(part) for part in parts) == len(digits().train)
    assert [set(part.labels.tolist()) for part in parts] == [set(classes) for classes in stream.experiences]
    assert sorted(c for classes in stream.experiences for c in classes) == list(range(10))
    assert [len(classes) for classes in stream.experiences] == [4, 3, 3]


def test_orders_are_each_nodes_own_or_all_the_same() -> None:
    for order, many in (("own", 4), ("same", 1)):
        config = learner_config(class_order=order)
        assert len({NodeStream.of(digits().train, config, node).experiences for node in range(4)}) == many
    other = learner_config(class_order="same", seed=1)
    assert NodeStream.of(digits().train, other, 0) != NodeStream.of(digits().train, config, 0)


# ------------------------------------------------------------------------------------------------ the node


class Asked:
    """A node that is asked round after round; what it replies."""

    def __init__(self, config: RunConfig, node: int = 0) -> None:
        self.app, self.context = make_client_app(config), contexts(config)[node]

    def __call__(self, turn: int, known: tuple[bytes, ...] = (), budget: str = "1024 B") -> Update | Code:
        records = with_known(task_records(Task(turn, 0, budget, 60.0), None), known)
        reply = self.app(Message(records, dst_node_id=10, message_type=REMEMBER), self.context)
        code = read_reply(reply, blob=False).code
        return read_update(reply.content) if code is Code.OK else code


def test_a_memory_lasts_from_round_to_round_and_is_sent_once() -> None:
    ask = Asked(learner_config())
    first = ask(1)
    assert isinstance(first, Update) and len(first.digests) == 1
    second = ask(2, first.digests)
    assert isinstance(second, Update)
    assert second.digests[:1] == first.digests and list(second.blobs) == list(second.digests[1:])
    assert second.shrunk == 0
    again = ask(2)  # a server that has nothing gets all of it, and nothing is learned twice
    assert isinstance(again, Update)
    assert again.digests == second.digests == tuple(again.blobs)
    experiences = NodeStream.of(digits().train, learner_config(), 0).experiences
    for blob, classes in zip(again.blobs.values(), experiences, strict=True):
        assert container.decode(blob).class_counts() == [2 * (label in classes) for label in range(10)]


def test_what_is_kept_is_bytes_of_blobs_and_counts() -> None:
    ask = Asked(learner_config())
    ask(1)
    update = ask(2)
    assert isinstance(update, Update)
    blobs, counts = ask.context.state["fedbits.memory"], ask.context.state["fedbits.memory.counts"]
    assert isinstance(blobs, ArrayRecord)
    assert [array.data for array in blobs.values()] == list(update.blobs.values())
    assert set(ask.context.state) == {"fedbits.memory", "fedbits.memory.counts"}
    assert counts["round"] == 2 and len(counts["seen-1"]) == 10


def test_a_memory_that_makes_room_says_so() -> None:
    ask = Asked(learner_config(policy="progressive", overrides={"bits": 2, "factor": 1}, rounds=5))
    first = ask(1, budget="220 B")
    assert isinstance(first, Update)
    second = ask(2, first.digests, budget="220 B")
    assert isinstance(second, Update)
    assert second.shrunk == 1 and digest(next(iter(first.blobs.values()))) not in second.digests
    assert len(second.blobs) == 2 and second.blob_bytes <= 220


def test_a_node_that_cannot_keeps_what_it_has() -> None:
    ask = Asked(learner_config())
    first = ask(1)
    assert isinstance(first, Update)
    assert ask(2, budget="30 B") is Code.BUDGET_TOO_SMALL
    assert ask(3) is Code.BAD_TASK
    second = ask(2)
    assert isinstance(second, Update) and second.digests[:1] == first.digests and len(second.digests) == 2


def test_a_role_answers_nothing_that_it_does_not_know() -> None:
    config = learner_config()
    ask = Asked(config)
    message = Message(task_records(Task(1, 0, "1KiB", 60.0), None), dst_node_id=10, message_type=DISTIL)
    assert read_reply(ask.app(message, ask.context)).code is Code.BAD_TASK
    ask.context.node_config["role"] = "edge_node"  # a node's own role comes before the run's
    assert read_reply(ask.app(message, ask.context)).code is Code.OK
    assert ask(1) is Code.BAD_TASK


# ------------------------------------------------------------------------------------------------- the run


def test_a_whole_run_and_its_report(tmp_path: Path) -> None:
    config = learner_config(nodes=2, yardstick="fedavg", yardstick_rounds=2)
    states = contexts(config)
    result = serve_learners(
        tmp_path,
        config,
        {(1, 1): lambda message: [Message(error_records(Code.NODE_ERROR), reply_to=message)]},
        states,
    )
    facts = report.write(result)
    written = json.loads((tmp_path / "run/report.json").read_text())
    page = (tmp_path / "run/report.html").read_text()
    assert written == facts and RunConfig.from_flat(facts["config"]) == config
    assert [[r["code"] for r in node["rounds"]] for node in facts["nodes"]] == [
        ["ok", "ok"],
        ["node_error", "ok"],
    ]
    blobs = list((tmp_path / "run/blobs").rglob("*.fbit"))
    digests = 32 * (1 + 2 + 1)  # node 0 names one blob, then two; node 1 one
    head = facts["headline"]
    assert head["uplink_bytes"] == sum(path.stat().st_size for path in blobs) + digests
    assert head["memory_bytes"] == sum(path.stat().st_size for path in blobs)
    assert facts["rounds"][0]["seen"] == sorted(facts["nodes"][0]["experiences"][0])
    assert head["accuracy"] == facts["accuracy"][-1] == pytest.approx(sum(head["accuracies"]))
    assert (
        sum(facts["nodes"][0]["ledger_bits"].values()) == 8 * facts["nodes"][0]["rounds"][1]["memory_bytes"]
    )
    yardstick = facts["yardstick"]
    size = yardstick["uplink_bytes"] / (2 * 2 * 2)  # rounds, experiences, nodes
    assert size == int(size) and yardstick["downlink_bytes"] == yardstick["uplink_bytes"]
    assert yardstick["experiences"][1]["memory_bytes"] == [1024, 1024]  # sixteen samples of 64 bytes
    assert {array.dtype for array in states[0].state["fedbits.raw"].values()} == {"uint8"}
    for text in ("the node failed", "FedAvg with replay", "data:image/png;base64,", "<svg"):
        assert text in page
    assert "<script" not in page and "$" not in page


def test_the_same_seed_gives_the_same_bytes_and_accuracies(tmp_path: Path) -> None:
    config = learner_config(nodes=1, rounds=1)
    first, second = (serve_learners(tmp_path / name, config) for name in "ab")
    assert [held.blob for held in first.memories[0]] == [held.blob for held in second.memories[0]]
    assert first.rounds[0].tested is not None and second.rounds[0].tested is not None
    assert first.rounds[0].tested.correct == second.rounds[0].tested.correct


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rounds": 11}, "at most 10 experiences"),
        ({"budget": "4KiB"}, "budget '4KiB' has no effect on the role 'cl_learner'"),
        ({"policy": "online"}, "unknown policy 'online'"),
        ({"class_order": "random"}, "unknown class order 'random'"),
        ({"role": "conductor"}, "unknown role 'conductor'"),
        ({"role": "edge_node"}, "memory '1KiB' has no effect on the role 'edge_node'"),
    ],
)
def test_what_cannot_work_is_one_sentence(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Plan.of(config := learner_config(**changes), load(Source.of(config)))


def test_forgetting_is_since_a_class_was_known_best() -> None:
    seen = [(0,), (0, 1), (0, 1, 2)]
    rows = [[0.9, 0.5, None], [0.7, 0.8, None], [0.6, 0.9, None]]
    assert forgetting(seen, rows) == pytest.approx(((0.9 - 0.6) + (0.8 - 0.9)) / 2)
    assert forgetting([(0, 1)], [[0.5, 0.5]]) == 0
    assert forgetting(seen, [*rows[:2], None]) is None


def test_the_role_needs_no_avalanche() -> None:
    program = "import sys, nodes.continual.role, nodes.continual.server; print('avalanche' in sys.modules)"
    root = Path(report.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout == "False\n"
