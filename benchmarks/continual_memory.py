"""What a compressed memory holds once the stream is gone, and what decoding it costs beside an epoch.

    python benchmarks/continual_memory.py --data fashion_mnist --memory 10240 --recipe random

The resident memory of the process is measured after the data set was freed, with the memory and without it.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import pickle
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import record
import torch

from fedbits import container, data, evaluate, recipes
from fedbits.data import DataSpec
from scenarios.memory import CompressedMemory, MemoryConfig
from scenarios.stream import Stream

ROUNDS = 5


def resident() -> int:
    """Bytes of this process in memory, of which freed ones are given back first."""
    gc.collect()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).malloc_trim(0)
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(fields["VmRSS"].split()[0])


def filled(args: argparse.Namespace) -> tuple[CompressedMemory, DataSpec]:
    """The memory after the last experience; the data set is gone."""
    loaded = data.load(args.data)
    stream, spec = Stream.of(loaded, args.experiences, args.seed), loaded.spec
    recipe = recipes.get(args.recipe, steps=args.steps)
    memory = CompressedMemory(MemoryConfig(args.memory, recipe, "fixed", spec.classes))
    for experience in range(args.experiences):
        memory.add(stream.train(experience), experience)
        print(f"experience {experience + 1}: {memory.size:,} bytes, {len(memory):,} samples", flush=True)
    return memory, spec


def held(args: argparse.Namespace) -> dict[str, Any]:
    """Bytes of the process with and without the memory, and of its pickle."""
    memory, spec = filled(args)
    facts = {"capacity": args.memory, "memory_bytes": memory.size, "samples": len(memory)}
    facts["pickle_bytes"] = len(pickle.dumps(memory))
    facts["coders"] = [container.inspect(blob).get("coder") for blob in memory.blobs()]
    facts["resident_with"] = resident()
    union = memory.union(spec)
    union.batch()
    facts["resident_decoded"] = resident()
    del union
    facts["resident_released"] = resident()
    pickled = pickle.dumps(memory)
    del memory
    facts["resident_without"] = resident()  # but for the pickle, in its place
    facts["decoding"] = decoding(pickle.loads(pickled), spec)
    return facts


def decoding(memory: CompressedMemory, spec: DataSpec) -> dict[str, float]:
    """Seconds to decode everything, and of one epoch of a ConvNet on it; medians."""
    protocol = evaluate.protocol("laptop", steps=-(-len(memory) // 256))
    decoded, trained = [], []
    for attempt in range(ROUNDS):
        started = time.monotonic()
        union = memory.union(spec)
        union.batch()
        decoded.append(time.monotonic() - started)
        network = evaluate.build_network(union, protocol, attempt)
        started = time.monotonic()
        evaluate.train(network, union, protocol, seed=attempt)
        trained.append(time.monotonic() - started)
    return {
        "decoding_seconds": median(decoded),
        "epoch_seconds": median(trained),
        "steps_of_the_protocol": float(evaluate.protocol("laptop").total_steps(len(memory))),
        "batches_of_an_epoch": float(-(-len(memory) // 256)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--experiences", type=int, default=5)
    parser.add_argument("--memory", type=int, default=10_240, help="bytes")
    parser.add_argument("--recipe", default="random")
    parser.add_argument("--steps", type=int, help="of distillation")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    facts = held(args)
    print(facts)
    print(record.write(f"continual_memory_{args.data}", facts, args.seed))


if __name__ == "__main__":
    main()
