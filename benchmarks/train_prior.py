"""Train the entropy network that fedbits ships (fedbits/coding/prior.bin) on training images.

    python benchmarks/train_prior.py gather grey          # symbols and surroundings -> runs/prior/
    python benchmarks/train_prior.py train grey --minutes 8
    python benchmarks/train_prior.py write                # both networks -> fedbits/coding/prior.bin

Grey: Fashion-MNIST's first 55,000 training images and CIFAR-100's in grey; colour: CIFAR-100's training
images. Sides are 1, 2 or 4 times smaller; values are quantised at 1 to 8 bits, as they are or by a fitted
grid; some images are flipped, inverted, made noisy, or tightened as the fit of a budget does. Validation is
on the other 5,000 and on CIFAR-100's test images; CIFAR-10 and all other test data are never seen. The file
is part of the wire format: once blobs are out, a better network is a new file under a new coder number.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fedbits import data
from fedbits.coding.network import SHAPES, write_layers
from fedbits.parameterization.entropy import Observations, observe, perceptron, rounded, spent
from fedbits.parameterization.tighten import tighten

FOLDER = Path("runs/prior")
FIELDS = ("inputs", "centre", "octave", "symbols", "bits")
# data set, its part, images at each width, side divided by, share of positions taken
SOURCES = {
    "grey": [
        ("fashion_mnist", "train", 800, 1, 0.4),
        ("fashion_mnist", "train", 1200, 2, 0.4),
        ("fashion_mnist", "train", 1000, 4, 0.3),
        ("cifar100", "train", 150, 1, 0.4),
        ("cifar100", "train", 200, 2, 0.4),
    ],
    "colour": [
        ("cifar100", "train", 600, 1, 0.2),
        ("cifar100", "train", 900, 2, 0.3),
        ("cifar100", "train", 800, 4, 0.3),
    ],
}
VALIDATION = {
    "grey": [("fashion_mnist", "validation", 100, 1, 0.5), ("fashion_mnist", "validation", 200, 2, 0.5)],
    "colour": [("cifar100", "validation", 60, 1, 0.2), ("cifar100", "validation", 100, 2, 0.3)],
}
_FASHION_TRAINING = 55_000
_TYPICAL_BITS = [
    1.0,
    0.25,
    0.5,
    0.8,
    1.1,
    1.6,
    2.2,
    3.0,
    3.7,
]  # of a symbol at each width: equalises the loss


def images(name: str, part: str, count: int, kind: str, rng: np.random.Generator) -> Tensor:
    """Random images ``[count, channels, height, width]`` in 0..255."""
    loaded = data.load(name)
    source = loaded.test if (name, part) == ("cifar100", "validation") else loaded.train
    first, last = 0, len(source)
    if name == "fashion_mnist":
        first, last = (_FASHION_TRAINING, last) if part == "validation" else (0, _FASHION_TRAINING)
    index = torch.from_numpy(first + rng.choice(last - first, count, replace=False))
    samples = source.samples[index].reshape(count, *source.spec.grid_shape).float()
    return samples.mean(1, keepdim=True) if kind == "grey" else samples


def degraded(samples: Tensor, rng: np.random.Generator) -> Tensor:
    """Flipped, inverted or noisy, each sometimes."""
    if rng.random() < 0.5:
        samples = samples.flip(3)
    if rng.random() < 0.05:
        samples = 255 - samples
    if rng.random() < 0.2:
        noise = torch.from_numpy(rng.standard_normal(samples.shape)).float()
        if rng.random() < 0.5:
            noise = 2 * F.avg_pool2d(noise, 3, stride=1, padding=1)
        samples = samples + noise * float(rng.uniform(2, 50))
    return samples.clamp(0, 255)


def quantised(samples: Tensor, bits: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Symbols: the highest bits, or positions on a fitted grid, rounded or tightened."""
    if rng.random() < 0.35:
        return samples.numpy().astype(np.int64) >> (8 - bits)
    low, high = (float(np.quantile(samples, q)) for q in (rng.uniform(0, 0.02), 1 - rng.uniform(0, 0.02)))
    last = (1 << bits) - 1
    position = ((samples - low) / (high - low) * last).clamp(0, last)
    strength = 10 ** rng.uniform(-2, -0.5) if bits <= 4 and rng.random() < 0.2 else 0.0
    return tighten(position, 1 << bits, strength).numpy()


def gather(kind: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, sources in (("train", SOURCES), ("validation", VALIDATION)):
        rng = np.random.default_rng(1 if name == "train" else 2)
        parts: list[Observations] = []
        for bits in range(1, 9):
            for dataset, part, count, factor, share in sources[kind]:
                for _ in range(1 if name == "validation" else 4):  # degraded in four ways
                    samples = images(dataset, part, max(8, count // 4), kind, rng)
                    samples = F.avg_pool2d(samples, factor)
                    samples = samples if name == "validation" else degraded(samples, rng)
                    parts.append(observe(quantised(samples, bits, rng), bits, share, rng))
            print(kind, name, bits, "bits:", sum(map(len, parts)), "symbols", flush=True)
        torch.save(
            {field: torch.cat([getattr(part, field) for part in parts]) for field in FIELDS},
            FOLDER / f"{kind}-{name}.pt",
        )


def loaded(kind: str, name: str) -> Observations:
    return Observations(**torch.load(FOLDER / f"{kind}-{name}.pt", weights_only=True))


def validate(network: nn.Module, held_out: Observations) -> list[float]:
    with torch.no_grad():
        bits = torch.cat(
            [spent(network, held_out.at(rows)) for rows in torch.arange(len(held_out)).split(1 << 16)]
        )
    return [round(float(bits[held_out.bits == width].mean()), 4) for width in range(1, 9)]


def train(kind: str, minutes: float, batch: int = 4096, rate: float = 2e-3) -> None:
    draws = torch.Generator().manual_seed(0)
    symbols, held_out = loaded(kind, "train"), loaded(kind, "validation")
    network, weight = perceptron(SHAPES[kind]), 1 / torch.tensor(_TYPICAL_BITS)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    started, steps, reported = time.monotonic(), 0, 0
    while (done := (time.monotonic() - started) / (60 * minutes)) < 1:
        optimizer.param_groups[0]["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * done)) + 1e-5
        chosen = symbols.at(torch.randint(len(symbols), (batch,), generator=draws))
        loss = (spent(network, chosen) * weight[chosen.bits.long()]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        if done * 8 > reported:
            reported += 1
            print(f"{done:.0%}, step {steps}:", validate(network, held_out), flush=True)
            torch.save(network.state_dict(), FOLDER / f"{kind}.pt")
    print(f"step {steps}:", validate(network, held_out))
    torch.save(network.state_dict(), FOLDER / f"{kind}.pt")


def write(path: Path) -> None:
    """Both networks, rounded to integers."""
    layers = []
    for kind, widths in SHAPES.items():
        network = perceptron(widths)
        network.load_state_dict(torch.load(FOLDER / f"{kind}.pt", weights_only=True))
        layers += rounded(network).layers
    path.write_bytes(write_layers(layers))
    print(path, path.stat().st_size, "bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["gather", "train", "write"])
    parser.add_argument("kind", nargs="?", choices=list(SHAPES))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--to", type=Path, default=Path("fedbits/coding/prior.bin"))
    args = parser.parse_args()
    if args.step == "write":
        write(args.to)
    elif args.step == "gather":
        gather(args.kind)
    else:
        train(args.kind, args.minutes)


if __name__ == "__main__":
    main()
