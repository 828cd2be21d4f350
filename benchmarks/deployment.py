"""A federated round over TLS with keys of nodes, between processes with data of their own: bytes on the wire.

    python benchmarks/deployment.py --data digits --budget 1KiB --name deployment_1KiB
    python benchmarks/deployment.py --data fashion_mnist --budget 1MiB --bits 8 --name deployment_1MiB

Every node calls the server through a proxy that counts; what is counted is TLS, with HTTP and Flower's
messages in it. A node also asks for work every three seconds, whether there is a run or not: the bytes of
that are in the count, and measured apart while nothing runs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import record
from deployed import CountingProxy, Hosts

NAMES = ("alpha", "beta", "gamma")
IDLE_SECONDS = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--budget", default="1KiB")
    parser.add_argument("--recipe", default="random")
    parser.add_argument("--bits", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--timeout", type=float, default=600.0)
    parser.add_argument("--name", default="deployment")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fb-") as folder, Hosts(Path(folder), NAMES) as hosts:
        result = measure(hosts, words)
    print(record.write(words.name, result, seed=0))


def measure(hosts: Hosts, words: argparse.Namespace) -> dict[str, Any]:
    proxies = {name: CountingProxy(hosts.server.port) for name in NAMES}
    hosts.serve()
    for number, name in enumerate(NAMES):
        hosts.through(name, proxies[name].port)
        parts = ("--partition-id", str(number), "--partitions", str(len(NAMES)))
        hosts.start(name, "--data", words.data, *parts)
    while sum(node["status"] == "online" for node in hosts.control.nodes()) < len(NAMES):
        time.sleep(1.0)
    idle = counted(proxies)
    time.sleep(IDLE_SECONDS)
    idle = difference(idle, counted(proxies))
    before, started = counted(proxies), time.monotonic()
    chosen = {key: getattr(words, key) for key in ("bits", "steps") if getattr(words, key) is not None}
    number, folder = hosts.submit(
        data=words.data, budget=words.budget, recipe=words.recipe, overrides=chosen, timeout=words.timeout
    )
    run, report = hosts.finish(number, folder)
    seconds, wire = time.monotonic() - started, difference(before, counted(proxies))
    if report is None:
        raise SystemExit(f"the run ended as {run.status}: {run.details}")
    return {
        "status": run.status,
        "accuracy_with_quick_training": report["headline"]["accuracy"],
        "seconds": round(seconds, 1),
        "idle_bytes_per_second": {
            n: {w: c[w] / IDLE_SECONDS for w in ("up", "down")} for n, c in idle.items()
        },
        "nodes": [node_figures(node, wire) for node in report["nodes"]],
    }


def node_figures(node: dict[str, Any], wire: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Bytes of one node: its blob, and what went over the wire during the run."""
    name = NAMES[node["node"]]
    (entry,) = node["rounds"]
    blob = entry["bytes"]
    figures: dict[str, Any] = {"name": name, "code": entry["code"], "blob_bytes": blob, "wire": wire[name]}
    if blob:
        figures["overhead_up"] = (wire[name]["up"] - blob) / blob
    return figures


def counted(proxies: dict[str, CountingProxy]) -> dict[str, dict[str, int]]:
    return {name: proxy.counts() for name, proxy in proxies.items()}


def difference(
    before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]
) -> dict[str, dict[str, int]]:
    return {name: {key: after[name][key] - before[name][key] for key in after[name]} for name in after}


if __name__ == "__main__":
    main()
