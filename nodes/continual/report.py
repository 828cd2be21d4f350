"""The facts of a run of continual learners."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from statistics import mean
from typing import Any

from fedbits import page
from fedbits.data.union import Union
from nodes import report as runs
from nodes.codes import Code
from nodes.continual.server import ContinualResult, memory_terms
from nodes.continual.strategy import Outcome, RoundResult, components, sentence
from nodes.continual.stream import experiences
from nodes.continual.yardstick import ExperienceResult
from nodes.roster import Member

SAMPLES_PER_CLASS = 8


def describe(result: ContinualResult) -> dict[str, Any]:
    """All facts as JSON-able values; accuracies are in [0, 1], sizes in bytes, times in seconds.

    An accuracy is on the test samples of all classes that nodes' memories have brought by then; the
    yardstick's, after as many experiences, is on those of the same classes.
    """
    rounds = [_round(entry) for entry in result.rounds]
    totals = accumulate(entry["uplink_bytes"] for entry in rounds)
    return {
        **runs.shared(result, (o.facts for r in result.rounds for o in r.outcomes)),
        "headline": _headline(result, rounds),
        "accuracy": [entry["accuracy"] for entry in rounds],
        "rounds": [
            {**entry, "cumulative_uplink_bytes": total} for entry, total in zip(rounds, totals, strict=True)
        ],
        "nodes": [_node(result, member) for member in result.members],
        "yardstick": None if result.replay is None else _yardstick(result, result.replay),
    }


def _headline(result: ContinualResult, rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    known = [entry["accuracy"] for entry in rounds if entry["accuracy"] is not None]
    outcomes = [o for r in result.rounds for o in r.outcomes]
    last = result.rounds[-1]
    return {
        "accuracy": rounds[-1]["accuracy"],
        "std": rounds[-1]["std"],
        "accuracies": [] if last.tested is None else last.tested.accuracies(last.seen),
        "average_incremental_accuracy": mean(known) if known else None,
        "forgetting": forgetting(
            [r.seen for r in result.rounds], [entry["class_accuracy"] for entry in rounds]
        ),
        "memory_bytes": rounds[-1]["memory_bytes"],
        "uplink_bytes": sum(entry["uplink_bytes"] for entry in rounds),
        "downlink_bytes": sum(entry["downlink_bytes"] for entry in rounds),
        "rejected_bytes": sum(o.sent_bytes for o in outcomes if o.code is not Code.OK),
        "nodes_in_union": sum(bool(memory) for memory in result.memories.values()),
    }


def forgetting(
    seen: Sequence[Sequence[int]], accuracy: Sequence[Sequence[float | None] | None]
) -> float | None:
    """Mean over classes seen before the last round of (best accuracy on it before) − (that at the end).

    Chaudhry et al., ECCV 2018, with classes for tasks: nodes bring them at different times. 0 where all
    classes came last; None without an accuracy at the end.

    Args:
        seen: classes seen by each round's end.
        accuracy: of each class, after each round; None of a class without test samples, or of a round after
            which there was nothing to test.
    """
    last = accuracy[-1]
    if last is None:
        return None
    lost = []
    for label in seen[-2] if len(seen) > 1 else ():
        before = [
            row[label] for row, known in zip(accuracy[:-1], seen, strict=False) if row and label in known
        ]
        best = max((value for value in before if value is not None), default=None)
        if best is not None and last[label] is not None:
            lost.append(best - last[label])  # type: ignore[operator]
    return mean(lost) if lost else 0.0


def _round(entry: RoundResult) -> dict[str, Any]:
    tested = entry.tested
    accuracies = [] if tested is None else tested.accuracies(entry.seen)
    return {
        "round": entry.round,
        "accepted": sum(o.code is Code.OK for o in entry.outcomes),
        "seen": list(entry.seen),
        "accuracy": mean(accuracies) if accuracies else None,
        "std": runs.spread(accuracies) if accuracies else None,
        "networks": len(accuracies),
        "class_accuracy": None if tested is None else _by_class(tested.correct, tested.totals),
        "training_seconds": 0.0 if tested is None else round(tested.seconds, 3),
        "uplink_bytes": sum(o.sent_bytes for o in entry.outcomes if o.code is Code.OK),
        "downlink_bytes": entry.down_bytes,
        "memory_bytes": sum(o.memory_bytes for o in entry.outcomes),
        "memory_samples": sum(o.memory_samples for o in entry.outcomes),
    }


def _by_class(correct: Sequence[Sequence[int]], totals: Sequence[int]) -> list[float | None]:
    """Mean over networks; None of a class without test samples."""
    return [
        mean(row[label] for row in correct) / total if total else None for label, total in enumerate(totals)
    ]


def _node(result: ContinualResult, member: Member) -> dict[str, Any]:
    config, spec = result.plan.config, result.plan.data.spec
    outcomes = [o for r in result.rounds for o in r.outcomes if o.node == member.number]
    return {
        "node": member.number,
        "samples": member.facts.samples,
        "class_counts": list(member.facts.class_counts),
        "classes": sum(count > 0 for count in member.facts.class_counts),
        "experiences": [list(part) for part in experiences(spec.classes, config, member.number)],
        "capacity_bytes": memory_terms(result.plan)[member.number].limit(),
        "ledger_bits": components(result.memories[member.number]),
        "rounds": [_outcome(o) for o in outcomes],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "round": outcome.round,
        "code": outcome.code.value,
        "meaning": sentence(outcome.code),
        "samples": outcome.facts.samples,
        "class_counts": list(outcome.facts.class_counts),
        "blobs": outcome.sent_blobs,
        "bytes": outcome.sent_bytes,
        "shrunk": outcome.shrunk,
        "lost": outcome.lost,
        "memory_bytes": outcome.memory_bytes,
        "memory_samples": outcome.memory_samples,
        "seconds": round(outcome.facts.seconds, 3),
        "arrived": round(outcome.arrived, 3),
        "files": list(outcome.files),
    }


def _yardstick(result: ContinualResult, replay: Sequence[ExperienceResult]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for entry, ours in zip(replay, result.rounds, strict=True):
        many = sum(entry.totals[label] for label in ours.seen)
        correct = sum(entry.correct[label] for label in ours.seen)
        rows.append(
            {
                "experience": entry.experience,
                "accuracy": correct / many if many else None,
                "class_accuracy": _by_class([entry.correct], entry.totals),
                "uplink_bytes": entry.uplink_bytes,
                "downlink_bytes": entry.downlink_bytes,
                "replies": entry.replies,
                "memory_bytes": [entry.memory_bytes.get(member.number) for member in result.members],
            }
        )
    known = [row["accuracy"] for row in rows if row["accuracy"] is not None]
    return {
        "name": "fedavg with replay",
        "rounds_per_experience": result.plan.config.yardstick_rounds,
        "accuracy": [row["accuracy"] for row in rows],
        "average_incremental_accuracy": mean(known) if known else None,
        "forgetting": forgetting([r.seen for r in result.rounds], [row["class_accuracy"] for row in rows]),
        "uplink_bytes": sum(row["uplink_bytes"] for row in rows),
        "downlink_bytes": sum(row["downlink_bytes"] for row in rows),
        "experiences": rows,
    }


def draw_sheets(result: ContinualResult) -> dict[int, bytes]:
    """Pictures (PNG) of the first nodes' memories at the end."""
    there = [(node, memory) for node, memory in sorted(result.memories.items()) if memory]
    spec = result.plan.data.spec
    return {
        node: page.sheet_png(Union(spec, [held.distilled for held in memory]), SAMPLES_PER_CLASS)
        for node, memory in there[: runs.SHEETS_PER_REPORT]
    }
