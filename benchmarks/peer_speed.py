"""Seconds of a step of SPEED in its authors' own code and in ours: the same settings, objective and machine.

    python benchmarks/peer_speed.py CHECKOUT --data-root ~/.cache/fedbits --inner 4 --steps 2

CHECKOUT is a clone of the authors' repository, which is no part of fedbits; it wants kornia, timm and einops.
Both match trajectories of a ConvNet-D3 of width 128 on CIFAR-10, with 124 samples a class from 64 tokens of
96 numbers by 3 heads, and ``--inner`` training steps of 128 samples a step. Where experts end changes no
timing, so theirs are random numbers, and ours are trained on a thousand samples. Seconds are those that the
processor spent on either.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import record
import torch

from fedbits import data, recipes
from fedbits.matching import Setting, TrajectoryConfig
from fedbits.matching.experts import ExpertConfig
from fedbits.memory import keep_freed_memory
from fedbits.optimise import Optimisation
from fedbits.plan import Candidates, make_plan, start
from fedbits.progress import SILENT
from fedbits.selection import select

# Runs in the checkout: experts of random numbers, then the authors' own program, timed at its optimiser.
_THEIRS = """
import json, os, runpy, sys, time, types
import torch
sys.path.insert(0, os.getcwd())
moved = types.ModuleType("scipy.ndimage.interpolation")
moved.rotate = None  # its old place; nothing of what is timed calls it
sys.modules[moved.__name__] = moved
from networks import ConvNet
folder, marks = sys.argv.pop(), []
os.makedirs(os.path.join(folder, "CIFAR10_NO_ZCA", "ConvNet"), exist_ok=True)
expert = [
    [p.detach() for p in ConvNet(3, 10, 128, 3, "relu", "instancenorm", "avgpooling", (32, 32)).parameters()]
    for _ in range(4)
]
torch.save([expert], os.path.join(folder, "CIFAR10_NO_ZCA", "ConvNet", "replay_buffer_0.pt"))
step = torch.optim.SGD.step
def timed(self, *args, **kwargs):
    marks.append(time.process_time())
    return step(self, *args, **kwargs)
torch.optim.SGD.step = timed
sys.argv[0] = "distill.py"
runpy.run_path("distill.py", run_name="__main__")
each = marks[::4]  # four optimisers take a step
print("MARKS", json.dumps([later - earlier for earlier, later in zip(each, each[1:])]))
"""


def theirs(args: argparse.Namespace) -> list[float]:
    """CPU seconds of each of their steps after the first."""
    options = {
        "Iteration": args.steps,
        "syn_steps": args.inner,
        "batch_syn": args.batch,
        "max_start_epoch": 1,
        "expert_epochs": 2,
        "data_path": args.data_root,
        "buffer_path": args.folder,
        "save_path": args.folder / "theirs",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-c", _THEIRS, *words, str(args.folder)]
    done = subprocess.run(command, cwd=args.checkout, stdout=subprocess.PIPE, text=True, check=True)
    marks = [line for line in done.stdout.splitlines() if line.startswith("MARKS")]
    return json.loads(marks[0].removeprefix("MARKS"))


def ours(args: argparse.Namespace) -> list[float]:
    """CPU seconds of each of our steps after the first."""
    keep_freed_memory()  # as the command does
    cifar = data.load("cifar10", root=args.data_root).train
    part = cifar.subset(torch.cat([index[:128] for index in cifar.class_indices()]))
    recipe = recipes.get("speed-tm", steps=args.steps + 1)
    assert isinstance(recipe.objective, TrajectoryConfig)
    experts = ExpertConfig(experts=1, epochs=2)
    objective = replace(
        recipe.objective, experts=experts, synthetic_steps=args.inner, batch=args.batch, max_start=0
    )
    recipe = replace(recipe, objective=objective)
    assert recipe.ipc is not None
    candidates = Candidates(part, select(part, "random", recipe.ipc, 0))
    begun = start(candidates, make_plan(candidates, recipe, None), recipe)
    run = Optimisation(begun, part, recipe, None, 0, Setting(0, torch.device("cpu"), recipe.steps))
    run.prepare(SILENT)
    seconds = []
    for _ in range(args.steps + 1):
        began = time.process_time()
        run.advance()
        seconds.append(time.process_time() - began)
    return seconds[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path, help="of the authors' repository")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of CIFAR-10's original files")
    parser.add_argument("--inner", type=int, default=4, help="training steps of a step")
    parser.add_argument("--batch", type=int, default=128, help="samples of a training step")
    parser.add_argument("--steps", type=int, default=2, help="counted, of either; one more warms up")
    parser.add_argument("--folder", type=Path, default=Path("runs/peer_speed"))
    args = parser.parse_args()
    args.folder = args.folder.resolve()
    args.folder.mkdir(parents=True, exist_ok=True)
    args.data_root = args.data_root.expanduser().resolve()
    os.environ.setdefault("FEDBITS_CACHE", str(args.folder))
    found = {"theirs": theirs(args), "ours": ours(args)}
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    result = {
        "settings": {name: getattr(args, name) for name in ("inner", "batch", "steps")},
        "threads": torch.get_num_threads(),
        "cpu_seconds_per_step": {name: [round(one, 2) for one in each] for name, each in found.items()},
        "ratio": round(medians["theirs"] / medians["ours"], 2),
    }
    print(json.dumps(result))
    print(record.write("peer_speed", result, seed=0))


if __name__ == "__main__":
    main()
