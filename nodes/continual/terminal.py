"""What a terminal shows of a run of continual learners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedbits.cli import common


def rows(report: Mapping[str, Any]) -> dict[str, str]:
    """The few facts that matter."""
    head, yardstick = report["headline"], report["yardstick"]
    shown = {}
    if head["accuracy"] is not None:
        classes, many = len(report["rounds"][-1]["seen"]), len(head["accuracies"])
        shown["accuracy at the end"] = (
            f"{head['accuracy']:.2%} ± {head['std']:.2%} on {classes} classes "
            f"({many} network{'s' * (many != 1)})"
        )
        shown["after each round"] = ", ".join(
            "none" if value is None else f"{value:.1%}" for value in report["accuracy"]
        )
        shown["forgetting"] = f"{100 * head['forgetting']:.1f} points"
    nodes = f"{head['nodes_in_union']} of {len(report['nodes'])} nodes"
    shown["memories"] = f"{common.size_text(head['memory_bytes'])} in all, of {nodes}"
    shown["sent by all nodes"] = common.size_text(head["uplink_bytes"])
    if yardstick is not None:
        last = yardstick["accuracy"][-1]
        both = yardstick["uplink_bytes"], yardstick["downlink_bytes"]
        shown["FedAvg with replay"] = (
            f"{'no accuracy' if last is None else f'{last:.2%}'}, {common.size_text(both[0])} up, "
            f"{common.size_text(both[1])} down"
        )
    shown["time"] = common.clock_text(sum(report["seconds"].values()))
    shown["report"] = f"{report['folder']}/report.html"
    return shown
