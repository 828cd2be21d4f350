"""Flower records and the things they carry, with the validation of each beside it.

Nothing that comes from another machine is trusted: a reply is taken apart without raising, its blob is
measured before it is decoded and decoded under limits, and every failure ends as a
:class:`~nodes.codes.Code`.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from fedbits import container
from fedbits.budget import Budget
from fedbits.data import DataSpec
from fedbits.distilled_set import DistilledSet
from fedbits.errors import (
    BudgetError,
    FedbitsError,
    FormatError,
    LimitError,
    MismatchError,
    NotABlobError,
    VersionError,
)
from nodes.codes import NODE_CODES, Code

logger = logging.getLogger("fedbits.nodes")

PROTOCOL = (1, 0)  # major, minor: of what messages mean; peers must agree in both
BLOB_STYPE = "fedbits.blob"
HELLO = "query.hello"
DISTIL, NETWORK, LOCAL_TRAINING = "train.distil", "train.network", "train.fedavg"  # of edge nodes
REMEMBER, REPLAY_TRAINING = "train.remember", "train.fedavg_replay"  # of continual learners
ACTIONS = (DISTIL, NETWORK, LOCAL_TRAINING, REMEMBER, REPLAY_TRAINING)

_TASK, _MODEL, _BLOB, _FACTS, _ERROR, _PROTOCOL = (
    f"fedbits.{part}" for part in ("task", "model", "blob", "facts", "error", "protocol")
)
MAX_CLASSES, MAX_SITES = 1_000_000, 10_000
MAX_ELEMENTS_PER_BIT = 512  # 1 bit a value at 0.1 bits after coding, downsampled by 4: 160
MIN_ELEMENTS, MAX_ELEMENTS = 1 << 22, 1 << 28

# Errors that the server itself finds while exchanging messages: Flower error codes beyond Flower's own.
_LOCAL_ERRORS = {Code.TIMEOUT: 9001, Code.UNREACHABLE: 9002, Code.UNREADABLE: 9003}


class RefusedError(FedbitsError):
    """A message that is not what was agreed; ``code`` says in what way."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.sentence)
        self.code = code


# ------------------------------------------------------------------------------------------------ handshake


def greeting() -> RecordDict:
    """What a server says first: which version of the protocol it speaks."""
    return RecordDict({_PROTOCOL: _protocol_record()})


def check_protocol(records: RecordDict) -> None:
    """Raises :class:`RefusedError` (``protocol``) unless the sender speaks this version, and says so."""
    record = records.get(_PROTOCOL)
    if not isinstance(record, ConfigRecord) or record.get("version") != list(PROTOCOL):
        raise RefusedError(Code.PROTOCOL)


def _protocol_record() -> ConfigRecord:
    return ConfigRecord({"version": list(PROTOCOL)})


# ------------------------------------------------------------------------------------------ server to node


@dataclass(frozen=True)
class Task:
    """What a node is asked for in one round.

    Attributes:
        round: 1 ..
        node: the server's number for this node, 0 ..
        budget: the limit on the blob, as :meth:`fedbits.budget.Budget.parse` reads it.
        seconds: time the node has, from receiving the task.
    """

    round: int
    node: int
    budget: str
    seconds: float


def task_records(task: Task, model: ArrayRecord | None) -> RecordDict:
    """``task``, with the weights of the global model when there is one to distil against."""
    config = ConfigRecord(
        {"round": task.round, "node": task.node, "budget": task.budget, "seconds": task.seconds}
    )
    records = greeting()
    records[_TASK] = config
    if model is not None:
        records[_MODEL] = model
    return records


def read_task(records: RecordDict) -> tuple[Task, ArrayRecord | None]:
    """The inverse of :func:`task_records`.

    Raises:
        RefusedError: ``protocol`` where the server speaks another version, ``bad_task`` on anything else.
    """
    check_protocol(records)
    config = records.get(_TASK)
    model = records.get(_MODEL)
    if not isinstance(config, ConfigRecord) or not (model is None or isinstance(model, ArrayRecord)):
        raise RefusedError(Code.BAD_TASK)
    turn, node, budget, seconds = (config.get(key) for key in ("round", "node", "budget", "seconds"))
    if not (is_count(turn) and is_count(node) and isinstance(budget, str) and _is_seconds(seconds)):
        raise RefusedError(Code.BAD_TASK)
    return Task(turn, node, budget, float(seconds)), model  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ node to server


@dataclass(frozen=True)
class Facts:
    """What a node says about itself: numbers for the report, on which no decision rests.

    Attributes:
        partition: the number it was given among the nodes (in a simulation, its partition's), or -1.
        samples: real samples it holds.
        class_counts: of its real samples.
        site_counts: the same by site, where its data tell (:attr:`fedbits.data.TensorData.sites`).
        seconds: what the work took it.
        peak_bytes: the highest memory use of its process so far.
    """

    partition: int = -1
    samples: int = 0
    class_counts: tuple[int, ...] = ()
    seconds: float = 0.0
    peak_bytes: int = 0
    site_counts: tuple[int, ...] = ()


def reply_records(facts: Facts, blob: bytes | None = None) -> RecordDict:
    """A node's reply: the facts, and the blob if one was asked for."""
    records = greeting()
    records[_FACTS] = _facts_record(facts)
    if blob is not None:
        records[_BLOB] = ArrayRecord({"blob": blob_array(blob)})
    return records


def blob_array(blob: bytes) -> Array:
    """A blob as it travels: an array is sent in chunks, which the values of a ``ConfigRecord`` are not."""
    return Array(dtype="uint8", shape=(len(blob),), stype=BLOB_STYPE, data=blob)


def error_records(code: Code, facts: Facts | None = None) -> RecordDict:
    """A node's reply when it has nothing to send."""
    records = RecordDict({_ERROR: ConfigRecord({"code": code.value})})
    if facts is not None:
        records[_FACTS] = _facts_record(facts)
    return records


def local_error(code: Code, task: Message) -> Message:
    """The reply the server puts in place of one that did not arrive whole."""
    return Message(Error(code=_LOCAL_ERRORS[code]), reply_to=task)


def _facts_record(facts: Facts) -> MetricRecord:
    record = MetricRecord(
        {
            "partition": facts.partition,
            "samples": facts.samples,
            "class-counts": list(facts.class_counts),
            "seconds": facts.seconds,
            "peak-bytes": facts.peak_bytes,
        }
    )
    if facts.site_counts:
        record["site-counts"] = list(facts.site_counts)
    return record


@dataclass(frozen=True)
class Reply:
    """A reply taken apart; ``blob`` is as received, of any size and content, whenever there is one."""

    code: Code
    blob: bytes | None = None
    facts: Facts = field(default_factory=Facts)


def read_reply(message: Message, *, blob: bool = True) -> Reply:
    """Take a reply apart, whatever it is; with ``blob`` false, only its facts are asked for."""
    if message.has_error():
        known = {number: code for code, number in _LOCAL_ERRORS.items()}
        return Reply(known.get(message.error.code, Code.NODE_ERROR))
    records = message.content
    facts = _read_facts(records.get(_FACTS))
    error = records.get(_ERROR)
    if error is not None:
        return Reply(_read_code(error), facts=facts or Facts())
    try:
        check_protocol(records)
    except RefusedError as refusal:
        return Reply(refusal.code, facts=facts or Facts())
    if not blob:
        return Reply(Code.OK if facts else Code.MISSING, facts=facts or Facts())
    data = read_blob(records.get(_BLOB), "blob")
    if data is None or facts is None:
        return Reply(Code.MISSING, data, facts or Facts())
    return Reply(Code.OK, data, facts)


def _read_code(record: object) -> Code:
    code = record.get("code") if isinstance(record, ConfigRecord) else None
    return Code(code) if isinstance(code, str) and code in NODE_CODES else Code.NODE_ERROR


def read_blob(record: object, name: str) -> bytes | None:
    """The bytes of the :func:`blob_array` called ``name``; None where there is no such thing."""
    array = record.get(name) if isinstance(record, ArrayRecord) else None
    if not isinstance(array, Array) or array.dtype != "uint8" or array.stype != BLOB_STYPE:
        return None
    return array.data


def _read_facts(record: object) -> Facts | None:
    if not isinstance(record, MetricRecord):
        return None
    partition, samples, counts, seconds, peak = (
        record.get(key) for key in ("partition", "samples", "class-counts", "seconds", "peak-bytes")
    )
    if not (is_count(samples) and _is_seconds(seconds) and is_count(peak) and isinstance(partition, int)):
        return None
    sites = record.get("site-counts", [])
    if not (_are_counts(counts, MAX_CLASSES) and _are_counts(sites, MAX_SITES)):
        return None
    return Facts(partition, samples, tuple(counts), float(seconds), peak, tuple(sites))  # type: ignore[arg-type]


def _are_counts(value: object, most: int) -> bool:
    return isinstance(value, list) and len(value) <= most and all(is_count(count) for count in value)


def is_count(value: object) -> bool:
    """Whether a received value is an integer from 0 to 2**63 - 1."""
    return isinstance(value, int) and 0 <= value < 2**63


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


# ------------------------------------------------------------------------------------------------- the blob


@dataclass(frozen=True)
class Terms:
    """What a blob must keep to: the task, and the node's budget.

    ``ipc`` is the recipe's number of samples per class where it is fixed; a budget in bpp needs it.
    """

    spec: DataSpec
    budget: Budget
    ipc: int | None = None

    def limit(self) -> int:
        """The largest blob that any set could be allowed, before anything is known about the set."""
        samples = None if self.ipc is None else self.ipc * self.spec.classes
        return self.budget.bytes(self.spec, self.spec.classes, samples)

    def decode_limits(self) -> container.DecodeLimits:
        """Limits for the decoder; a small blob has no business declaring gigabytes."""
        elements = min(max(8 * self.limit() * MAX_ELEMENTS_PER_BIT, MIN_ELEMENTS), MAX_ELEMENTS)
        return container.DecodeLimits(blob_bytes=self.limit(), elements=elements)

    def exact_limit(self, distilled: DistilledSet) -> int:
        """The limit for this set, of whose classes only those present (or its network has seen) count."""
        present = sum(count > 0 for count in distilled.class_counts())
        if not len(distilled) and distilled.network is not None:
            present = int((distilled.network.coverage > 0).sum())
        return self.budget.bytes(self.spec, present, len(distilled))


def admit(blob: bytes, terms: Terms) -> DistilledSet:
    """Decode a received blob, or raise :class:`RefusedError` with the code of what is wrong with it.

    The size is checked before the content is looked at, and the decoder works under limits.
    """
    distilled = _decoded(blob, terms)
    if not _labels_fit(distilled, terms.spec):
        raise RefusedError(Code.WRONG_LABELS)
    if len(blob) > terms.exact_limit(distilled):
        raise RefusedError(Code.OVER_BUDGET)
    return distilled


def admit_network(blob: bytes, terms: Terms) -> DistilledSet:
    """The same of a blob that holds a network alone."""
    distilled = _decoded(blob, terms)
    if len(distilled) or distilled.network is None:
        raise RefusedError(Code.WRONG_LABELS)
    if len(blob) > terms.exact_limit(distilled):
        raise RefusedError(Code.OVER_BUDGET)
    return distilled


def _decoded(blob: bytes, terms: Terms) -> DistilledSet:
    """What a blob of the right size holds, of the run's task."""
    if len(blob) > terms.limit():
        raise RefusedError(Code.OVER_BUDGET)
    try:
        distilled = container.decode(blob, terms.decode_limits())
    except (FormatError, MismatchError) as error:
        raise RefusedError(_format_code(error)) from error
    except MemoryError as error:
        raise RefusedError(Code.TOO_LARGE) from error
    except Exception as error:  # a decoder's mistake must not cost the other nodes their run
        logger.exception("the decoder failed in a way it should not")
        raise RefusedError(Code.CORRUPT) from error
    if not distilled.spec.same_task(terms.spec):
        raise RefusedError(Code.WRONG_TASK)
    return distilled


def _labels_fit(distilled: DistilledSet, spec: DataSpec) -> bool:
    labels = distilled.labels
    if len(distilled) == 0:
        return False
    if labels.is_floating_point():
        return labels.ndim == 2 and labels.shape[1] == spec.classes and bool(torch.isfinite(labels).all())
    return bool((labels >= 0).all()) and bool((labels < spec.classes).all())


def _format_code(error: FedbitsError) -> Code:
    for kind, code in (
        (NotABlobError, Code.NOT_A_BLOB),
        (VersionError, Code.VERSION),
        (LimitError, Code.TOO_LARGE),
        (MismatchError, Code.WRONG_TASK),
    ):
        if isinstance(error, kind):
            return code
    return Code.CORRUPT


def budget_bytes(terms: Terms) -> int:
    """:meth:`Terms.limit`, checked before a run; raises :class:`BudgetError` where there is no such limit."""
    limit = terms.limit()
    if limit < 1:
        raise BudgetError(f"a budget of {terms.budget.amount:g} {terms.budget.unit} is less than one byte")
    return limit
