"""RUO in its authors' own code and in ours: bytes, accuracy and speed of one set, with the same objective.

    python benchmarks/peer_ruo.py CHECKOUT --ipc 10 --steps 300 --repeats 3

CHECKOUT is a clone of the authors' repository, which is no part of fedbits; it wants kornia, einops, torchac
and ninja. Both distil ``--ipc`` images a class of Fashion-MNIST by distribution matching on ConvNets of width
128, in as many steps with as many real images. Theirs runs as its readme has it: warmed up with its own
coefficient, then half of the steps with the larger weight of the rate, half with the smaller; networks
quantised, and all of it through its own codec, whose files count. Ours is given as many bytes. Fresh
networks of one protocol are trained on what either decodes to (theirs in 8 bits, as its decoder writes them).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch

from fedbits import data, evaluate, recipes
from fedbits.budget import Budget
from fedbits.container import encode, ledger
from fedbits.data.tensors import Labelled, TensorData
from fedbits.distill import distill
from fedbits.matching import DistributionConfig
from fedbits.memory import keep_freed_memory
from fedbits.optimise import Optimisation

# Runs in the checkout, on a processor: their code names GPUs, and downloads what we have.
_PRELUDE = """
import json, os, runpy, sys, time, types
import numpy as np, torch
sys.path.insert(0, os.getcwd())
moved = types.ModuleType("scipy.ndimage.interpolation")
moved.rotate = None  # its old place; nothing of what is run calls it
sys.modules[moved.__name__] = moved
import matplotlib
matplotlib.use("Agg")
import core.ts.tensor_pool as tensor_pool, core.utils as utils
folder = sys.argv.pop()
"""
_DISTIL = (
    _PRELUDE
    + """
plain_pool, plain_data = tensor_pool.TensorPool, tensor_pool.TensorData
def on_processor(**settings):
    return plain_data(**{**settings, "device": "cpu"})
class Pool(plain_pool):
    def __init__(self, *args, **kwargs):
        super().__init__(*args[:3], [0], *args[4:], **kwargs)
        self.target_device = "cpu"
    def backward(self, *args):
        super().backward(*args)
        marks.append(time.process_time())
tensor_pool.TensorData, tensor_pool.TensorPool, marks = on_processor, Pool, []
known = np.load(os.path.join(folder, "train.npz"))
def get_dataset(*args, **kwargs):
    images = (torch.from_numpy(known["samples"]).float() / 255 - 0.2861) / 0.3530
    train = list(zip(images, known["labels"].tolist()))
    same = {label: label for label in range(10)}
    return 1, (28, 28), 10, list(range(10)), [0.2861], [0.3530], train, None, None, None, same, same
utils.get_dataset = get_dataset
os.chdir("DM")
sys.argv[0] = "pool_dm.py"
runpy.run_path("pool_dm.py", run_name="__main__")
print("MARKS", json.dumps([later - earlier for earlier, later in zip(marks, marks[1:])]))
"""
)
_ENCODE = (
    _PRELUDE
    + """
from PIL import Image
plain = Image.fromarray
Image.fromarray = lambda array: plain(array[..., 0] if array.shape[-1] == 1 else array)  # grey ones
pool, version, arm, dim = sys.argv[1:]
sys.path.insert(0, "entropy_codec")
def run(program, **options):
    sys.argv = [program] + [f"--{name}={value}" for name, value in options.items()]
    runpy.run_path(os.path.join("entropy_codec", program), run_name="__main__")
size, seconds, images = 0, 0.0, []
for label in range(10):
    stream = os.path.join(folder, "stream", str(label))
    run("encode_v2.py", pool_path=pool, slice_index=label, layers_v=version, arm_dim=arm, n_hidden_arm=dim,
        out_dir=stream)
    size += sum(entry.stat().st_size for entry in os.scandir(stream))
    began, shown = time.process_time(), os.path.join(folder, "decoded", str(label))
    run("decode_v2.py", bitstream_dir=stream, out_dir=shown)
    seconds += time.process_time() - began
    shown = os.path.join(shown, "decoded_images")
    images += [np.asarray(Image.open(os.path.join(shown, name))) for name in sorted(os.listdir(shown))
               if name.startswith("img_")]
np.savez(os.path.join(folder, "theirs.npz"), samples=np.stack(images)[:, None])
print("SIZE", json.dumps([size, seconds]))
"""
)


def in_checkout(args: argparse.Namespace, program: str, *words: str) -> str:
    """What ``program`` prints in the checkout."""
    command = [sys.executable, "-c", program, *words, str(args.folder)]
    done = subprocess.run(command, cwd=args.checkout, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def marked(printed: str, mark: str) -> list[float]:
    (line,) = (line for line in printed.splitlines() if line.startswith(mark))
    found: list[float] = json.loads(line.removeprefix(mark))
    return found


def theirs(args: argparse.Namespace, train: TensorData) -> tuple[TensorData, dict[str, Any]]:
    """Their set as decoded, and what it took: bytes and seconds of a step after the first."""
    np.savez(args.folder / "train.npz", samples=train.samples.numpy(), labels=train.labels.numpy())
    half = args.steps // 2
    pool, seconds = "init", []
    stages = ((1, args.warm_up, 300), (half, 5, 10), (args.steps - half, 5, 300))
    for number, (steps, weight, amplified) in enumerate(stages):
        options = {
            "dataset": "FashionMNIST",
            "model": "ConvNet",
            "ipc": args.ipc,
            "layers_v": args.layers,
            "arm": args.arm,
            "dim": args.dim,
            "num_eval": 0,
            "Iteration": steps - 1,
            "batch_real": args.batch,
            "ldb": weight,
            "ldb_it": amplified,
            "pool_path": pool,
            "save_path": args.folder,
            "FLAG": f"stage{number}",
            "sh_file": "run_pool_dm.sh",
            "data_path": args.folder,
        }
        printed = in_checkout(args, _DISTIL, *(f"--{name}={value}" for name, value in options.items()))
        if number == 0:  # how long a warm-up takes depends on its length, not on the steps
            pool = str(args.folder / "stage0" / "pool_init.pt")
        else:
            seconds += marked(printed, "MARKS")
            pool = str(
                args.folder / f"stage{number}" / f"DM_FashionMNIST_ConvNet_{args.ipc}ipc_exp0_{steps - 1}.pt"
            )
    printed = in_checkout(args, _ENCODE, pool, args.layers, str(args.arm), str(args.dim))
    size, decoding = marked(printed, "SIZE")
    samples = torch.from_numpy(np.load(args.folder / "theirs.npz")["samples"])
    labels = torch.arange(train.spec.classes).repeat_interleave(args.ipc)
    facts = {"bytes": int(size), "cpu_seconds_to_decode": decoding, "cpu_seconds_per_step": seconds}
    return TensorData(train.spec, samples, labels), facts


def ours(args: argparse.Namespace, train: TensorData, size: int) -> tuple[Labelled, dict[str, Any]]:
    """Our set of ``size`` bytes at most, and what it took."""
    objective = DistributionConfig(width=128, real_batch=args.batch)
    recipe = replace(recipes.get("ruo", steps=args.steps, ipc=args.ipc), objective=objective)
    marks: list[float] = []
    advance = Optimisation.advance

    def timed(run: Optimisation) -> Any:
        found = advance(run)
        marks.append(time.process_time())
        return found

    Optimisation.advance = timed  # type: ignore[method-assign]
    try:
        made = distill(train, recipe, Budget(size, "bytes"), seed=args.seed)
    finally:
        Optimisation.advance = advance  # type: ignore[method-assign]
    blob = encode(made)
    seconds = [later - earlier for earlier, later in pairwise(marks)]
    bits = ledger(blob).components
    return made, {"bytes": len(blob), "ledger_bits": bits, "cpu_seconds_per_step": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path, help="of the authors' repository")
    parser.add_argument("--ipc", type=int, default=10, help="images of each class")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64, help="real images of each class in a step")
    parser.add_argument("--warm-up", type=float, default=1e-6, help="their weight of the rate there (1/beta)")
    parser.add_argument("--layers", default="v0-0", help="their decoder; v0-0 is the smallest")
    parser.add_argument("--arm", type=int, default=8, help="their context, and width of the entropy network")
    parser.add_argument("--dim", type=int, default=2, help="layers of their entropy network")
    parser.add_argument("--protocol", default="laptop")
    parser.add_argument("--repeats", type=int, default=3, help="networks for each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/peer_ruo"))
    args = parser.parse_args()
    args.folder = args.folder.resolve()
    args.folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    keep_freed_memory()  # as the command does
    found = data.load("fashion_mnist")
    result: dict[str, Any] = {
        "settings": {
            name: getattr(args, name)
            for name in ("ipc", "steps", "batch", "warm_up", "layers", "arm", "dim", "protocol")
        }
    }
    their_set, result["theirs"] = theirs(args, found.train)
    our_set, result["ours"] = ours(args, found.train, result["theirs"]["bytes"])
    for name, made in (("theirs", their_set), ("ours", our_set)):
        judged = evaluate.evaluate(
            made, found.test, evaluate.protocol(args.protocol), repeats=args.repeats, seed=args.seed
        )
        steps = result[name]["cpu_seconds_per_step"]
        result[name] |= {"cpu_seconds_per_step": statistics.median(steps), **asdict(judged)}
        print(name, result[name], flush=True)
    print(record.write("peer_ruo", result, args.seed))


if __name__ == "__main__":
    main()
