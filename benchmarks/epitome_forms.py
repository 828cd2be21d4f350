"""SPEED's storage: real bytes against the paper's count, and what each of its settings is worth.

    python benchmarks/epitome_forms.py published --data cifar10 --seeds 0,1,2
    python benchmarks/epitome_forms.py ablation --data fashion_mnist --budget 1KiB/class

``published``: the paper's settings for storage of one image per class (29,872 float32 numbers by its Eq. 7),
as good as unquantised and as it is sent, beside other recipes in as many bytes, on test data. ``ablation``:
at one budget, the planner's setting with one thing changed at a time, as in the paper's Tables 5 to 9, judged
by a tenth of the training data that was held out. Everything is kept in ``--folder``, so a run that was
stopped goes on, and runs of a few ``--forms`` each may share one folder side by side.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import record

from fedbits import data, device, evaluate, recipes
from fedbits.budget import Budget
from fedbits.cli.common import terminal_progress
from fedbits.container import encode, inspect
from fedbits.data.holdout import split
from fedbits.data.tensors import TensorData
from fedbits.distill import distill
from fedbits.errors import BudgetError
from fedbits.files import write_atomic
from fedbits.parameterization import EpitomeConfig
from fedbits.plan import Candidates, make_plan
from fedbits.recipe import Recipe
from fedbits.selection import select

_PUBLISHED = EpitomeConfig(tokens=16, width=32, heads=2, blocks=1, nonzeros=48, patch=4)
_PUBLISHED_IPC, _LEAST = 17, "3 bits"
_FINEST = replace(_PUBLISHED, bits=8, precision=1e-3)  # float32 but for what no network can see


@dataclass(frozen=True)
class Bench:
    """What a form is distilled from, and judged by."""

    train: TensorData
    judge: TensorData
    args: argparse.Namespace

    def measure(self, name: str, recipe: Recipe, budget: Budget | None, seed: int) -> dict[str, Any]:
        """Distil, encode, train a fresh network; from the folder if that was done before."""
        length = f"{recipe.steps}-{self.args.evaluation_steps or 'all'}"
        stem = f"{self.args.mode}-{self.args.data}-{name}-{length}-{seed}"
        path = self.args.folder / f"{stem}.json"
        if path.exists():
            return json.loads(path.read_text())
        where, args = device.pick(self.args.device), self.args
        with terminal_progress() as progress:
            made = distill(self.train, recipe, budget, seed=seed, device=where, progress=progress)
            blob = encode(made)
            judged = evaluate.evaluate(
                made,
                self.judge,
                evaluate.protocol(args.protocol, steps=args.evaluation_steps),
                repeats=args.repeats,
                seed=seed,
                device=where,
                progress=progress,
            )
        facts = inspect(blob)
        found = {
            "bytes": len(blob),
            "samples": facts["samples"],
            "ledger": facts["ledger"],
            "accuracies": list(judged.accuracies),
            "commit": record.commit(),
        }
        if recipe.epitome is not None:
            found["float32_bytes"] = 4 * recipe.epitome.float32_equivalents(facts["samples"], made.spec)
        write_atomic(self.args.folder / f"{stem}.fbits", blob)
        write_atomic(path, json.dumps(found).encode())
        print(name, seed, found["bytes"], found["samples"], found["accuracies"], flush=True)
        return found


def published(bench: Bench, recipe: Recipe) -> dict[str, Any]:
    """The paper's setting at three precisions, and what other recipes make of the bytes of the least."""
    forms = {
        "as good as float32": _FINEST,
        "4 bits": replace(_PUBLISHED, bits=4, precision=0.1),
        _LEAST: replace(_PUBLISHED, bits=3, precision=0.1),
    }
    found = {
        name: _summary(bench, name, replace(recipe, epitome=form, ipc=_PUBLISHED_IPC), lambda _: None)
        for name, form in _wanted(bench, forms).items()
    }
    if _LEAST in found:
        for name in filter(None, bench.args.rivals.split(",")):
            rival = recipes.get(name)
            rival = replace(rival, steps=min(rival.steps, recipe.steps))
            sizes = {seed: Budget(run["bytes"]) for seed, run in found[_LEAST]["runs"].items()}
            found[name] = _summary(bench, name, rival, sizes.get)
    return found


def ablation(bench: Bench, recipe: Recipe) -> dict[str, Any]:
    """The planner's setting, and others that differ in one thing."""
    train, budget = bench.train, Budget.parse(bench.args.budget)
    every = Candidates(train, select(train, recipe.selection, max(train.class_counts()), 0))
    base = make_plan(every, recipe, budget.bytes(train.spec, train.spec.classes)).config
    assert isinstance(base, EpitomeConfig)
    forms = {"base": base, "sparse at the end": replace(base, sparsify="end")}
    forms |= {"random start": replace(base, start="random")}
    forms |= {f"k {k}": replace(base, nonzeros=k) for k in _around(base.nonzeros)}
    forms |= {f"K {tokens}": replace(base, tokens=tokens) for tokens in _around(base.tokens)}
    forms |= {f"D {width}": replace(base, width=width) for width in _around(base.width)}
    forms |= {f"H {heads}": replace(base, heads=heads) for heads in (2, 4)}
    forms |= {f"R {blocks}": replace(base, blocks=blocks) for blocks in sorted({0, 1, 2} - {base.blocks})}
    forms |= {f"{bits} bits": replace(base, bits=bits) for bits in (2, 4)}
    side = base.patch
    others = [(-(-side // cut), cut * base.nonzeros) for cut in (2, 4)]
    if 2 * side <= min(train.spec.grid_shape[1:]):
        others.append((2 * side, base.nonzeros))
    forms |= {f"patch {patch}, k {k}": replace(base, patch=patch, nonzeros=k) for patch, k in others}
    return {
        name: _summary(bench, name, replace(recipe, epitome=form), lambda _: budget)
        for name, form in _wanted(bench, forms).items()
    }


def _wanted(bench: Bench, forms: dict[str, EpitomeConfig]) -> dict[str, EpitomeConfig]:
    """The forms that ``--forms`` names, all of them when it names none."""
    names = [name.strip() for name in bench.args.forms.split(";") if name.strip()]
    unknown = [name for name in names if name not in forms]
    if unknown:
        raise SystemExit(f"--forms has no {unknown[0]!r}; it may have {'; '.join(forms)}")
    return {name: forms[name] for name in names} if names else forms


def _around(value: int) -> tuple[int, int]:
    return max(1, value // 2), 2 * value


def _summary(
    bench: Bench, name: str, recipe: Recipe, budget: Callable[[int], Budget | None]
) -> dict[str, Any]:
    """Of all seeds; ``budget`` of each. Of a form that no budget this small holds, what would do."""
    try:
        runs = {seed: bench.measure(name, recipe, budget(seed), seed) for seed in bench.args.seed_list}
    except BudgetError as error:
        print(f"{name}: {error}", flush=True)
        return {"refused": str(error)}
    accuracies = [value for run in runs.values() for value in run["accuracies"]]
    spread = stdev(accuracies) if len(accuracies) > 1 else 0.0
    return {"mean": mean(accuracies), "std": spread, "sets": len(runs), "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=("published", "ablation"))
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--budget", default="1KiB/class", help="of the ablation")
    parser.add_argument("--forms", default="", help="names of the result, by semicolons; all when left out")
    parser.add_argument("--rivals", default="quadd,ruo,herding,random", help="of what is published")
    parser.add_argument("--protocol", default="laptop")
    parser.add_argument("--steps", type=int, help="of distillation, instead of the recipe's")
    parser.add_argument("--evaluation-steps", type=int, help="of networks, instead of the protocol's")
    parser.add_argument("--seeds", default="0", help="of sets and networks, by commas")
    parser.add_argument("--repeats", type=int, default=1, help="networks for each set")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--name", help="of the result, instead of one of mode and data")
    parser.add_argument("--folder", type=Path, default=Path("runs/epitome_forms"))
    args = parser.parse_args()
    args.seed_list = [int(seed) for seed in args.seeds.split(",")]
    args.folder.mkdir(parents=True, exist_ok=True)
    found = data.load(args.data)
    recipe = recipes.get("speed", steps=args.steps)
    if args.mode == "published":
        result = published(Bench(found.train, found.test, args), recipe)
    else:
        train, held_out = split(found.train, 0.1, 7)
        result = ablation(Bench(train, held_out, args), recipe)
    name = args.name or f"epitome_{args.mode}_{args.data}"
    print(record.write(name, result, args.seed_list[0]))


if __name__ == "__main__":
    main()
