from __future__ import annotations

import struct
import zlib

import pytest
from fake_nodes import blob_of, digits
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from fedbits.budget import Budget
from nodes.codes import NODE_CODES, Code
from nodes.messages import (
    BLOB_STYPE,
    DISTIL,
    PROTOCOL,
    Facts,
    RefusedError,
    Task,
    Terms,
    admit,
    error_records,
    greeting,
    local_error,
    read_reply,
    read_task,
    reply_records,
    task_records,
)

FACTS = Facts(partition=2, samples=30, class_counts=(10, 20), seconds=1.5, peak_bytes=1000)
TASK = Task(round=1, node=2, budget="2KiB", seconds=60.0)


def request() -> Message:
    return Message(task_records(TASK, None), dst_node_id=7, message_type=DISTIL)


def reply(records: RecordDict) -> Message:
    return Message(records, reply_to=request())


def terms(budget: str = "64KiB", ipc: int | None = None) -> Terms:
    return Terms(digits().spec, Budget.parse(budget), ipc)


def test_a_task_arrives_as_sent() -> None:
    model = ArrayRecord({"w": Array("uint8", (1,), "x", b"a")})
    assert read_task(task_records(TASK, None)) == (TASK, None)
    task, received = read_task(task_records(TASK, model))
    assert task == TASK and received is not None and received["w"].data == b"a"


@pytest.mark.parametrize(
    "records",
    [
        RecordDict(),
        RecordDict({"fedbits.task": MetricRecord({"round": 1})}),
        RecordDict({"fedbits.task": ConfigRecord({"round": 1, "node": 0, "budget": 3, "seconds": 1.0})}),
        RecordDict(
            {"fedbits.task": ConfigRecord({"round": -1, "node": 0, "budget": "1KiB", "seconds": 1.0})}
        ),
        RecordDict(
            {"fedbits.task": ConfigRecord({"round": 1, "node": 0, "budget": "1KiB", "seconds": float("nan")})}
        ),
    ],
)
def test_a_strange_task_is_refused(records: RecordDict) -> None:
    with pytest.raises(RefusedError) as refused:
        read_task(spoken(records))
    assert refused.value.code is Code.BAD_TASK


def spoken(records: RecordDict) -> RecordDict:
    """The same from a peer that speaks our version of the protocol."""
    return RecordDict({**greeting(), **records})


@pytest.mark.parametrize(
    "protocol",
    [
        None,
        MetricRecord({"version": [*PROTOCOL]}),
        ConfigRecord({"version": [PROTOCOL[0] + 1, 0]}),
        ConfigRecord({"version": [PROTOCOL[0], PROTOCOL[1] + 1]}),
        ConfigRecord({"version": "1.0"}),
        ConfigRecord({}),
    ],
)
def test_another_version_of_the_protocol_is_refused_on_both_sides(
    protocol: ConfigRecord | MetricRecord | None,
) -> None:
    task, answer = task_records(TASK, None), reply_records(FACTS, blob_of())
    for records in (task, answer):
        del records["fedbits.protocol"]
        if protocol is not None:
            records["fedbits.protocol"] = protocol
    with pytest.raises(RefusedError) as refused:
        read_task(task)
    assert refused.value.code is Code.PROTOCOL
    received = read_reply(reply(answer))
    assert received.code is Code.PROTOCOL and received.blob is None
    assert read_reply(reply(error_records(Code.PROTOCOL))).code is Code.PROTOCOL


def test_a_reply_arrives_as_sent() -> None:
    received = read_reply(reply(reply_records(FACTS, b"abc")))
    assert (received.code, received.blob, received.facts) == (Code.OK, b"abc", FACTS)


def test_a_blob_travels_as_an_array_in_chunks() -> None:
    array = reply_records(FACTS, b"abc").array_records["fedbits.blob"]["blob"]
    assert (array.dtype, array.stype, array.shape) == ("uint8", BLOB_STYPE, (3,))


@pytest.mark.parametrize("code", sorted(NODE_CODES))
def test_a_nodes_code_arrives(code: Code) -> None:
    assert read_reply(reply(error_records(code, FACTS))).code is code


@pytest.mark.parametrize("code", [Code.TIMEOUT, Code.UNREACHABLE, Code.UNREADABLE])
def test_the_servers_own_findings_are_replies_too(code: Code) -> None:
    assert read_reply(local_error(code, request())).code is code


def test_an_exception_in_a_node_is_a_node_error_without_its_text() -> None:
    received = read_reply(Message(Error(code=2, reason="Traceback: secret"), reply_to=request()))
    assert received.code is Code.NODE_ERROR
    assert "secret" not in repr(received)


def bad_facts(**changes: object) -> RecordDict:
    record = {"partition": 0, "samples": 1, "class-counts": [1], "seconds": 1.0, "peak-bytes": 1}
    blob = reply_records(FACTS, b"abc")["fedbits.blob"]
    return RecordDict({"fedbits.facts": MetricRecord(record | changes), "fedbits.blob": blob})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("records", "code"),
    [
        (RecordDict(), Code.MISSING),
        (reply_records(FACTS), Code.MISSING),
        (RecordDict({"fedbits.blob": reply_records(FACTS, b"a")["fedbits.blob"]}), Code.MISSING),
        (RecordDict({"fedbits.blob": ConfigRecord({"blob": b"abc"})}), Code.MISSING),
        (
            RecordDict({"fedbits.blob": ArrayRecord({"blob": Array("float32", (1,), BLOB_STYPE, b"abcd")})}),
            Code.MISSING,
        ),
        (RecordDict({"fedbits.error": ConfigRecord({"code": "ok"})}), Code.NODE_ERROR),
        (RecordDict({"fedbits.error": ConfigRecord({"code": "<script>"})}), Code.NODE_ERROR),
        (RecordDict({"fedbits.error": ConfigRecord({"code": [1, 2]})}), Code.NODE_ERROR),
        (RecordDict({"fedbits.error": MetricRecord({"code": 3})}), Code.NODE_ERROR),
        (bad_facts(samples=-1), Code.MISSING),
        (bad_facts(samples=1.5), Code.MISSING),
        (bad_facts(seconds=float("inf")), Code.MISSING),
        (bad_facts(**{"class-counts": [0.5]}), Code.MISSING),
        (bad_facts(**{"class-counts": 3}), Code.MISSING),
    ],
)
def test_a_strange_reply_is_a_code(records: RecordDict, code: Code) -> None:
    assert read_reply(reply(spoken(records))).code is code


def test_a_sound_blob_is_admitted() -> None:
    distilled = admit(blob_of(), terms())
    assert len(distilled) == 20 and distilled.spec.same_task(digits().spec)


def flipped(blob: bytes) -> bytes:
    return blob[:-1] + bytes([blob[-1] ^ 1])


def later_version(blob: bytes) -> bytes:
    return blob[:4] + b"\xff" + blob[5:]


def checked(body: bytes) -> bytes:
    """Any bytes under a valid header: what someone sends who knows the format."""
    checksum = zlib.crc32(body, zlib.crc32(struct.pack("<BBI", 1, 0, len(body))))
    return struct.pack("<4sBBII", b"FBIT", 1, 0, len(body), checksum) + body


@pytest.mark.parametrize(
    ("blob", "code"),
    [
        (b"", Code.NOT_A_BLOB),
        (b"garbage " * 100, Code.NOT_A_BLOB),
        (blob_of()[:-5], Code.CORRUPT),
        (flipped(blob_of()), Code.CORRUPT),
        (checked(b"\x08\x01\xff\xff"), Code.CORRUPT),
        (checked(b""), Code.CORRUPT),
        (later_version(blob_of()), Code.VERSION),
        (blob_of("other"), Code.WRONG_TASK),
    ],
)
def test_a_bad_blob_is_refused_with_its_code(blob: bytes, code: Code) -> None:
    with pytest.raises(RefusedError) as refused:
        admit(blob, terms())
    assert refused.value.code is code


def test_the_budget_is_checked_before_the_content() -> None:
    with pytest.raises(RefusedError) as refused:
        admit(b"garbage " * 1000, terms("100 B"))
    assert refused.value.code is Code.OVER_BUDGET


def test_a_budget_per_class_counts_only_the_classes_that_are_there() -> None:
    blob = blob_of()
    limit = len(blob) / 10
    assert len(admit(blob, terms(f"{limit + 1} B/class"))) == 20
    with pytest.raises(RefusedError):
        admit(blob, terms(f"{limit - 1} B/class"))


def test_a_small_blob_may_not_declare_a_large_set() -> None:
    small = terms("1KiB").decode_limits()
    assert small.blob_bytes == 1024
    assert small.elements * 4 < 1 << 26  # bytes as float32
    assert terms("100MiB").decode_limits().elements <= 1 << 28
