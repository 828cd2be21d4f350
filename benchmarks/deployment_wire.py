"""Bytes on the wire for a blob of a given size from a node to the server, over TLS with keys of nodes.

    python benchmarks/deployment_wire.py --sizes 1024,1048576,104857600

The blob is sent as nodes send theirs, without the work of making it. Counted is all that the node sends and
receives between a second before it is asked and a second after its reply is there: the blob, Flower's
messages around it, HTTP, TLS, and what the node asks for meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import record
import tomli_w
from deployed import ROOT, CountingProxy, Hosts

from nodes.deploy import control as control_module
from nodes.deploy.following import follow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1024,1048576,104857600")
    parser.add_argument("--name", default="deployment_wire")
    words = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])  # where the apps are
    with tempfile.TemporaryDirectory(prefix="fb-") as folder, Hosts(Path(folder), ("alpha",)) as hosts:
        print(record.write(words.name, measure(hosts, words.sizes)))


def measure(hosts: Hosts, sizes: str) -> dict[str, Any]:
    proxy = CountingProxy(hosts.server.port)
    hosts.serve()
    hosts.through("alpha", proxy.port)
    hosts.start("alpha", "--data", "digits")
    counts: list[tuple[float, dict[str, int]]] = []
    done = threading.Event()
    threading.Thread(target=watch, args=(proxy, counts, done), daemon=True).start()
    result = hosts.folder / "received.json"
    app = write_app(hosts.folder / "wire", {"sizes": sizes, "result": str(result)})
    answer = hosts.control._asked("run", str(app), control_module.CONNECTION)
    run = follow(hosts.control, int(answer["run-id"]))
    done.set()
    if not run.completed:
        raise SystemExit(f"the run ended as {run.status}: {run.details}")
    return {"blobs": [figures(entry, counts) for entry in json.loads(result.read_text())]}


def watch(proxy: CountingProxy, counts: list[tuple[float, dict[str, int]]], done: threading.Event) -> None:
    while not done.wait(0.1):
        counts.append((time.time(), proxy.counts()))


def figures(entry: dict[str, float], counts: list[tuple[float, dict[str, int]]]) -> dict[str, Any]:
    before = [c for when, c in counts if when <= entry["start"] - 1.0][-1]
    after = next(c for when, c in counts if when >= entry["end"] + 1.0)
    wire = {key: after[key] - before[key] for key in before}
    size = int(entry["size"])
    return {
        "blob_bytes": size,
        "seconds": round(entry["end"] - entry["start"], 2),
        "wire": wire,
        "overhead_up": (wire["up"] - size) / size,
        "overhead_both_ways": (wire["up"] + wire["down"] - size) / size,
    }


def write_app(folder: Path, config: dict[str, Any]) -> Path:
    components = {"serverapp": "wire_apps:server", "clientapp": "wire_apps:client"}
    app = {
        "project": {"name": "wire", "version": "1.0.0", "description": "", "license": "Apache-2.0"},
        "tool": {"flwr": {"app": {"publisher": "fedbits", "components": components, "config": config}}},
    }
    folder.mkdir()
    (folder / "pyproject.toml").write_text(tomli_w.dumps(app))
    return folder


if __name__ == "__main__":
    main()
