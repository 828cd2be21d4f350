"""The facts of a run of continual learners as one page that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

from fedbits import page, svg
from nodes.report_html import histogram, how_it_was_made, time_tile

Facts = Mapping[str, Any]


def render(facts: Facts, sheets: Mapping[int, bytes]) -> str:
    """The page; ``sheets`` are pictures (PNG) of nodes' memories, by node."""
    nodes = len(facts["nodes"])
    fields = {
        "tiles": _tiles(facts),
        "plot_text": escape(_plot_text(facts)),
        "plot": _plot(facts),
        "rounds": _rounds(facts),
        "nodes_text": escape(_nodes_text(facts)),
        "nodes": _nodes(facts),
        "sheets": _sheets(facts, sheets),
        "facts": how_it_was_made(facts),
    }
    template = resources.files("nodes.continual").joinpath("report.html").read_text()
    title = f"{facts['data']['name']}: {nodes} continual learner{'s' * (nodes != 1)}"
    return page.document(title, _subtitle(facts), Template(template).substitute(fields))


def _subtitle(facts: Facts) -> str:
    config = facts["config"]
    order = "in each node's own order" if config["class-order"] == "own" else "in the same order everywhere"
    return (
        f"{config['partition']} · classes in {config['rounds']} experiences, {order} · memory of "
        f"{config['memory']} a node, {config['policy']} · recipe {config['recipe']} · "
        f"seed {config['seed']} · {facts['finished'].replace('T', ' ').removesuffix('+00:00')} UTC"
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _tiles(facts: Facts) -> str:
    head, classes = facts["headline"], len(facts["rounds"][-1]["seen"])
    many = len(head["accuracies"])
    tiles = [
        page.tile(
            "accuracy at the end",
            _percent(head["accuracy"]),
            f"on the test samples of the {classes} classes seen, {many} network{'s' * (many != 1)}",
            main=True,
        )
    ]
    if head["accuracy"] is not None:
        what = "points lost, on average, on a class since it was known best"
        tiles.append(page.tile("forgetting", f"{100 * head['forgetting']:.1f}", what))
    tiles += [
        page.tile(
            "memories",
            svg.bytes_text(head["memory_bytes"]),
            f"{head['memory_bytes']:,} bytes of {head['nodes_in_union']} nodes at the end",
        ),
        page.tile("sent by all nodes", svg.bytes_text(head["uplink_bytes"]), _sent_text(facts)),
        time_tile(facts),
    ]
    return "".join(tiles)


def _sent_text(facts: Facts) -> str:
    head, yardstick = facts["headline"], facts["yardstick"]
    text = f"{head['uplink_bytes']:,} bytes in all rounds"
    if head["rejected_bytes"]:
        text += f"; {head['rejected_bytes']:,} more were refused"
    if yardstick is not None:
        up, down = (svg.bytes_text(yardstick[way]) for way in ("uplink_bytes", "downlink_bytes"))
        text += f"; FedAvg with replay {up} up and {down} down"
    return text


def _plot_text(facts: Facts) -> str:
    text = "On the test samples of all classes that any node's memory has brought by then."
    if facts["yardstick"] is None:
        return text
    rounds = facts["yardstick"]["rounds_per_experience"]
    return (
        f"{text} FedAvg with replay: the same network, nodes, streams and bytes of memory, of raw samples, "
        f"{rounds} round{'s' * (rounds != 1)} in each experience."
    )


def _plot(facts: Facts) -> str:
    with svg.style():
        figure = svg.figure()
        axes = figure.add_subplot()
        if facts["yardstick"] is not None:
            _line(axes, facts["yardstick"]["accuracy"], "FedAvg with replay", svg.THEIRS)
        _line(axes, facts["accuracy"], "memories", svg.OURS)
        axes.set_xticks([entry["round"] for entry in facts["rounds"]])
        axes.set_xlabel("rounds, each an experience of every node")
        axes.set_ylabel("test accuracy")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        axes.margins(x=0.08, y=0.2)
        svg.dress(axes)
        return svg.element(figure)


def _line(axes: Any, accuracy: Sequence[float | None], name: str, colour: str) -> None:
    known = [(turn, 100 * value) for turn, value in enumerate(accuracy, 1) if value is not None]
    if not known:
        return
    axes.plot(*zip(*known, strict=True), color=colour, linewidth=1.8, marker="o", markersize=6)
    place = {"xytext": (0, 9), "textcoords": "offset points", "ha": "right", "weight": "bold"}
    axes.annotate(name, known[-1], color=colour, **place)


def _table(heads: Sequence[str], text: set[str], body: str) -> str:
    """``text`` are the columns that are no numbers."""
    row = "".join(f"<th>{h}</th>" if h in text else f'<th class="number">{h}</th>' for h in heads)
    return f"<table><thead><tr>{row}</tr></thead><tbody>{body}</tbody></table>"


def _rounds(facts: Facts) -> str:
    heads = ["round", "classes seen", "accuracy", "nodes", "sent up", "sent down", "memories", "samples"]
    yardstick, body = facts["yardstick"], ""
    for place, entry in enumerate(facts["rounds"]):
        cells = [
            entry["round"],
            len(entry["seen"]),
            _percent(entry["accuracy"]),
            f"{entry['accepted']} of {len(facts['nodes'])}",
            f"{entry['uplink_bytes']:,} B",
            f"{entry['downlink_bytes']:,} B",
            f"{entry['memory_bytes']:,} B",
            f"{entry['memory_samples']:,}",
        ]
        if yardstick is not None:
            other = yardstick["experiences"][place]
            cells += [_percent(other["accuracy"]), f"{other['uplink_bytes']:,} B"]
        body += f"<tr>{''.join(page.number(cell) for cell in cells)}</tr>"
    return _table(heads + (["FedAvg's accuracy", "FedAvg up"] if yardstick else []), set(), body)


def _nodes_text(facts: Facts) -> str:
    text = "What each node learned in each round, what it sent, and what its memory took after it."
    failed = sum(any(r["code"] != "ok" for r in node["rounds"]) for node in facts["nodes"])
    if failed:
        text += f" {failed} of {len(facts['nodes'])} failed in some round: of them, what was there stayed."
    return text


def _nodes(facts: Facts) -> str:
    heads = ["node", "samples", "histogram", "round", "result", "learned", "sent", "memory", "holds", "time"]
    most = max((max(n["class_counts"], default=0) for n in facts["nodes"]), default=0)
    names = facts["data"]["class_names"]
    body = ""
    for node in facts["nodes"]:
        own = page.number(node["node"]) + page.number(f"{node['samples']:,}")
        own += f"<td>{histogram(node['class_counts'], most, names)}</td>"
        for place, entry in enumerate(node["rounds"]):
            body += f"<tr>{own if place == 0 else '<td colspan=3></td>'}{_cells(node, entry, names)}</tr>"
    return _table(heads, {"histogram", "result", "learned"}, body)


def _cells(node: Facts, entry: Facts, names: Sequence[str]) -> str:
    bad = entry["code"] != "ok"
    pill = f'<span class="pill{" bad" * bad}">{escape(entry["code"].replace("_", " "))}</span>'
    time = f"{entry['seconds']:.1f} s" if entry["seconds"] else "-"
    return (
        page.number(entry["round"])
        + f"<td>{pill}</td><td>{escape(_learned(entry, names))}</td>"
        + page.number(f"{entry['bytes']:,} B")
        + page.number(f"{entry['memory_bytes']:,} of {node['capacity_bytes']:,} B")
        + page.number(f"{entry['memory_samples']:,}")
        + page.number(time)
    )


def _learned(entry: Facts, names: Sequence[str]) -> str:
    """The classes of a round and what happened to the memory, in words."""
    if entry["code"] != "ok":
        return str(entry["meaning"])
    labels = [label for label, count in enumerate(entry["class_counts"]) if count]
    text = ", ".join(names[label] if label < len(names) else f"class {label}" for label in labels)
    text = f"{text} ({entry['samples']:,})" if labels else "nothing new"
    for what, count in (("cut or distilled again", entry["shrunk"]), ("lost by the node", entry["lost"])):
        if count:
            text += f"; {count} older blob{'s' * (count != 1)} {what}"
    return text


def _sheets(facts: Facts, sheets: Mapping[int, bytes]) -> str:
    if not sheets:
        return ""
    figures = "".join(_sheet(facts["nodes"][node], picture) for node, picture in sorted(sheets.items()))
    return (
        "<h2>The memories</h2><p>Samples as the server replays them after the last round, classes in rows "
        f'(the first few of each class and node).</p><section class="sheets">{figures}</section>'
    )


def _sheet(node: Facts, picture: bytes) -> str:
    last = node["rounds"][-1]
    text = f"{last['memory_samples']:,} samples in {last['memory_bytes']:,} bytes"
    return page.picture(f"node {node['node']}", text, picture)
