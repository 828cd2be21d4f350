"""Cells of tanh: from lines to stairs."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from fedbits.quantization import DdqQuantizer, Moment, QuantizerConfig, UniformQuantizer
from fedbits.quantization.ddq import soft_rounded

POSITION = torch.linspace(0, 7, 7001, dtype=torch.float64)


def covering(bits: int = 3, **settings: object) -> DdqQuantizer:
    values = torch.linspace(-2, 5, 100).view(-1, 1, 1, 1)
    return DdqQuantizer.covering(bits, values, QuantizerConfig("ddq", **settings))  # type: ignore[arg-type]


def test_cold_it_is_the_identity_and_hot_it_rounds() -> None:
    torch.testing.assert_close(soft_rounded(POSITION, 1e-4), POSITION)
    between = POSITION[(POSITION % 1 - 0.5).abs() > 1e-6]  # halfway, it is halfway
    assert torch.equal(soft_rounded(between, 1e9), between.round())
    torch.testing.assert_close(soft_rounded(torch.tensor(2.5), 1e9), torch.tensor(2.5))


@pytest.mark.parametrize("temperature", [0.1, 2.0, 12.0, 100.0])
def test_levels_are_kept_and_cells_meet(temperature: float) -> None:
    levels = torch.arange(8, dtype=torch.float64)
    torch.testing.assert_close(soft_rounded(levels, temperature), levels)
    torch.testing.assert_close(soft_rounded(levels[1:] - 1e-12, temperature), levels[1:])
    seen = soft_rounded(POSITION, temperature)
    assert bool((seen.diff() >= 0).all())
    assert bool((seen.round() == POSITION.round())[(POSITION % 1 - 0.5).abs() > 1e-6].all())


def test_by_default_it_leaves_out_a_tail_and_as_in_the_paper_none() -> None:
    values = torch.cat([torch.tensor([-50.0, 80.0]), torch.linspace(-2, 5, 5000)]).view(-1, 1, 1, 1)
    paper = DdqQuantizer.covering(2, values, QuantizerConfig("ddq", tail=0.0))
    assert (paper.low.item(), (paper.low + paper.width).item()) == pytest.approx((-50, 80))
    robust = DdqQuantizer.covering(2, values, QuantizerConfig("ddq"))
    assert (robust.low.item(), (robust.low + robust.width).item()) == pytest.approx((-2, 5), abs=0.02)


def test_the_temperature_follows_the_run() -> None:
    quantizer = covering(temperature=(2.0, 32.0))
    seen = []
    for step in range(5):
        quantizer.begin(Moment(step, 5, 0), torch.zeros(1, 1, 1, 1))
        seen.append(quantizer.temperature)
    assert seen == pytest.approx([2, 4, 8, 16, 32])


def test_training_ends_at_what_is_sent() -> None:
    values = torch.randn(500, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    quantizer = covering(temperature=(1.0, 200.0))
    sent = quantizer.grid().lookup(quantizer.symbols(values))
    gaps = []
    for step in range(10):
        quantizer.train().begin(Moment(step, 10, 0), values)
        gaps.append((quantizer(values) - sent).abs().mean().item())
    assert all(later < earlier for earlier, later in pairwise(gaps))
    assert gaps[-1] < 0.02 * gaps[0]
    assert torch.equal(quantizer.eval()(values), sent.float())


def test_it_is_sent_as_a_uniform_grid() -> None:
    soft, uniform = covering(), covering()
    uniform.__class__ = UniformQuantizer
    assert soft.grid().side_information() == uniform.grid().side_information()


def test_gradients_are_those_of_the_soft_cells() -> None:
    """Steep in the middle of a cell and flat at its ends, where straight-through would give 1 everywhere."""
    quantizer = DdqQuantizer(2, torch.zeros(1), torch.ones(1))
    values = torch.tensor([0.02, 0.5, 0.98]).view(-1, 1, 1, 1).requires_grad_()
    quantizer.train()(values).sum().backward()
    assert values.grad is not None
    low, middle, high = values.grad.flatten().tolist()
    assert low == pytest.approx(high, rel=1e-3) and low < 1 < middle


def test_the_penalty_draws_values_to_levels() -> None:
    values = torch.randn(200, 1, 1, 1, generator=torch.Generator().manual_seed(1)).requires_grad_()
    quantizer = covering(2)
    quantizer.temperature = 4.0
    for _ in range(100):
        values.grad = None
        quantizer.penalty(values).backward()
        with torch.no_grad():
            values -= 0.1 * values.grad  # type: ignore[operator]
    off = (values - quantizer.eval()(values)).abs() / quantizer.step
    assert (off < 0.05).float().mean().item() > 0.95  # none stays in the middle of a cell
