"""What quantisation adds to a step of training, over samples stored as float32 numbers.

    python benchmarks/quantisation_cost.py --steps 12

The objective of quadd with the same number of samples and networks, once as float32 numbers and once by each
quantiser; with BCDC's penalty; and under a budget, where training also estimates and pays for bits. The
aim is 1.2 times the float32 step. Steps of all variants alternate, so that a noisy machine disturbs them
alike, and each ratio is the median over rounds of the ratio within one round. Seconds are those that the
processor spent on this process, so that others that share it do not count.

Under a budget most steps are cheap, every REFRESHth looks at the symbols and every EXACT_EVERYth of those
measures them by the best coder. These three are timed by themselves; "amortised" is the float32 step, the
quantiser's own part and a step's share of all three.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import replace

import record
import torch

from fedbits import data, recipes
from fedbits.container import encode
from fedbits.data import TensorData
from fedbits.matching import RegressionConfig, Setting
from fedbits.memory import keep_freed_memory
from fedbits.optimise import Optimisation
from fedbits.parameterization.rate import EXACT_EVERY, REFRESH
from fedbits.plan import Candidates, make_plan, start
from fedbits.progress import SILENT
from fedbits.quantization import QUANTIZERS, Moment, QuantizerConfig
from fedbits.recipe import FLOAT_BITS, Recipe
from fedbits.selection import select

_WARM = 6  # rounds that are not counted: in the first ones, students come of age
_LIFETIME = 12  # steps of training after which a student is replaced: what a step costs does not depend on it


def prepared(train: TensorData, recipe: Recipe, bounded: bool) -> Optimisation:
    """A run of ``recipe`` up to its first step; ``bounded``: within the bytes that it starts with."""
    candidates = Candidates(train, select(train, "random", recipe.ipc or 10, 0))
    distilled = start(candidates, make_plan(candidates, recipe, None), recipe)
    limit = len(encode(distilled)) if bounded else None
    setting = Setting(0, torch.device("cpu"), recipe.steps)
    run = Optimisation(distilled, train, recipe, limit, 0, setting)
    run.prepare(SILENT)
    return run


def variants(train: TensorData, args: argparse.Namespace) -> dict[str, Optimisation]:
    base = recipes.get("quadd", ipc=args.ipc, bits=args.bits, factor=1, steps=args.steps + _WARM)
    assert isinstance(base.objective, RegressionConfig)
    students = replace(base.objective.students, lifetime=_LIFETIME)
    base = replace(base, objective=replace(base.objective, width=args.width, students=students))
    runs = {"float32": prepared(train, replace(base, bits=FLOAT_BITS), False)}
    for name in args.quantizers.split(","):
        recipe = replace(base, quantizer=QuantizerConfig(name))  # type: ignore[arg-type]
        runs[name] = prepared(train, recipe, False)
        if name in ("ddq", "fsq"):
            runs[f"{name}, penalty"] = prepared(train, replace(recipe, penalty=0.2), False)
        if name != "post":
            runs[f"{name}, budget"] = prepared(train, recipe, True)
    return runs


def rate_seconds(run: Optimisation) -> dict[str, float]:
    """Of estimating bits in a step that measures exactly, one that looks at the symbols, and any other."""
    stored, labels = run.parameterization, run.distilled.labels
    stored.load_state_dict({**stored.state_dict(), "_extra_state": {"looked": False, "saving": 1.0}})
    seconds = []
    for step in range(REFRESH + 1):
        stored.begin(Moment(step, REFRESH + 1, 0))
        started = time.process_time()
        stored.rate(labels).backward()
        seconds.append(time.process_time() - started)
    return {"exact": seconds[0], "refresh": seconds[REFRESH], "other": statistics.median(seconds[1:REFRESH])}


def amortised(rate: dict[str, float]) -> float:
    """Seconds of estimating bits, a step."""
    period = REFRESH * EXACT_EVERY
    return (
        rate["exact"] + (EXACT_EVERY - 1) * rate["refresh"] + (period - EXACT_EVERY) * rate["other"]
    ) / period


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--bits", type=int, default=3)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--quantizers", default=",".join(QUANTIZERS), help="by commas")
    parser.add_argument("--compile", action="store_true", help="compiled networks, as a long run has them")
    args = parser.parse_args()

    os.environ["FEDBITS_COMPILE"] = "1" if args.compile else "0"
    keep_freed_memory()  # as the command does; it helps all variants
    train = data.load(args.data).train
    runs = variants(train, args)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(args.steps + _WARM):
        for name, run in runs.items():
            started = time.process_time()
            run.advance()
            if number >= _WARM:
                seconds[name].append(time.process_time() - started)

    floats = seconds["float32"]
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = {
        name: statistics.median(mine / other for mine, other in zip(times, floats, strict=True))
        for name, times in seconds.items()
    }
    rates = {
        name.removesuffix(", budget"): rate_seconds(run) for name, run in runs.items() if "budget" in name
    }
    with_rate = {name: ratios[name] + amortised(rate) / medians["float32"] for name, rate in rates.items()}
    result = {
        "settings": vars(args),
        "accelerated": str(runs["float32"].objective._how),  # type: ignore[attr-defined]
        "seconds_per_step": {name: round(value, 4) for name, value in medians.items()},
        "ratio_to_float32": {name: round(value, 3) for name, value in ratios.items()},
        "rate_seconds": {
            name: {step: round(value, 4) for step, value in rate.items()} for name, rate in rates.items()
        },
        "amortised_ratio_with_budget": {name: round(value, 3) for name, value in with_rate.items()},
    }
    for name, value in medians.items():
        print(f"{name:20} {1e3 * value:8.1f} ms/step   {ratios[name]:5.3f} x")
    for name, value in with_rate.items():
        print(f"{name:20} with a budget, amortised {value:5.3f} x   {result['rate_seconds'][name]}")
    print(record.write("quantisation_cost", result, seed=0))


if __name__ == "__main__":
    main()
