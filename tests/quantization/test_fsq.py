"""Companding, and the two ways in which training sees it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fedbits.quantization import FsqQuantizer, Moment, QuantizerConfig
from fedbits.quantization.fsq import companded

VALUES = torch.randn(400, 2, 2, 2, generator=torch.Generator().manual_seed(0))


def covering(bits: int = 3) -> FsqQuantizer:
    return FsqQuantizer.covering(bits, VALUES, QuantizerConfig("fsq"))


@pytest.mark.parametrize("levels", [2, 3, 4, 7, 8, 256])
def test_levels_are_those_of_the_formula(levels: int) -> None:
    """QuADD Eq. 13: 2/(L-1) · floor((L-1)(tanh x + 1)/2 + ½) - 1."""
    x = torch.linspace(-4, 4, 999, dtype=torch.float64)
    position = companded(x, torch.tensor(-1.0), torch.tensor(2 / (levels - 1), dtype=torch.float64), levels)
    ours = 2 / (levels - 1) * position.round() - 1
    formula = 2 / (levels - 1) * ((levels - 1) * (x.tanh() + 1) / 2 + 0.5).floor() - 1
    torch.testing.assert_close(ours, formula)


@pytest.mark.parametrize("bits", range(1, 9))
def test_stored_values_stand_for_their_samples(bits: int) -> None:
    quantizer = covering(bits)
    stored = quantizer.stored(1000 * VALUES)  # far beyond the range, and finite
    assert bool(stored.isfinite().all())
    stored = quantizer.stored(VALUES)
    position = quantizer.position(stored)
    low, step = quantizer._columns(VALUES)
    wanted = ((VALUES - low) / step).clamp(0, quantizer.levels - 1)
    off = (position - wanted).abs()
    assert off.max().item() < (0.51 if bits < 7 else 1.3)  # at the ends
    assert off.median().item() < 1e-2


def test_half_of_the_steps_have_noise() -> None:
    quantizer = covering()
    stored = quantizer.stored(VALUES)
    hard = quantizer.eval()(stored)
    quantizer.train()
    noisy, noises = 0, []
    for step in range(200):
        quantizer.begin(Moment(step, 200, 4), stored)
        seen = quantizer(stored)
        if torch.equal(seen, hard):
            continue
        noisy += 1
        noises.append(noise_of(quantizer, stored, seen))
    assert 70 < noisy < 130
    assert -0.5 <= min(noise.min().item() for noise in noises) < -0.49
    assert 0.49 < max(noise.max().item() for noise in noises) <= 0.5
    assert abs(noises[0].mean().item()) < 0.05
    assert not torch.equal(noises[0], noises[1])


def noise_of(quantizer: FsqQuantizer, stored: Tensor, seen: Tensor) -> Tensor:
    low, step = (side.detach() for side in quantizer._columns(stored))
    return ((seen - low) / step - quantizer.position(stored)).detach().clamp(-0.5, 0.5)


def test_the_seed_and_the_step_decide_the_noise() -> None:
    stored = covering().stored(VALUES)

    def seen(seed: int) -> list[Tensor]:
        quantizer, results = covering(), []
        for step in range(20):
            quantizer.begin(Moment(step, 20, seed), stored)
            results.append(quantizer(stored).detach())
        return results

    first, again, other = seen(1), seen(1), seen(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_nothing_is_random_in_the_end() -> None:
    quantizer = covering()
    stored = quantizer.stored(VALUES)
    for step in range(6):
        quantizer.begin(Moment(step, 6, 0), stored)
    quantizer.settle(stored)
    assert torch.equal(quantizer(stored), quantizer.eval()(stored))


def test_the_penalty_compares_what_is_companded() -> None:
    quantizer = covering(2)
    on_levels = quantizer.stored(quantizer.eval()(quantizer.stored(VALUES)))
    inside = (quantizer.symbols(on_levels) % 3 > 0).all(dim=1).flatten(1).all(1)
    assert quantizer.penalty(on_levels[inside]).item() < 1e-6
    assert quantizer.penalty(quantizer.stored(VALUES)).item() > 1
