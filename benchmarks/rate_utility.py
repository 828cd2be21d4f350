"""Accuracy at equal real bytes: each recipe distilled and evaluated through the ``fedbits`` command.

    python benchmarks/rate_utility.py --data fashion_mnist --budget 1KiB/class --recipes quadd,random,herding

Blobs and evaluations are kept in ``--folder`` and not made again, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import record


def fedbits(*words: str) -> dict[str, Any]:
    """The JSON object that a ``fedbits`` command prints."""
    command = [sys.executable, "-c", "import fedbits.cli; fedbits.cli.main()", *words, "--json"]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(finished.stdout)


def kept(path: Path, *words: str) -> dict[str, Any]:
    """The result of a command, from ``path`` if it was run before."""
    if not path.exists():
        path.write_text(json.dumps(fedbits(*words)))
    return json.loads(path.read_text())


def measure(args: argparse.Namespace, recipe: str, seed: int) -> dict[str, Any]:
    """Distil by ``recipe`` and evaluate by every protocol; the recipe ``whole`` is the whole data set."""
    stem = f"{args.data}-{re.sub('[^A-Za-z0-9]', '', args.budget)}-{recipe}-{seed}"
    common = ("--data", args.data, "--seed", str(seed))
    if recipe == "whole":
        return evaluate(args, stem, "--whole", *common)
    blob = args.folder / f"{stem}.fbits"
    made = kept(
        args.folder / f"{stem}.json",
        *("distill", *common, "--budget", args.budget, "--recipe", recipe, "-o", str(blob)),
    )
    return {"distill": made, **evaluate(args, stem, str(blob), *common)}


def evaluate(args: argparse.Namespace, stem: str, *words: str) -> dict[str, Any]:
    """What ``fedbits evaluate`` finds by every protocol."""
    result = {}
    for protocol in args.protocols.split(","):
        name, _, repeats = protocol.partition(":")
        how = ("--protocol", name, "--repeats", repeats or "5")
        result[name] = kept(args.folder / f"{stem}-{name}-{repeats}.json", "evaluate", *words, *how)
        print(stem, name, result[name]["mean"], result[name]["std"], flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--budget", default="1KiB/class")
    parser.add_argument("--recipes", default="quadd,random,herding")
    parser.add_argument("--protocols", default="laptop:5", help="NAME:REPEATS, separated by commas")
    parser.add_argument("--seeds", default="0", help="of distillation and of the networks, by commas")
    parser.add_argument("--name", default="rate_utility", help="of the file of results")
    parser.add_argument("--folder", type=Path, default=Path("runs/rate_utility"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    recipes = args.recipes.split(",")
    results = {f"{recipe}, seed {seed}": measure(args, recipe, seed) for recipe in recipes for seed in seeds}
    budget = re.sub("[^A-Za-z0-9]", "", args.budget)
    print(record.write(f"{args.name}_{args.data}_{budget}", results, seeds[0]))


if __name__ == "__main__":
    main()
