"""The facts of a run as one page that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

from fedbits import page, svg
from nodes import ensemble_report
from nodes.config import RunConfig
from nodes.plots import Curve, accuracy_over_bytes

Facts = Mapping[str, Any]

_SWATCHES = ("--c1", "--c2", "--c3", "--c4", "--c5")


def render(facts: Facts, sheets: Mapping[int, bytes], more: str = "") -> str:
    """The page; ``sheets`` are pictures (PNG) of what nodes sent, by node, ``more`` a section of a role."""
    components = _components(facts)
    fields = {
        "tiles": _tiles(facts),
        "plot_text": escape(_plot_text(facts)),
        "plot": _plot(facts),
        "nodes_text": escape(_nodes_text(facts)),
        "nodes": _nodes(facts, components),
        "legend": _legend(components),
        "more": ensemble_report.section(facts["networks"]) + more,
        "sheets": _sheets(facts, sheets),
        "facts": how_it_was_made(facts),
    }
    template = resources.files("nodes").joinpath("report.html").read_text()
    return page.document(_title(facts), _subtitle(facts), Template(template).substitute(fields))


# ------------------------------------------------------------------------------------------------ headline


def _title(facts: Facts) -> str:
    nodes = len(facts["nodes"])
    return f"{facts['data']['name']}: {nodes} node{'s' * (nodes != 1)}, distilled sets"


def _subtitle(facts: Facts) -> str:
    config = facts["config"]
    rounds = f"{config['rounds']} round{'s' * (config['rounds'] != 1)}"
    return (
        f"{config['partition']} · {config['budget']} per node and round · recipe {config['recipe']} · "
        f"{rounds} · seed {config['seed']} · {facts['finished'].replace('T', ' ').removesuffix('+00:00')} UTC"
    )


def _tiles(facts: Facts) -> str:
    head = facts["headline"]
    tiles = [_accuracy_tile(facts), _uplink_tile(facts)]
    if head["fedavg_ratio"] is not None:
        tiles.append(_fedavg_tile(facts))
    return "".join([*tiles, time_tile(facts)])


def time_tile(facts: Facts) -> str:
    """What the run took, and how much memory."""
    memory = facts["memory"]
    return page.tile(
        "time",
        page.duration(sum(facts["seconds"].values())),
        f"peak memory {svg.bytes_text(memory['server_peak_bytes'])} (server), "
        f"{svg.bytes_text(memory['node_peak_bytes'])} (largest node)",
    )


def _accuracy_tile(facts: Facts) -> str:
    head, config = facts["headline"], facts["config"]
    if head["accuracy"] is None:
        return page.tile("test accuracy", "none", "no node delivered a set that could be used", main=True)
    networks = len(head["accuracies"])
    value = f"{100 * head['accuracy']:.1f} % <small>± {100 * head['std']:.1f}</small>"
    what = f"{networks} network{'s' * (networks != 1)} trained on the union, protocol {config['protocol']}"
    return page.tile("test accuracy", value, what, main=True)


def _uplink_tile(facts: Facts) -> str:
    head = facts["headline"]
    nodes = f"{head['nodes_in_union']} of {len(facts['nodes'])} nodes"
    what = f"{head['uplink_bytes']:,} bytes in blobs from {nodes}"
    if head["rejected_bytes"]:
        what += f"; {head['rejected_bytes']:,} more were refused"
    if head["joined_sets"]:
        what += f"; {head['joined_sets']} sets of {head['joined_bytes']:,} bytes joined from the exchange"
    return page.tile("sent by all nodes", svg.bytes_text(head["uplink_bytes"]), what)


def _fedavg_tile(facts: Facts) -> str:
    head, yardstick = facts["headline"], facts["yardstick"]
    more = "" if head["fedavg_reached"] else "&gt; "
    size = svg.bytes_text(head["fedavg_uplink_bytes"])
    if head["fedavg_reached"]:
        what = f"FedAvg sends {size} until it is as accurate (round {yardstick['reached_in_round']})"
    else:
        what = f"FedAvg sent {size} in {len(yardstick['rounds'])} rounds without becoming as accurate"
    return page.tile("fewer bytes than FedAvg", f"{more}{ratio_text(head['fedavg_ratio'])}", what)


def ratio_text(ratio: float) -> str:
    """``1,234`` times, or with a decimal where that says something."""
    return f"{ratio:,.0f}{page.TIMES}" if ratio >= 20 else f"{ratio:.1f}{page.TIMES}"


# ---------------------------------------------------------------------------------------------------- plot


def _plot_text(facts: Facts) -> str:
    text = "Test accuracy against all bytes that the nodes have sent, on a logarithmic axis."
    yardstick = facts["yardstick"]
    if yardstick is None:
        return text
    return f"{text} FedAvg: the same network, nodes, data and seed, one local epoch per round."


def _plot(facts: Facts) -> str:
    known = [r for r in facts["rounds"] if r["accuracy"] is not None]
    ours = Curve(
        [r["cumulative_uplink_bytes"] for r in known],
        [r["accuracy"] for r in known],
        [r["std"] for r in known],
    )
    theirs = None
    if facts["yardstick"] is not None:
        rounds = facts["yardstick"]["rounds"]
        theirs = Curve([r["cumulative_uplink_bytes"] for r in rounds], [r["accuracy"] for r in rounds])
    return accuracy_over_bytes(ours, theirs, facts["headline"]["accuracy"])


# --------------------------------------------------------------------------------------------------- nodes


def _nodes_text(facts: Facts) -> str:
    failed = sum(any(r["code"] != "ok" for r in node["rounds"]) for node in facts["nodes"])
    text = "What each node holds, and what its blob is made of, against its budget."
    if failed:
        text += f" {failed} of {len(facts['nodes'])} failed in some round; the others' sets were used."
    return text


def _components(facts: Facts) -> list[str]:
    """All components of all ledgers, the largest first."""
    totals: dict[str, int] = {}
    for node in facts["nodes"]:
        for entry in node["rounds"]:
            for name, bits in (entry["ledger_bits"] or {}).items():
                totals[name] = totals.get(name, 0) + bits
    return sorted(totals, key=lambda name: -totals[name])


def _legend(components: Sequence[str]) -> str:
    if not components:
        return ""
    items = (
        f'<span style="--swatch: var({_swatch(i)})">{escape(name)}</span>'
        for i, name in enumerate(components)
    )
    return f'<div class="legend">{"".join(items)}</div>'


def _swatch(position: int) -> str:
    return _SWATCHES[min(position, len(_SWATCHES) - 1)]


def _nodes(facts: Facts, components: Sequence[str]) -> str:
    several = facts["config"]["rounds"] > 1
    heads = ["node", "samples", "classes", "histogram", *(["round"] if several else [])]
    heads += ["result", "sent", "bytes, of budget", "time"]
    right = {"node", "samples", "classes", "sent", "time"}
    row = "".join(f'<th class="number">{h}</th>' if h in right else f"<th>{h}</th>" for h in heads)
    most = max((max(n["class_counts"], default=0) for n in facts["nodes"]), default=0)
    names = facts["data"]["class_names"]
    body = "".join(
        f"<tr>{_node_cells(node, most, names)}{_round_cells(node, entry, components, several)}</tr>"
        if position == 0
        else f'<tr><td colspan="4"></td>{_round_cells(node, entry, components, several)}</tr>'
        for node in facts["nodes"]
        for position, entry in enumerate(node["rounds"])
    )
    return f"<table><thead><tr>{row}</tr></thead><tbody>{body}</tbody></table>"


def _node_cells(node: Facts, most: int, names: Sequence[str]) -> str:
    return (
        page.number(node["node"])
        + page.number(f"{node['samples']:,}")
        + page.number(node["classes"])
        + f"<td>{histogram(node['class_counts'], most, names)}</td>"
    )


def _round_cells(node: Facts, entry: Facts, components: Sequence[str], several: bool) -> str:
    cells = f"<td>{entry['round']}</td>" if several else ""
    bad = entry["code"] != "ok"
    pill = f'<span class="pill{" bad" * bad}">{escape(entry["code"].replace("_", " "))}</span>'
    cells += f"<td>{pill}</td>"
    if bad:
        size = f" ({entry['bytes']:,} B)" if entry["bytes"] else ""
        text = f'<span class="meaning">{escape(entry["meaning"])}{size}</span>'
        return cells + page.number("") + f"<td>{text}</td>" + page.number(_time(entry))
    sent = entry["sent"]
    cells += page.number(f"{sum(sent['class_counts']):,}")
    cells += f"<td>{_bytes_bar(entry, node['budget_bytes'], components)}</td>"
    return cells + page.number(_time(entry))


def _time(entry: Facts) -> str:
    return f"{entry['seconds']:.1f} s" if entry["seconds"] else "-"


def histogram(counts: Sequence[int], most: int, names: Sequence[str]) -> str:
    """Bars of real samples by class, to one scale for all nodes."""
    if not counts or not most:
        return ""
    width, height = 150, 26
    step = width / len(counts)
    bars = "".join(
        f'<rect x="{i * step:.2f}" y="{height - bar:.2f}" width="{max(step - 1, step * 0.7):.2f}" '
        f'height="{bar:.2f}" fill="var(--ours)">'
        f"<title>{escape(_class_name(names, i))}: {count:,}</title></rect>"
        for i, count in enumerate(counts)
        if (bar := max(height * count / most, 1.5 * (count > 0))) > 0
    )
    base = f'<rect x="0" y="{height}" width="{width}" height="1" fill="var(--line)"/>'
    return f'<svg width="{width}" height="{height + 1}" role="img">{bars}{base}</svg>'


def _class_name(names: Sequence[str], label: int) -> str:
    return names[label] if label < len(names) else f"class {label}"


def _bytes_bar(entry: Facts, budget: int, components: Sequence[str]) -> str:
    ledger = entry["ledger_bits"] or {}
    parts = "".join(
        f'<span style="width:{100 * ledger[name] / 8 / budget:.3f}%;background:var({_swatch(position)})" '
        f'title="{escape(name)}: {ledger[name] / 8:,.1f} bytes"></span>'
        for position, name in enumerate(components)
        if name in ledger
    )
    return f'{entry["bytes"]:,} of {budget:,}<div class="bar">{parts}</div>'


# --------------------------------------------------------------------------------------- samples and facts


def _sheets(facts: Facts, sheets: Mapping[int, bytes]) -> str:
    if not sheets:
        return ""
    figures = "".join(_sheet(facts["nodes"][node], picture) for node, picture in sorted(sheets.items()))
    return (
        "<h2>What was sent</h2><p>Synthetic samples as the server decoded them, classes in rows (the first "
        f'few of each class and node).</p><section class="sheets">{figures}</section>'
    )


def _sheet(node: Facts, picture: bytes) -> str:
    last = next(entry for entry in reversed(node["rounds"]) if entry["code"] == "ok")
    sent = last["sent"]
    text = f"{sent['samples']:,} samples"
    if sent.get("parameterization") == "epitome":
        text += f" · sparse codes over {sent['tokens']} tokens"
    elif sent.get("parameterization") == "latent":
        text += f" · {sent['latents']} latents each"
    elif "bits" in sent:
        text += f" · {sent['bits']} bits a value"
    if sent.get("factor", 1) != 1:
        text += f" · stored at 1/{sent['factor']} of the side"
    return page.picture(f"node {node['node']}", text, picture)


def how_it_was_made(facts: Facts) -> str:
    """Cards with the settings, the data and the machine."""
    data, seconds = facts["data"], facts["seconds"]
    about = {
        "data": data["name"],
        "sample": f" {page.TIMES} ".join(map(str, data["shape"])),
        "classes": data["classes"],
        "training samples": f"{data['train_samples']:,}",
        "test samples": f"{data['test_samples']:,}",
        **{f"{part} took": page.duration(taken) for part, taken in seconds.items() if taken >= 0.5},
    }
    return (
        page.definitions("configuration", RunConfig.from_flat(facts["config"]).settings().items())
        + page.definitions("data and time", about.items())
        + page.definitions("versions and machine", (facts["versions"] | facts["machine"]).items())
    )
