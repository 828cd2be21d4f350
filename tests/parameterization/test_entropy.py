"""Entropy networks trained on the symbols that they code."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from fedbits.coding import Meter, code_grid, smallest_coder
from fedbits.coding.grid import OWN
from fedbits.parameterization.entropy import EntropyTraining, observe, own_network, perceptron, rounded, spent

QUICK = EntropyTraining(hidden=8, steps=300, batch=512)


def digits(count: int) -> NDArray[np.int64]:
    """Real 8×8 images of 16 levels, of a kind that the shipped networks never saw."""
    images = load_digits().images[:count].astype(np.int64)
    return np.minimum(images, 15)[:, None]


def bits(grid: NDArray[np.int64], number: int, network: object = None) -> float:
    meter = Meter()
    code_grid(meter, number, 16, (*grid.shape,), grid, network=network)  # type: ignore[arg-type]
    return meter.bits


def test_an_own_network_pays_for_its_weights_on_images_of_a_new_kind() -> None:
    grid = digits(1100)
    sent = own_network(grid, 16, QUICK)
    assert sent is not None
    assert bits(grid, OWN, sent) < bits(grid, 5)
    number, least = smallest_coder(grid, 16, quick=True, network=sent)
    assert number == OWN
    assert least == bits(grid, OWN, sent)


def test_a_small_grid_has_no_network_of_its_own() -> None:
    assert own_network(digits(100), 16, QUICK) is None


def test_the_same_seed_gives_the_same_network() -> None:
    short = EntropyTraining(hidden=4, steps=3, batch=64)
    first, second = (own_network(digits(1100), 16, short) for _ in range(2))
    assert first is not None
    assert second is not None
    for before, after in zip(first.layers, second.layers, strict=True):
        assert np.array_equal(before.weights, after.weights)
        assert np.array_equal(before.bias, after.bias)


def test_training_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    perceptron((30, 4, 12), seed=3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_training_minimises_is_what_coding_spends() -> None:
    """The float form and the integers agree within a percent; noise makes all weights matter."""
    grid = digits(60)
    network = perceptron((30, 6, 12), seed=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    seen = observe(grid, 4, 1.0, np.random.default_rng(0))
    assert len(seen) == grid.size
    with torch.no_grad():
        expected = float(spent(network, seen).sum())
    sent = rounded(network)
    header = bits(grid[:0], OWN, sent)
    assert abs(bits(grid, OWN, sent) - header - expected) < 0.01 * expected
