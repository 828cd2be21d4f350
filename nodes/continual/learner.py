"""What a continual learner does in a round: it learns one experience, and sends what is new in its memory."""

from __future__ import annotations

import logging
import time

from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

from fedbits import device, recipes
from fedbits.budget import Budget
from fedbits.data import DataSpec
from nodes.codes import Code
from nodes.config import RunConfig
from nodes.continual.stream import NodeStream, seed_of
from nodes.continual.sync import Update, read_known, update_records
from nodes.messages import RefusedError, blob_array, error_records, read_task
from nodes.node import Deadline, Node, failure_code
from scenarios.memory import CompressedMemory, Entry, MemoryConfig

logger = logging.getLogger("fedbits.nodes")

_BLOBS, _COUNTS = "fedbits.memory", "fedbits.memory.counts"


def capacity(budget: Budget, spec: DataSpec) -> int:
    """Bytes of a memory; where they are for each class, each class of the task counts."""
    return budget.bytes(spec, spec.classes)


def memory_config(config: RunConfig, size: int, classes: int) -> MemoryConfig:
    """How a node's memory of ``size`` bytes is filled; the fixed policy has a quota for each of ``classes``.

    Raises:
        ConfigError: no such recipe, or a value out of range.
    """
    return MemoryConfig(
        size,
        recipes.get(config.recipe, **config.overrides),
        config.policy,  # type: ignore[arg-type]
        classes if config.policy == "fixed" else None,
        str(device.pick(config.device)),
    )


def remember(records: RecordDict, node: Node) -> RecordDict:
    """Learn the experience of the round that ``records`` ask for, and reply with what the server lacks.

    A node that cannot (too few bytes, out of time) keeps its memory as it was. A round that has been learned
    already is not learned again.
    """
    started = time.monotonic()
    task, _ = read_task(records)
    known = read_known(records)
    if len(node.data) == 0:
        return error_records(Code.EMPTY_SHARD, node.facts())
    number = task.node if node.number is None else node.number
    stream = NodeStream.of(node.data, node.config, number)
    if not 1 <= task.round <= len(stream.experiences):
        raise RefusedError(Code.BAD_TASK)
    arriving = stream.arriving(task.round)
    size = capacity(Budget.parse(task.budget), node.data.spec)
    memory = CompressedMemory(memory_config(node.config, size, stream.classes))
    learned = load(node.state, memory)
    before = list(memory.blobs())
    if len(arriving) and task.round > learned:
        try:
            seed = seed_of(node.config, number, task.round)
            memory.add(arriving, seed, progress=Deadline(started + task.seconds))
        except Exception as error:
            logger.exception("node %s failed in round %d", node.number, task.round)
            return error_records(failure_code(error), node.facts(started, arriving))
        save(node.state, memory, task.round)
    blobs = list(memory.blobs())
    shrunk = len(set(before) - set(blobs))
    return update_records(node.facts(started, arriving), Update.of(blobs, known, shrunk))


def save(state: RecordDict, memory: CompressedMemory, turn: int) -> None:
    """Keep ``memory`` as it is after round ``turn``: its blobs and a few counts, nothing else."""
    entries = memory.entries
    state[_BLOBS] = ArrayRecord({str(n): blob_array(entry.blob) for n, entry in enumerate(entries)})
    counts: dict[str, int | float | list[int] | list[float]] = {"round": turn}
    for number, entry in enumerate(entries):
        counts |= {f"held-{number}": list(entry.counts), f"seen-{number}": list(entry.seen)}
    state[_COUNTS] = MetricRecord(counts)


def load(state: RecordDict, memory: CompressedMemory) -> int:
    """Give ``memory`` what :func:`save` kept, and return the last round that was learned; 0 is none."""
    blobs, counts = state.get(_BLOBS), state.get(_COUNTS)
    if not isinstance(blobs, ArrayRecord) or not isinstance(counts, MetricRecord):
        return 0
    memory.entries = [
        Entry(_bytes(blobs[name]), tuple(counts[f"held-{name}"]), tuple(counts[f"seen-{name}"]))  # type: ignore[arg-type]
        for name in blobs
    ]
    return int(counts["round"])  # type: ignore[arg-type]


def _bytes(array: Array) -> bytes:
    return array.data
