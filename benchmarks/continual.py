"""Accuracy at equal bytes of memory: scenarios, recipes and baselines, budgets and orders of classes.

    python benchmarks/continual.py --scenario split_fashion_mnist --memories 7840B \
        --recipes raw,random,quadd --seeds 0,1,2,3,4
    python benchmarks/continual.py --scenario split_cifar10 --memories 30KiB --recipes quadd \
        --strategies gdumb,er,stock-icarl --avalanche "--epochs 10"

Every run is one ``fedbits continual``, kept in ``--folder``: a stopped benchmark goes on where it was, after
the last finished experience of the run that was stopped.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import record

_KEPT = (
    *("accuracy", "average_incremental_accuracy", "forgetting", "memory_bytes", "memory_samples", "capacity"),
    *("classes", "seconds", "settings", "versions"),
)


def plain(text: str) -> str:
    """``text`` as part of a folder's name."""
    return re.sub("[^A-Za-z0-9]", "", text)


def measure(
    args: argparse.Namespace, strategy: str, recipe: str | None, memory: str, seed: int
) -> dict[str, Any]:
    """The report of one run, made unless it is there."""
    options = args.gdumb if strategy == "gdumb" else args.avalanche
    words = ["--scenario", args.scenario, "--strategy", strategy, "--memory", memory, "--seed", str(seed)]
    words += [] if recipe is None else ["--recipe", recipe]
    words += [] if recipe in (None, "raw") else shlex.split(args.compressed)
    words += shlex.split(options) + shlex.split(args.options)
    folder = args.folder / "-".join(plain(word) for word in words if not word.startswith("--"))
    if not (folder / "report.json").exists():
        resume = ["--resume"] if (folder / "checkpoint.pt").exists() else []
        command = [sys.executable, "-c", "import fedbits.cli; fedbits.cli.main()", "continual", *words]
        subprocess.run([*command, "--out", str(folder), *resume], stdout=subprocess.DEVNULL, check=True)
    report = json.loads((folder / "report.json").read_text())
    return {name: report[name] for name in _KEPT}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Over all orders of classes."""
    facts: dict[str, Any] = {"orders": len(runs), "bytes": [run["memory_bytes"][-1] for run in runs]}
    for name, values in {
        "final_accuracy": [run["accuracy"][-1] for run in runs],
        "average_incremental_accuracy": [run["average_incremental_accuracy"] for run in runs],
        "forgetting": [run["forgetting"] for run in runs],
    }.items():
        facts[name] = {"mean": mean(values), "std": stdev(values) if len(values) > 1 else 0.0}
    steps = zip(*(run["accuracy"] for run in runs), strict=True)
    facts["accuracy_by_step"] = [mean(step) for step in steps]
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", default="split_fashion_mnist")
    parser.add_argument("--memories", default="7840B", help="capacities, by commas")
    parser.add_argument(
        "--recipes", default="raw,random,herding,quadd", help="of compressed memories, by commas"
    )
    parser.add_argument(
        "--strategies", default="gdumb", help="by commas; all recipes for each that takes any"
    )
    parser.add_argument("--seeds", default="0", help="orders of classes, by commas")
    parser.add_argument("--compressed", default="", help="further options of compressed memories")
    parser.add_argument("--gdumb", default="", help="further options of gdumb")
    parser.add_argument("--avalanche", default="", help="further options of Avalanche's strategies")
    parser.add_argument("--options", default="", help="further options of all")
    parser.add_argument("--name", default="continual", help="of the file of results")
    parser.add_argument("--folder", type=Path, default=Path("runs/continual"))
    args = parser.parse_args()
    seeds = [int(seed) for seed in args.seeds.split(",")]
    results: dict[str, Any] = {}
    for strategy in args.strategies.split(","):
        recipes = [None] if strategy.startswith("stock-") else args.recipes.split(",")
        for recipe in [one for one in recipes if one != "raw" or strategy == "gdumb"]:
            for memory in args.memories.split(","):
                runs = [measure(args, strategy, recipe, memory, seed) for seed in seeds]
                name = ", ".join(filter(None, [strategy, recipe, memory]))
                results[name] = {**summary(runs), "runs": dict(zip(seeds, runs, strict=True))}
                print(name, {**results[name], "runs": ...}, flush=True)
    print(record.write(f"{args.name}_{plain(args.scenario)}", results, seeds[0]))


if __name__ == "__main__":
    main()
