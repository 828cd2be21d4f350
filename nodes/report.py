"""The report of a run: the same facts as ``report.json`` and as a page for people, ``report.html``."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from fedbits import page
from fedbits.files import write_atomic
from fedbits.machine import versions
from nodes import ensemble_report, roles
from nodes.codes import Code
from nodes.messages import Facts
from nodes.node import peak_memory
from nodes.roster import Member
from nodes.server_app import Result, RunResult
from nodes.sharing import PUBLISHED
from nodes.strategy import Outcome, RoundResult
from nodes.yardstick import FedAvgResult

SHEETS_PER_REPORT = 24
SAMPLES_PER_CLASS = 12


def write(result: Result) -> dict[str, Any]:
    """Write both forms into the run's folder and return the facts."""
    facts, html = roles.get(result.plan.config.role).report(result)
    folder = result.folder.path
    write_atomic(folder / "report.json", json.dumps(facts, indent=2, allow_nan=False) + "\n")
    write_atomic(folder / "report.html", html)
    return facts


def describe(result: RunResult) -> dict[str, Any]:
    """All facts of a run as JSON-able values; accuracies are in [0, 1], sizes in bytes, times in seconds."""
    return {
        **shared(result, (o.facts for r in result.rounds for o in r.outcomes)),
        "headline": _headline(result),
        "nodes": [_node(result, member) for member in result.members],
        "rounds": _rounds(result.rounds),
        "yardstick": None if result.fedavg is None else _yardstick(result.fedavg),
        "networks": None if result.ensemble is None else ensemble_report.describe(result.ensemble),
    }


def shared(result: Result, replies: Iterable[Facts]) -> dict[str, Any]:
    """What there is to tell of a run of any role; ``replies`` are what nodes said of themselves."""
    plan = result.plan
    return {
        "name": result.folder.path.name,
        "folder": str(result.folder.path),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": plan.config.to_flat(),
        "data": {
            "name": plan.data.spec.name,
            "shape": list(plan.data.spec.shape),
            "classes": plan.data.spec.classes,
            "class_names": list(plan.data.spec.class_names),
            "train_samples": len(plan.data.train),
            "test_samples": len(plan.data.test),
        },
        "seconds": {part: round(seconds, 3) for part, seconds in result.seconds.items()},
        "memory": {
            "server_peak_bytes": peak_memory(),
            "node_peak_bytes": max((facts.peak_bytes for facts in replies), default=0),
        },
        "versions": versions("fedbits", "torch", "flwr", "ray", "flwr-datasets", "numpy", "constriction"),
        "machine": _machine(result),
    }


def _headline(result: RunResult) -> dict[str, Any]:
    accuracies = result.accuracies
    outcomes = [o for r in result.rounds for o in r.outcomes]
    uplink = sum(o.blob_bytes for o in outcomes if o.code is Code.OK)
    headline: dict[str, Any] = {
        "accuracy": mean(accuracies) if accuracies else None,
        "std": spread(accuracies),
        "accuracies": accuracies,
        "uplink_bytes": uplink,
        "rejected_bytes": sum(o.blob_bytes for o in outcomes if o.code is not Code.OK),
        "nodes_in_union": len({o.node for o in outcomes if o.code is Code.OK}),
        "shared_sets": sum(o.shared == PUBLISHED for o in outcomes),
        "joined_sets": len(result.joined),
        "joined_bytes": sum(entry.size for entry in result.joined),
        "fedavg_uplink_bytes": None,
        "fedavg_reached": None,
        "fedavg_ratio": None,
    }
    if result.fedavg is not None and uplink:
        headline["fedavg_uplink_bytes"] = result.fedavg.uplink_bytes
        headline["fedavg_reached"] = result.fedavg.reached is not None
        headline["fedavg_ratio"] = result.fedavg.uplink_bytes / uplink
    return headline


def spread(accuracies: Sequence[float]) -> float:
    """Sample standard deviation; 0 of a single one."""
    return stdev(accuracies) if len(accuracies) > 1 else 0.0


def _node(result: RunResult, member: Member) -> dict[str, Any]:
    config, terms = result.plan.config, result.plan.terms()[member.number]
    outcomes = [o for r in result.rounds for o in r.outcomes if o.node == member.number]
    facts = max((o.facts for o in outcomes), key=lambda f: f.samples, default=member.facts)
    return {
        "node": member.number,
        "samples": facts.samples,
        "class_counts": list(facts.class_counts),
        "classes": sum(count > 0 for count in facts.class_counts),
        "budget": config.budget_text(member.number).strip(),
        "budget_bytes": terms.limit(),
        "rounds": [_outcome(o, result.folder.path) for o in outcomes],
    }


def _outcome(outcome: Outcome, folder: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "round": outcome.round,
        "code": outcome.code.value,
        "meaning": outcome.code.sentence,
        "bytes": outcome.blob_bytes,
        "seconds": round(outcome.facts.seconds, 3),
        "arrived": round(outcome.arrived, 3),
        "file": outcome.file.relative_to(folder).as_posix() if outcome.file else None,
        "ledger_bits": outcome.components,
        "exchange": outcome.shared or None,
    }
    if outcome.distilled is not None:
        entry["sent"] = {
            "class_counts": outcome.distilled.class_counts(),
            **outcome.distilled.describe(),
        }
    return entry


def _rounds(rounds: list[RoundResult]) -> list[dict[str, Any]]:
    sent = [sum(o.blob_bytes for o in r.outcomes if o.code is Code.OK) for r in rounds]
    return [
        {
            "round": entry.round,
            "accepted": sum(o.code is Code.OK for o in entry.outcomes),
            "accuracy": mean(entry.learned.accuracies) if entry.learned else None,
            "std": spread(entry.learned.accuracies) if entry.learned else None,
            "networks": len(entry.learned.accuracies) if entry.learned else 0,
            "training_seconds": round(entry.learned.seconds, 3) if entry.learned else 0.0,
            "uplink_bytes": own,
            "cumulative_uplink_bytes": total,
        }
        for entry, own, total in zip(rounds, sent, accumulate(sent), strict=True)
    ]


def _yardstick(fedavg: FedAvgResult) -> dict[str, Any]:
    totals = accumulate(entry.uplink_bytes for entry in fedavg.rounds)
    return {
        "name": "fedavg",
        "target": fedavg.target,
        "reached_in_round": fedavg.reached,
        "uplink_bytes": fedavg.uplink_bytes,
        "rounds": [
            {
                "round": entry.round,
                "accuracy": entry.accuracy,
                "replies": entry.replies,
                "uplink_bytes": entry.uplink_bytes,
                "cumulative_uplink_bytes": total,
            }
            for entry, total in zip(fedavg.rounds, totals, strict=True)
        ],
    }


def _machine(result: Result) -> dict[str, Any]:
    device = result.plan.device
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }


def draw_sheets(result: RunResult) -> dict[int, bytes]:
    """Pictures (PNG) of what the first nodes sent in the last round in which they sent anything."""
    latest = {o.node: o.distilled for r in result.rounds for o in r.outcomes if o.distilled is not None}
    return {
        node: page.sheet_png(latest[node], SAMPLES_PER_CLASS) for node in sorted(latest)[:SHEETS_PER_REPORT]
    }
