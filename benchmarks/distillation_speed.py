"""Steps per second of distribution matching: ours against a plain loop over classes, in one run.

    python benchmarks/distillation_speed.py --data fashion_mnist --steps 20

The plain loop is what the method's definition says: for each class, augment a real and a synthetic batch,
pass each through the network in float32, compare the means (no graph for the real half, as the published
code has it). Both have the same network, batch sizes, and optimiser. Steps of all variants alternate, so that
a noisy machine disturbs them alike; medians are reported.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import record
import torch

from fedbits import data, networks
from fedbits.acceleration import Acceleration
from fedbits.augment import augment, draw
from fedbits.data import Batch, TensorData
from fedbits.matching import DistributionConfig, DistributionMatching, Setting, Synthetic
from fedbits.memory import keep_freed_memory
from fedbits.parameterization import PixelParameterization
from fedbits.parameterization.pixel import PixelConfig
from fedbits.progress import SILENT
from fedbits.rng import derive_seed, torch_stream
from fedbits.selection import select


def plain_step(
    train: TensorData, start: Batch, real: int, width: int, how: Acceleration
) -> Callable[[int], float]:
    """One step of a per-class loop on float samples."""
    samples, labels = torch.nn.Parameter(start.samples.clone()), start.labels
    classes = [torch.nonzero(train.labels == c).flatten() for c in range(train.spec.classes)]
    optimizer = torch.optim.SGD([samples], lr=1.0, momentum=0.5)

    def step(number: int) -> float:
        network = networks.build("convnet", train.spec, width, derive_seed(0, number)).requires_grad_(False)
        generator = torch_stream(0, "plain", number)
        loss = torch.zeros(())
        for label, index in enumerate(classes):
            drawn = draw(1, generator)
            chosen = index[torch.randint(len(index), (real,), generator=generator)]
            mine = labels == label
            zeros = torch.zeros(max(real, int(mine.sum())), dtype=torch.long)
            with how.autocast():
                theirs = network.features(augment(train.batch(chosen).samples, drawn.of(zeros[:real])))
                ours = network.features(augment(samples[mine], drawn.of(zeros[: int(mine.sum())])))
            loss = loss + (theirs.float().mean(0) - ours.float().mean(0)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def our_step(
    train: TensorData, start: Batch, config: DistributionConfig, how: Acceleration
) -> Callable[[int], float]:
    """One step of the objective as the distiller runs it, quantiser included."""
    stored = PixelParameterization.from_samples(start.samples, train.spec, PixelConfig(bits=3)).train()
    optimizer = torch.optim.SGD(stored.param_groups(1.0), momentum=0.5)
    objective = DistributionMatching(config, Setting(0, torch.device("cpu")), how)
    objective.prepare(train, SILENT)

    def step(number: int) -> float:
        real = train.batch(objective.real_indices(number))
        loss = objective.loss(real, Synthetic(stored(), start.labels, start.labels), number)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--real", type=int, default=64)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()

    keep_freed_memory()  # as the command does; it helps all variants
    train = data.load(args.data).train
    index = torch.cat(select(train, "random", args.ipc, 0))
    start = train.batch(index)
    config = DistributionConfig(width=args.width, real_batch=args.real)
    cpu = torch.device("cpu")
    variants = {
        "plain per-class loop": plain_step(train, start, args.real, args.width, Acceleration(cpu)),
        "plain loop, bfloat16": plain_step(train, start, args.real, args.width, Acceleration(cpu, True)),
        "one batch": our_step(train, start, config, Acceleration(cpu)),
        "one batch, bfloat16": our_step(train, start, config, Acceleration(cpu, bfloat16=True)),
        "one batch, compiled": our_step(train, start, config, Acceleration(cpu, compiled=True)),
        "one batch, bfloat16, compiled": our_step(train, start, config, Acceleration(cpu, True, True)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(args.steps + 3):
        for name, step in variants.items():
            started = time.perf_counter()
            step(number)
            if number >= 3:  # the first ones compile and warm up
                seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    plain = medians["plain per-class loop"]
    result = {
        "settings": vars(args),
        "steps_per_second": {name: round(1 / value, 3) for name, value in medians.items()},
        "ratio_to_plain": {name: round(plain / value, 2) for name, value in medians.items()},
    }
    for name, value in medians.items():
        print(f"{name:32} {1 / value:7.2f} steps/s   {plain / value:5.2f} x")
    print(record.write(f"distillation_speed_{args.data}", result, seed=0))


if __name__ == "__main__":
    main()
