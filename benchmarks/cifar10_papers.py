"""CIFAR-10 at the papers' settings: what one and ten float images per class take, in real bytes.

    python benchmarks/cifar10_papers.py --minutes 25                 # on one GPU: the whole table
    python benchmarks/cifar10_papers.py --scale 0.002 --cells dm-1   # a smoke test on a CPU

ConvNet-D3 of width 128, protocol dsa (mtt for trajectories, with the learned step size), fresh networks.
Beside each other: float baselines, QuADD at the same images (3 bits a value: "9 bits per pixel"), and our
recipes and real samples at the same memory (12,288 and 122,880 bytes a class). Published: BCDC 45.1 and 60.6
(DM, same memory), QuADD 44.9 and 65.4 (same images); SPEED 63.2 and 73.5 by trajectory matching, 45.0 by DM
(its 17 samples a class count as one float image); RUO 78 at 94 KB a class and 79.7 at 246. Cells run in
order, and none begins after ``--minutes``; what is done is written after each, and a run with the same
``--folder`` goes on with what is missing.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import record
import torch

from fedbits import data, device, evaluate, recipe_toml
from fedbits.budget import Budget
from fedbits.cli.common import terminal_progress
from fedbits.container import encode, inspect
from fedbits.data import DataSet
from fedbits.distill import distill
from fedbits.files import write_atomic
from fedbits.matching import TrajectoryConfig
from fedbits.recipe import Recipe

_ONE = 3 * 32 * 32 * 4  # bytes of a float image
_FACTS = ("bytes", "samples", "bits", "factor", "coder", "bits_per_class", "float32_equivalents", "ledger")


@dataclass(frozen=True)
class Cell:
    """One entry of the table: a recipe at ``images`` float images' worth a class, and its steps there.

    A recipe is one of fedbits or a file in ``recipes/``; its samples are as many as it says (``own_images``),
    ``images``, or what fits the same memory.
    """

    recipe: str
    images: float
    steps: int
    same_images: bool = False
    own_images: bool = False
    bits: int | None = None
    protocol: str = "dsa"

    @property
    def name(self) -> str:
        return f"{self.recipe}-{self.images:g}"

    @property
    def budget(self) -> Budget | None:
        if self.same_images or self.own_images:
            return None
        return Budget(round(_ONE * self.images), "bytes/class")


CELLS = (
    Cell("random", 1, 0),
    Cell("herding", 1, 0),
    Cell("dm", 1, 3000, same_images=True),
    Cell("quadd", 1, 3000),
    Cell("bcdc", 1, 3000),
    Cell("bcdc-dm", 1, 3000),
    Cell("quadd-tm", 1, 600, same_images=True, bits=3, protocol="mtt"),
    Cell("datm", 1, 600, same_images=True, protocol="mtt"),
    Cell("random", 10, 0),
    Cell("herding", 10, 0),
    Cell("dm", 10, 3000, same_images=True),
    Cell("quadd", 10, 2000),
    Cell("bcdc", 10, 2000),
    Cell("bcdc-dm", 10, 2000),
    Cell("quadd-tm", 10, 600, same_images=True, bits=3, protocol="mtt"),
    Cell("datm", 10, 600, same_images=True, protocol="mtt"),
    Cell("speed", 1, 2000),
    Cell("speed-dm-1", 1, 3000, own_images=True),
    Cell("speed-tm-1", 1, 1000, own_images=True, protocol="mtt"),
    Cell("speed-tm", 10, 600, own_images=True, protocol="mtt"),
    Cell("ruo", 1, 2000),
    Cell("ruo-tm", 1, 1000, protocol="mtt"),
    Cell("ruo-tm", 94_000 / _ONE, 600, protocol="mtt"),
    Cell("ruo-tm", 246_000 / _ONE, 600, protocol="mtt"),
)


def recipe_of(cell: Cell, args: argparse.Namespace) -> Recipe:
    """The recipe of ``cell``, its steps scaled, its experts few enough for the time there is."""
    ipc = round(cell.images) if cell.same_images else None
    own = Path(__file__).parent / "recipes" / f"{cell.recipe}.toml"
    steps = max(1, round(cell.steps * args.scale)) if cell.steps else 0
    named = recipe_toml.get(str(own) if own.exists() else cell.recipe, ipc=ipc, bits=cell.bits)
    recipe = replace(named, steps=steps)
    objective = recipe.objective
    if isinstance(objective, TrajectoryConfig):
        last = 4 if cell.images == 1 else 20
        first = 0 if cell.images == 1 else 10
        epochs = last + objective.expert_epochs
        experts = replace(objective.experts, experts=args.experts, epochs=epochs)
        objective = replace(
            objective, experts=experts, experts_seed=0, min_start=0, current_max=first, max_start=last
        )
    return replace(recipe, objective=objective)


def measure(cell: Cell, cifar: DataSet, args: argparse.Namespace) -> dict[str, Any]:
    """Distil, encode, and train fresh networks on what is decoded."""
    where = device.pick(args.device)
    started = time.monotonic()
    recipe = recipe_of(cell, args)
    with terminal_progress() as progress:
        made = distill(cifar.train, recipe, cell.budget, seed=args.seed, device=where, progress=progress)
        blob = encode(made)
        distilled = time.monotonic()
        how = evaluate.protocol(cell.protocol)
        if args.scale < 1:
            how = replace(how, epochs=max(1, round(1000 * args.scale)))
        result = evaluate.evaluate(
            made, cifar.test, how, repeats=args.repeats, seed=args.seed, device=where, progress=progress
        )
    facts = inspect(blob)
    (args.folder / f"{cell.name}.fbits").write_bytes(blob)
    return {
        **{name: facts[name] for name in _FACTS if name in facts},
        "float_bytes": round(10 * _ONE * cell.images),
        "accuracies": list(result.accuracies),
        "mean": result.mean,
        "std": result.std,
        "distilling_seconds": distilled - started,
        "training_seconds": result.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=25.0, help="no cell begins after so many")
    parser.add_argument("--scale", type=float, default=1.0, help="of all steps and epochs")
    parser.add_argument("--cells", default="", help="names like quadd-1, by commas; all when left out")
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3, help="networks for each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, default=Path("runs/cifar10_papers"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    cifar = data.load("cifar10")
    started, results = time.monotonic(), {}
    for cell in CELLS:
        if args.cells and cell.name not in args.cells.split(","):
            continue
        path = args.folder / f"{cell.name}.json"
        if not path.exists():
            if time.monotonic() - started > 60 * args.minutes:
                continue
            write_atomic(path, json.dumps(measure(cell, cifar, args)))
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        results[cell.name] = json.loads(path.read_text())
        print(cell.name, results[cell.name], flush=True)
        record.write("cifar10_papers" if args.scale == 1 else "cifar10_papers_shortened", results, args.seed)


if __name__ == "__main__":
    main()
