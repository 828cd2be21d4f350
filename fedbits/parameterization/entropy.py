"""Training of entropy networks, the float form of :mod:`fedbits.coding.network`.

The networks that fedbits ships are trained with this (benchmarks/train_prior.py), and so are those that
travel in a blob: ones of few weights, trained on the symbols of that blob itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedbits.coding import Meter, code_grid
from fedbits.coding.grid import OWN
from fedbits.coding.network import COMPONENTS, WEIGHT_BITS, EntropyNetwork, Layer
from fedbits.coding.surroundings import inputs_of, surroundings
from fedbits.coding.view import MARGIN, View

_LEAST_SYMBOLS = 1 << 16  # below these, no network has paid for its weights
_MOST_SEEN = 1 << 20  # symbols that training draws from


@dataclass(frozen=True)
class EntropyTraining:
    """How a network is trained on the symbols of one blob."""

    hidden: int = 24
    steps: int = 1500
    batch: int = 2048
    learning_rate: float = 4e-3
    decay: float = 2e-3  # of weights: small ones cost few bits
    seed: int = 0


@dataclass(frozen=True)
class Observations:
    """What a network sees of ``n`` symbols, and they: int16 tensors ``[n]``, inputs ``[n, features]``."""

    inputs: Tensor
    centre: Tensor
    octave: Tensor
    symbols: Tensor
    bits: Tensor

    def __len__(self) -> int:
        return len(self.symbols)

    def at(self, rows: Tensor) -> Observations:
        """Some of them."""
        return Observations(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def observe(grid: NDArray[np.int64], bits: int, share: float, draws: np.random.Generator) -> Observations:
    """A ``share`` of the symbols ``[n, channels, height, width]``, with what surrounds them."""
    n, channels, height, width = grid.shape
    padded = np.zeros((n, channels, height + MARGIN, width + 2 * MARGIN), np.uint8)
    padded[:, :, MARGIN:, MARGIN:-MARGIN] = grid
    found: list[list[NDArray[np.int16]]] = []
    for row, column, channel in np.ndindex(height, width, channels):
        view = View(padded, np.zeros(n, np.int64), slice(0, n), channel, row, column)
        seen, taken = surroundings(view, 1 << bits), draws.random(n) < share
        arrays = (seen.inputs, seen.centre, seen.octave, grid[:, channel, row, column])
        found.append([array[taken].astype(np.int16) for array in arrays])
    columns = [torch.from_numpy(np.concatenate(parts)) for parts in zip(*found, strict=True)]
    inputs, centre, octave, symbols = columns
    return Observations(inputs, centre, octave, symbols, torch.full_like(symbols, bits))


def perceptron(widths: tuple[int, ...], seed: int = 0) -> nn.Sequential:
    """A ReLU network of ``widths``, inputs first, whose mixture begins with spread widths and no opinion."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    last = layers[-2]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.zero_()
        last.bias[-COMPONENTS:] = torch.linspace(-1, 2, COMPONENTS)
    return nn.Sequential(*layers[:-1])


def spent(network: nn.Module, seen: Observations) -> Tensor:
    """Bits of each symbol ``[n]``, differentiable."""
    share, mean, log_width = network(seen.inputs.float() / 256).chunk(3, dim=1)
    last = (2.0 ** seen.bits.float() - 1)[:, None]
    scale = 2 ** (seen.octave.float()[:, None] / 8)
    mean = seen.centre.float()[:, None] + scale * mean
    width = (scale * 2 ** log_width.clamp(-8, 8)).clamp(2**-5, 2**9)
    symbol = seen.symbols.float()[:, None]
    above = torch.where(symbol >= last, 1.0, torch.sigmoid((symbol + 0.5 - mean) / width))
    below = torch.where(symbol <= 0, 0.0, torch.sigmoid((symbol - 0.5 - mean) / width))
    probability = (share.softmax(1) * (above - below)).sum(1)
    return -torch.log2(probability * (1 - 1e-4) + 1e-4 / (last[:, 0] + 1))


def rounded(network: nn.Sequential, fraction_bits: int = WEIGHT_BITS) -> EntropyNetwork:
    """Its integer form; ``fraction_bits``: of weights and biases, at most the format's 10."""
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    return EntropyNetwork(
        [
            Layer.rounded(layer.weight.detach().numpy(), layer.bias.detach().numpy(), fraction_bits)
            for layer in layers
        ]
    )


def own_network(
    grid: NDArray[np.int64], levels: int, config: EntropyTraining = EntropyTraining()
) -> EntropyNetwork | None:
    """The network that codes ``grid`` ``[n, channels, height, width]`` and itself in the fewest bits.

    None for grids so small that no network pays for its weights.
    """
    if grid.size < _LEAST_SYMBOLS:
        return None
    draws = np.random.default_rng(config.seed)
    seen = observe(grid, (levels - 1).bit_length(), min(1.0, _MOST_SEEN / grid.size), draws)
    network = _trained(seen, config, grid.shape[1])
    sizes = [(_bits(grid, levels, candidate), candidate) for candidate in _roundings(network)]
    return min(sizes, key=lambda sized: sized[0])[1]


def _trained(seen: Observations, config: EntropyTraining, channels: int) -> nn.Sequential:
    network = perceptron((inputs_of(channels), config.hidden, 3 * COMPONENTS), config.seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.decay)
    draws = torch.Generator().manual_seed(config.seed)
    for step in range(config.steps):
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / config.steps)
        optimizer.param_groups[0]["lr"] = config.learning_rate * cosine
        loss = spent(network, seen.at(torch.randint(len(seen), (config.batch,), generator=draws))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def _roundings(network: nn.Sequential) -> Iterator[EntropyNetwork]:
    for fraction_bits in (3, 4, 5, 6):
        yield rounded(network, fraction_bits)


def _bits(grid: NDArray[np.int64], levels: int, network: EntropyNetwork) -> float:
    meter = Meter()
    some = grid[:: max(1, grid.size // _MOST_SEEN)]
    code_grid(meter, OWN, levels, (*some.shape,), some, network=network)
    return meter.bits
