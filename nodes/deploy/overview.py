"""What a deployment looks like now: its nodes and its runs."""

from __future__ import annotations

import json
from typing import Any

from nodes.deploy.control import Control


def overview(control: Control) -> dict[str, Any]:
    """Nodes by name with their state, and runs, the newest first; numbers are text: they have 64 bits.

    Raises:
        FedbitsError: the SuperLink does not answer.
    """
    file = control.folder.state / "nodes.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    names = {node["address"]: name for name, node in known.items()}
    nodes = [
        {"name": names.get(node["node-id"], "?"), "status": node["status"], "address": node["node-id"]}
        for node in control.nodes()
        if node["status"] != "unregistered"
    ]
    runs = [{"run": str(run.number), "status": run.status, "details": run.details} for run in control.runs()]
    return {"nodes": sorted(nodes, key=lambda node: node["name"]), "runs": runs}
