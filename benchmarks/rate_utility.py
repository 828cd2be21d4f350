"""Accuracy at equal real bytes: each recipe distilled and evaluated through the ``fedbits`` command.

    python benchmarks/rate_utility.py --budgets 1KiB/class,4KiB/class --recipes quadd,ptq --seeds 0,1,2
    python benchmarks/rate_utility.py --budgets none --recipes quadd,ptq --options "--ipc 10 --bits 2"

Every seed distils a set of its own and trains its own networks on it. Blobs and evaluations are kept in
``--folder`` and not made again, so a run that was stopped goes on; ``--recipes whole`` is the whole data set.
"""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import record
from command import kept


def plain(text: str) -> str:
    """``text`` as part of a file's name."""
    return re.sub("[^A-Za-z0-9]", "", text)


def measure(args: argparse.Namespace, budget: str, recipe: str, seed: int) -> dict[str, Any]:
    """Distil by ``recipe`` and evaluate by every protocol; the recipe ``whole`` is the whole data set."""
    stem = "-".join(
        [args.data, plain(budget), plain(recipe), str(seed), *filter(None, [plain(args.options)])]
    )
    common = ("--data", args.data, "--seed", str(seed))
    if recipe == "whole":
        return evaluate(args, stem, "--whole", *common)
    blob = args.folder / f"{stem}.fbits"
    limit = () if budget == "none" else ("--budget", budget)
    options = (*limit, "--recipe", recipe, *shlex.split(args.options), "-o", str(blob))
    made = kept(args.folder / f"{stem}.json", "distill", *common, *options)
    return {"distill": made, **evaluate(args, stem, str(blob), *common)}


def evaluate(args: argparse.Namespace, stem: str, *words: str) -> dict[str, Any]:
    """What ``fedbits evaluate`` finds by every protocol."""
    result = {}
    for protocol in args.protocols.split(","):
        name, _, repeats = protocol.partition(":")
        how = ("--protocol", name, "--repeats", repeats or "1")
        result[name] = kept(args.folder / f"{stem}-{name}-{repeats}.json", "evaluate", *words, *how)
        print(stem, name, result[name]["mean"], result[name]["std"], flush=True)
    return result


def form(made: dict[str, Any]) -> str:
    """How many samples a set has, and of what."""
    storage = made["storage"]
    if storage == "epitome":
        return f"{made['samples']} of {made['nonzeros']} of {made['tokens']} x {made['width']} tokens"
    if storage == "latent":
        return f"{made['samples']} of {made['latents']} latents"
    return f"{made['samples']} of {made['bits']} bits, 1/{made['factor']}"


def summary(runs: list[dict[str, Any]], protocol: str) -> dict[str, Any]:
    """Of one recipe at one budget, over all seeds and networks."""
    accuracies = [value for run in runs for value in run[protocol]["accuracies"]]
    facts: dict[str, Any] = {
        "mean": mean(accuracies),
        "std": stdev(accuracies) if len(accuracies) > 1 else 0.0,
        "sets": len(runs),
        "networks": len(accuracies),
    }
    sets = [run["distill"] for run in runs if "distill" in run]
    if sets:
        facts["bytes"] = [made["bytes"] for made in sets]
        facts["form"] = sorted({form(made) for made in sets})
        facts["distilling_seconds"] = mean(made["seconds"] for made in sets)
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--budgets", default="1KiB/class", help="by commas; none: as --options say")
    parser.add_argument("--recipes", default="quadd,random,herding", help="names or files, by commas")
    parser.add_argument(
        "--protocols", default="laptop:1", help="NAME:REPEATS, by commas; repeats of each seed"
    )
    parser.add_argument("--seeds", default="0", help="of distillation and of the networks, by commas")
    parser.add_argument("--options", default="", help="further options of fedbits distill")
    parser.add_argument("--name", default="rate_utility", help="of the file of results")
    parser.add_argument("--folder", type=Path, default=Path("runs/rate_utility"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    first = args.protocols.split(",")[0].partition(":")[0]
    results: dict[str, Any] = {}
    for budget in args.budgets.split(","):
        for recipe in args.recipes.split(","):
            runs = [measure(args, budget, recipe, seed) for seed in seeds]
            results[f"{recipe}, {budget}"] = {
                **summary(runs, first),
                "runs": dict(zip(seeds, runs, strict=True)),
            }
            print(recipe, budget, {**results[f"{recipe}, {budget}"], "runs": ...}, flush=True)
    print(record.write(f"{args.name}_{args.data}", results, seeds[0]))


if __name__ == "__main__":
    main()
