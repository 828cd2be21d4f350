"""One blob on networks it was not distilled for: accuracy of each, through the ``fedbits`` command.

    python benchmarks/cross_architecture.py BLOB --data fashion_mnist --repeats 3 [--steps 300 --batch 64]

Each network is evaluated in a process of its own and kept in ``--folder``, so a run that was stopped goes on.
The result says what a step of each costs on this machine; ``--steps`` and ``--batch`` shorten the protocol
where that is too much, for all networks alike.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import record
from command import kept

NETWORKS = "convnet,alexnet,vgg11,resnet18,vit"


def measure(args: argparse.Namespace, network: str, digest: str) -> dict[str, Any]:
    """What ``fedbits evaluate`` finds for one network, and what a step took (testing included)."""
    how = ["--protocol", args.protocol, "--repeats", str(args.repeats), "--seed", str(args.seed)]
    how += ["--steps", str(args.steps)] if args.steps else []
    how += ["--batch", str(args.batch)] if args.batch else []
    length = f"{args.steps or 'all'}x{args.batch or 'own'}"
    stem = f"{digest}-{network}-{args.protocol}-{length}-{args.repeats}-{args.seed}"
    words = ("evaluate", str(args.blob), "--data", args.data, "--network", network, *how)
    found = kept(args.folder / f"{stem}.json", *words)
    protocol = found["protocol"]
    batches = -(-found["samples"] // protocol["batch"])
    steps = protocol["steps"] or protocol["epochs"] * batches
    found["ms_per_step"] = round(1000 * found["seconds"] / (steps * args.repeats), 1)
    print(
        f"{network}: {100 * found['mean']:.2f} ± {100 * found['std']:.2f} %, {found['ms_per_step']} ms a step"
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("blob", type=Path)
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--protocol", default="laptop")
    parser.add_argument("--steps", type=int, help="instead of the protocol's")
    parser.add_argument("--batch", type=int, help="samples of a step, not the protocol's")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="cross_architecture", help="of the file of results")
    parser.add_argument("--folder", type=Path, default=Path("runs/cross_architecture"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    blob = args.blob.read_bytes()
    digest = hashlib.sha256(blob).hexdigest()
    result: dict[str, Any] = {"bytes": len(blob), "sha256": digest, "networks": {}}
    for network in args.networks.split(","):
        result["networks"][network] = measure(args, network, digest[:12])
    print(json.dumps({name: found["mean"] for name, found in result["networks"].items()}))
    print(record.write(f"{args.name}_{args.data}_{len(blob)}B", result, args.seed))


if __name__ == "__main__":
    main()
