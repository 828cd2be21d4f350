"""A network alone, samples alone, and both in one blob, at equal budgets; and what labelling costs.

    python benchmarks/networks.py --data fashion_mnist --budgets 1KiB/class,4KiB/class
    python benchmarks/networks.py --data digits --budgets 1KiB --rows network,hybrid --labeller-steps 500

By default nothing is tested on test data: all is made of five sixths of the training data and tested on the
rest, so that settings may be chosen by these figures. ``--final`` uses the whole of both parts.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import record
import torch

from fedbits import container, data, evaluate, recipes
from fedbits.budget import Budget
from fedbits.data import TensorData
from fedbits.data.holdout import split
from fedbits.distill import distill
from fedbits.distilled_set import DistilledSet
from fedbits.recipe import Recipe

HELD_OUT = 1 / 6


def recipe_of(row: str, args: argparse.Namespace) -> Recipe:
    """``network`` alone, ``samples`` alone, or ``hybrid``."""
    if row == "samples":
        return recipes.get(args.recipe)
    recipe = recipes.get("network") if row == "network" else recipes.get(args.recipe, labels="network")
    changes = {"steps": args.labeller_steps, "temperature": args.temperature, "share": args.share}
    given = {name: value for name, value in changes.items() if value is not None}
    given |= {"flipped": False} if args.no_mirror else {}
    return replace(recipe, labeller=replace(recipe.labelling, **given))


def measure(
    row: str, budget: str, train: TensorData, test: TensorData, args: argparse.Namespace
) -> dict[str, Any]:
    """Bytes, accuracies and CPU seconds of one row."""
    started = time.process_time()
    blob = container.encode(distill(train, recipe_of(row, args), Budget.parse(budget), seed=args.seed))
    made = time.process_time() - started
    received = container.decode(blob)
    facts = container.inspect(blob)
    found = {
        "row": row,
        "budget": budget,
        "bytes": len(blob),
        "seconds_made": made,
        "ledger": facts["ledger"],
    }
    found |= {"samples": len(received), "network": facts.get("network")}
    if received.network is not None:
        found["network_accuracy"] = evaluate.accuracy(received.network.network, test)
    if len(received):
        protocol = evaluate.protocol("laptop", steps=args.steps)
        found |= {"labelling_share": labelling_share(received, protocol)} if received.network else {}
        judged = evaluate.evaluate(received, test, protocol, repeats=args.repeats, seed=args.seed)
        found |= {"accuracies": judged.accuracies, "mean": judged.mean}
    return found


def labelling_share(received: DistilledSet, protocol: evaluate.Protocol, batches: int = 10) -> float:
    """CPU time of making and labelling views, as a share of whole training steps."""
    network = evaluate.build_network(received, protocol, 0)
    index = torch.arange(min(protocol.batch, len(received)))
    for _ in range(2):  # what is made once is made
        received.lesson(index, 0)
    started = time.process_time()
    for epoch in range(batches):
        received.lesson(index, epoch)
    lessons = time.process_time() - started
    started = time.process_time()
    evaluate.train(network, received, replace(protocol, steps=batches), seed=0)
    return lessons / (time.process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--budgets", default="1KiB/class,4KiB/class")
    parser.add_argument("--rows", default="network,samples,hybrid")
    parser.add_argument("--recipe", default="random", help="of samples")
    parser.add_argument("--share", type=float, help="of the network in a hybrid")
    parser.add_argument("--temperature", type=float, help="of its labels")
    parser.add_argument("--labeller-steps", type=int, help="of the network's training")
    parser.add_argument("--no-mirror", action="store_true", help="views are not mirrored")
    parser.add_argument("--steps", type=int, help="of students, in place of the protocol's")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--final", action="store_true", help="test on the test data")
    parser.add_argument("--name", default="networks")
    args = parser.parse_args()
    torch.set_num_threads(1)
    real = data.load(args.data)
    train, test = (real.train, real.test) if args.final else split(real.train, HELD_OUT, 0)
    rows = []
    for budget in args.budgets.split(","):
        for row in args.rows.split(","):
            rows.append(measure(row, budget, train, test, args))
            told = {
                name: rows[-1].get(name) for name in ("row", "budget", "bytes", "network_accuracy", "mean")
            }
            print(told, flush=True)
    print(record.write(f"{args.name}_{args.data}", {"arguments": vars(args), "rows": rows}, args.seed))


if __name__ == "__main__":
    main()
