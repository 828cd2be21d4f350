"""What the report of a run says of networks in place of sets."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from statistics import mean
from typing import TYPE_CHECKING, Any

from fedbits import page, svg

if TYPE_CHECKING:
    from nodes.ensemble import EnsembleResult, NodeNetwork

Facts = Mapping[str, Any]


def describe(result: EnsembleResult) -> dict[str, Any]:
    """JSON-able facts; accuracies are in [0, 1], sizes in bytes, times in seconds."""
    return {
        "uplink_bytes": result.uplink_bytes,
        "together": dict(result.together),
        "best": max(result.together, key=lambda rule: result.together[rule], default=None),
        "taught": None if result.taught is None else list(result.taught.accuracies),
        "seconds": round(result.seconds, 3),
        "nodes": [_node(entry) for entry in result.nodes],
    }


def _node(entry: NodeNetwork) -> dict[str, Any]:
    network = None if entry.distilled is None else entry.distilled.network
    return {
        "node": entry.node,
        "code": entry.code.value,
        "bytes": entry.bytes,
        "accuracy": entry.accuracy,
        "parameters": None if network is None else network.parameters,
    }


def line(facts: Facts) -> str:
    """What matters, for a terminal."""
    if facts["best"] is None:
        return "none arrived"
    arrived = sum(entry["code"] == "ok" for entry in facts["nodes"])
    together = f"{facts['together'][facts['best']]:.2%} by {arrived} together ({facts['best']})"
    text = f"{together}, {svg.bytes_text(facts['uplink_bytes'])}"
    return f"{text}; {mean(facts['taught']):.2%} by one taught by all" if facts["taught"] else text


def section(facts: Facts | None) -> str:
    """Of the page; empty where networks were not tried."""
    if facts is None:
        return ""
    text = (
        f"Each node sent a small network in as many bytes: {facts['uplink_bytes']:,} in all. Test accuracy "
        "of all that arrived together: by the mean of their probabilities; weighted by how many samples of a "
        "class each has seen; and this corrected for how often its node had each class."
    )
    if facts["taught"]:
        text += " And of fresh networks that learnt the samples of the union as these label them."
    return (
        f"<h2>Networks instead of sets</h2><p>{text}</p>"
        f'<div class="card"><table><tbody>{_sums(facts)}</tbody></table>'
        f'<div class="scroll"><table>{_HEADS}<tbody>{_nodes(facts)}</tbody></table>'
        "</div></div>"
    )


_HEADS = (
    '<thead><tr><th class="number">node</th><th>result</th><th class="number">sent</th>'
    '<th class="number">weights</th><th class="number">by itself</th></tr></thead>'
)


def _sums(facts: Facts) -> str:
    rows = {f"together, {rule}": value for rule, value in facts["together"].items()}
    if facts["taught"]:
        rows["one network, taught by all"] = mean(facts["taught"])
    return "".join(f"<tr><td>{escape(name)}</td>{page.number(_percent(v))}</tr>" for name, v in rows.items())


def _nodes(facts: Facts) -> str:
    return "".join(
        "<tr>"
        + page.number(entry["node"])
        + f"<td>{escape(entry['code'].replace('_', ' '))}</td>"
        + page.number(f"{entry['bytes']:,} B")
        + page.number("-" if entry["parameters"] is None else f"{entry['parameters']:,}")
        + page.number(_percent(entry["accuracy"]))
        + "</tr>"
        for entry in facts["nodes"]
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"
