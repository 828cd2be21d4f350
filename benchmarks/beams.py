"""Beams: models of all data and of single sites, and the server's model on sets that sites distil.

    python benchmarks/beams.py --parts whole,local --repeats 1
    python benchmarks/beams.py --parts sets --recipes quadd,ptq,random --budgets 8KiB,32KiB,128KiB

Every accuracy is on the test samples of all sites. A site's raw data counts as the float32 powers that it
measured (of half of its beams) and a bit for each beam, whether it is one; ``as_64_numbers`` counts a sample
as 64 float32 numbers, as QuADD does. Each figure is kept in ``--folder``: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import record

from fedbits import container, data, evaluate, recipes
from fedbits.budget import Budget
from fedbits.cli.common import terminal_progress
from fedbits.data import TensorData
from fedbits.data.beams import SITES, Selection, measured
from fedbits.data.beams.facts import describe
from fedbits.data.beams.measurements import SAMPLE_BYTES
from fedbits.data.search import Places
from fedbits.data.union import Union
from fedbits.distill import distill
from fedbits.distilled_set import DistilledSet
from fedbits.memory import keep_freed_memory
from fedbits.progress import Progress
from fedbits.rng import derive_seed


class Bench:
    """What all parts share."""

    def __init__(self, args: argparse.Namespace, progress: Progress) -> None:
        self.args, self.progress = args, progress
        self.set = data.load(args.data, args.data_root)
        assert self.set.train.sites is not None
        self.sites = {
            name: self.set.train.subset((self.set.train.sites == number).nonzero().flatten())
            for number, name in enumerate(SITES)
            if bool((self.set.train.sites == number).any())
        }
        self.protocol = evaluate.protocol("laptop", steps=args.steps, width=args.width)

    def kept(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The outcome of ``work`` under the settings of this run, done at most once."""
        settings = [
            self.args.data,
            self.protocol.steps,
            self.protocol.width,
            self.args.repeats,
            self.args.seed,
        ]
        path = self.args.folder / ("-".join(map(str, [name, *settings])).replace("/", "_") + ".json")
        if not path.exists():
            path.write_text(json.dumps({**work(), "commit": record.commit()}))
        found = json.loads(path.read_text())
        print(f"{name}: {100 * found['accuracy']:.2f} ± {100 * found['std']:.2f} %", flush=True)
        return found

    def tested(self, on: TensorData | Union) -> dict[str, Any]:
        """The accuracy of networks trained ``on`` something."""
        found = evaluate.evaluate(
            on,
            self.set.test,
            self.protocol,
            repeats=self.args.repeats,
            seed=self.args.seed,
            progress=self.progress,
        )
        return {
            "accuracy": found.mean,
            "std": found.std,
            "accuracies": found.accuracies,
            "samples": len(on),
            "seconds": round(found.seconds, 1),
        }

    def whole(self) -> dict[str, Any]:
        """One model of all sites' raw data."""
        return self.kept("whole", lambda: self.tested(self.set.train))

    def local(self) -> dict[str, Any]:
        """A model of each site's raw data."""
        return {
            name: self.kept(f"local-{name}", lambda s=site: self.tested(s))
            for name, site in self.sites.items()
        }

    def sets(self) -> dict[str, Any]:
        """A model of the union of what all sites distil, by recipe and budget."""
        return {
            recipe: {
                budget: self.kept(
                    f"sets-{recipe}-{budget}-{self.args.distil_steps}",
                    lambda r=recipe, b=budget: self._union(r, Budget.parse(b)),
                )
                for budget in self.args.budgets.split(",")
            }
            for recipe in self.args.recipes.split(",")
        }

    def _union(self, recipe: str, budget: Budget) -> dict[str, Any]:
        sent, sizes = [], {}
        for name, site in self.sites.items():
            blob = self._blob(recipe, budget, name, site)
            sizes[name] = len(blob)
            sent.append(container.decode(blob))
        union = Union(self.set.spec, sent)
        count = len(self.set.train)
        total = sum(sizes.values())
        return {
            **self.tested(union),
            "bytes": sizes,
            "forms": [one.describe() for one in sent],
            "compression": round(count * SAMPLE_BYTES / total, 1),
            "compression_as_64_numbers": round(count * 256 / total, 1),
        }

    def _blob(self, recipe: str, budget: Budget, name: str, site: TensorData) -> bytes:
        chosen = recipes.get(recipe)
        if chosen.steps:
            chosen = recipes.get(recipe, steps=self.args.distil_steps)
        seed = derive_seed(self.args.seed, "site", name)
        made: DistilledSet = distill(site, chosen, budget, seed=seed, progress=self.progress)
        return container.encode(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="beams")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--parts", default="whole,local,sets")
    parser.add_argument("--recipes", default="quadd")
    parser.add_argument("--budgets", default="8KiB,32KiB,128KiB", help="of each site")
    parser.add_argument("--steps", type=int, help="of training, instead of the protocol's")
    parser.add_argument("--distil-steps", type=int, help="instead of the recipe's")
    parser.add_argument("--width", type=int, help="instead of the protocol's")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="beams", help="of the file of results")
    parser.add_argument("--folder", type=Path, default=Path("runs/beams"))
    args = parser.parse_args()
    keep_freed_memory()
    args.folder.mkdir(parents=True, exist_ok=True)
    with terminal_progress() as progress:
        bench = Bench(args, progress)
        parts = {"whole": bench.whole, "local": bench.local, "sets": bench.sets}
        selection = Selection.parse(args.data.removeprefix("beams").removeprefix(":"))
        facts = describe(measured(selection, Places(args.data_root), progress))
        result: dict[str, Any] = {"data": facts, "protocol": vars(bench.protocol)}
        result |= {part: parts[part]() for part in args.parts.split(",")}
    print(record.write(args.name, result, args.seed))


if __name__ == "__main__":
    main()
