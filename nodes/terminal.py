"""What a terminal shows of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedbits.cli import common
from nodes import ensemble_report


def rows(report: Mapping[str, Any]) -> dict[str, str]:
    """The few facts of an edge nodes' run that matter."""
    head, yardstick = report["headline"], report["yardstick"]
    shown = {}
    if head["accuracy"] is not None:
        shown["accuracy"] = f"{head['accuracy']:.2%} ± {head['std']:.2%} ({len(head['accuracies'])} networks)"
    nodes = f"{head['nodes_in_union']} of {len(report['nodes'])} nodes"
    shown["sent by all nodes"] = f"{common.size_text(head['uplink_bytes'])}, from {nodes}"
    if report["config"]["exchange"]:
        shown["exchange"] = _on_exchange(head)
    if yardstick is not None and head["fedavg_ratio"] is not None:
        size = common.size_text(head["fedavg_uplink_bytes"])
        if head["fedavg_reached"]:
            shown["FedAvg"] = f"{size} until as accurate (round {yardstick['reached_in_round']})"
            shown["ratio"] = f"{head['fedavg_ratio']:,.1f} times fewer bytes than FedAvg"
        else:
            best = max(entry["accuracy"] for entry in yardstick["rounds"])
            shown["FedAvg"] = (
                f"{size} in {len(yardstick['rounds'])} rounds, at best {best:.2%}: not as accurate"
            )
            shown["ratio"] = f"more than {head['fedavg_ratio']:,.1f} times fewer bytes than FedAvg"
    if report["networks"] is not None:
        shown["networks instead"] = ensemble_report.line(report["networks"])
    shown["time"] = common.clock_text(sum(report["seconds"].values()))
    shown["report"] = f"{report['folder']}/report.html"
    return shown


def _on_exchange(head: Mapping[str, Any]) -> str:
    text = f"{head['shared_sets']} sets put there"
    if head["joined_sets"]:
        text += f", {head['joined_sets']} of {common.size_text(head['joined_bytes'])} were there and joined"
    return text
