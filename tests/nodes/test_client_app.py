from __future__ import annotations

from typing import Any

import pytest
import torch
from fake_nodes import context_of, digits, small_config
from flwr.app import Array, ArrayRecord, Message, RecordDict

from fedbits import container
from fedbits.evaluate import build_network, protocol
from nodes import models, yardstick
from nodes.client_app import make_client_app
from nodes.codes import Code
from nodes.config import RunConfig
from nodes.edge_node import Assignment
from nodes.messages import DISTIL, HELLO, LOCAL_TRAINING, Reply, Task, greeting, read_reply, task_records
from nodes.shard import Source, load_shard


def ask(
    app: object,
    partition: int | None = 0,
    budget: str = "2KiB",
    turn: int = 1,
    model: ArrayRecord | None = None,
) -> Reply:
    records = task_records(Task(turn, 0, budget, 60.0), model)
    message = Message(records, dst_node_id=10, message_type=DISTIL)
    return read_reply(app(message, context_of(partition)))  # type: ignore[operator]


def failing(error: BaseException) -> object:
    def distil(assignment: Assignment) -> bytes:
        raise error

    return make_client_app(small_config(), distil)


def test_a_node_distils_its_own_shard_within_its_budget() -> None:
    app = make_client_app(small_config())
    replies = [ask(app, partition) for partition in range(3)]
    assert [reply.code for reply in replies] == [Code.OK] * 3
    assert sum(reply.facts.samples for reply in replies) == len(digits().train)
    for partition, reply in enumerate(replies):
        assert reply.blob is not None and len(reply.blob) <= 2048
        assert container.decode(reply.blob).spec.same_task(digits().spec)
        assert reply.facts.partition == partition
        assert sum(reply.facts.class_counts) == reply.facts.samples
        assert reply.facts.seconds > 0 and reply.facts.peak_bytes > 1_000_000


def test_the_same_seed_gives_the_same_blob_and_another_round_another() -> None:
    app = make_client_app(small_config())
    assert ask(app).blob == ask(app).blob
    assert ask(app).blob != ask(app, turn=2).blob


def test_a_node_that_lacks_classes_sends_none_of_them() -> None:
    reply = ask(make_client_app(small_config(partition="classes:4")))
    assert reply.blob is not None
    assert sum(count > 0 for count in container.decode(reply.blob).class_counts()) == 4
    assert sum(count > 0 for count in reply.facts.class_counts) == 4


def test_a_node_without_a_partition_owns_all_of_its_data() -> None:
    reply = ask(make_client_app(small_config()), None)
    assert (reply.facts.partition, reply.facts.samples) == (-1, len(digits().train))


def test_the_run_may_come_from_flowers_run_config() -> None:
    context = context_of(1)
    context.run_config = small_config().to_flat()  # type: ignore[assignment]
    message = Message(task_records(Task(1, 1, "2KiB", 60.0), None), dst_node_id=10, message_type=DISTIL)
    reply = read_reply(make_client_app()(message, context))
    assert reply.blob == ask(make_client_app(small_config()), 1).blob


def test_every_failure_is_a_code() -> None:
    assert ask(failing(ValueError("secret"))).code is Code.NODE_ERROR
    assert ask(failing(MemoryError())).code is Code.OUT_OF_MEMORY
    app = make_client_app(small_config())
    assert ask(app, budget="8 B").code is Code.BUDGET_TOO_SMALL
    assert ask(app, budget="lots").code is Code.BUDGET_TOO_SMALL
    assert ask(make_client_app(RunConfig(data="npz:nowhere.npz"))).code is Code.NO_DATA
    assert ask(make_client_app(small_config(recipe="unheard-of"))).code is Code.BAD_TASK
    nothing = Message(greeting(), dst_node_id=10, message_type=DISTIL)
    assert read_reply(app(nothing, context_of())).code is Code.BAD_TASK


def test_a_server_of_another_version_is_told_so() -> None:
    app = make_client_app(small_config())
    for kind in (HELLO, DISTIL):
        message = Message(RecordDict(), dst_node_id=10, message_type=kind)
        assert read_reply(app(message, context_of())).code is Code.PROTOCOL


def test_a_node_of_a_deployment_has_data_of_its_own() -> None:
    """Whatever the run says, and known by the number it was given."""
    context = context_of(None)
    context.node_config = {"data": "digits", "partition-id": 1, "num-partitions": 4, "number": 2}
    message = Message(greeting(), dst_node_id=10, message_type=HELLO)
    facts = read_reply(
        make_client_app(RunConfig(data="npz:elsewhere.npz"))(message, context), blob=False
    ).facts
    assert facts.partition == 2
    assert facts.samples == len(load_shard(Source("digits", None, False, "iid", 0), 1, 4))


@pytest.mark.parametrize(
    "wrong", [{"data": 3}, {"download": "no"}, {"partition-id": 4}, {"partition-id": "1"}]
)
def test_wrong_settings_of_a_node_are_a_code(wrong: dict[str, Any]) -> None:
    context = context_of(None)
    context.node_config = {"data": "digits", "num-partitions": 4} | wrong
    message = Message(greeting(), dst_node_id=10, message_type=HELLO)
    assert read_reply(make_client_app(small_config())(message, context)).code is Code.BAD_TASK


def test_a_failure_still_tells_what_the_node_holds_and_nothing_of_the_exception() -> None:
    reply = ask(failing(ValueError("secret")))
    assert reply.facts.samples > 0
    assert "secret" not in repr(reply)


def test_an_empty_shard_is_said_so() -> None:
    # so concentrated that, of 40 nodes, some get nothing
    config = small_config(nodes=40, partition="dirichlet:0.001")
    app = make_client_app(config, lambda assignment: b"x")
    codes = {ask(app, partition).code for partition in range(40)}
    assert codes >= {Code.EMPTY_SHARD, Code.OK}


def test_a_node_stops_when_its_time_is_up() -> None:
    def distil(assignment: Assignment) -> bytes:
        with assignment.progress.task("work", 10**9) as task:
            while True:
                task.advance()

    records = task_records(Task(1, 0, "2KiB", 0.05), None)
    message = Message(records, dst_node_id=10, message_type=DISTIL)
    reply = read_reply(make_client_app(small_config(), distil)(message, context_of()))
    assert reply.code is Code.TIMEOUT


def test_the_global_model_reaches_the_node() -> None:
    config = small_config()
    how = protocol(config.protocol, **config.protocol_overrides)
    network = build_network(digits().test, how, seed=3)
    received: list[torch.nn.Module | None] = []

    def distil(assignment: Assignment) -> bytes:
        received.append(assignment.model)
        return b"x"

    app = make_client_app(config, distil)
    assert ask(app, turn=2, model=models.to_arrays(network)).code is Code.OK
    (model,) = received
    assert model is not None
    for name, value in network.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    wrong = ArrayRecord({"w": Array(torch.zeros(2).numpy())})
    assert ask(app, turn=2, model=wrong).code is Code.BAD_TASK


def test_hello_tells_the_partition_without_a_blob() -> None:
    message = Message(greeting(), dst_node_id=10, message_type=HELLO)
    reply = read_reply(make_client_app(small_config())(message, context_of(2)), blob=False)
    assert (reply.code, reply.facts.partition, reply.blob) == (Code.OK, 2, None)


def test_local_training_answers_as_fedavg_expects() -> None:
    config = small_config()
    how = protocol(config.protocol, **config.protocol_overrides)
    network = build_network(digits().test, how, seed=3)
    from flwr.app import ConfigRecord

    records = RecordDict({"arrays": models.to_arrays(network), "config": ConfigRecord({"server-round": 1})})
    message = Message(records, dst_node_id=10, message_type=LOCAL_TRAINING)
    app = make_client_app(config)
    first, second = (app(message, context_of(1)).content for _ in range(2))
    assert first["metrics"]["num-examples"] == ask(app, 1).facts.samples
    for name, array in first["arrays"].items():
        assert array.data == second["arrays"][name].data
    assert any(array.data != models.to_arrays(network)[name].data for name, array in first["arrays"].items())
    assert yardstick.LocalTraining().epochs == 1
