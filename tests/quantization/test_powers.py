"""Additive powers of two: the levels, and finding the nearest one."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from fedbits.quantization import ApotQuantizer, Moment, QuantizerConfig
from fedbits.quantization.grid import POWERS, UNIFORM, between, multiples, nearest
from fedbits.quantization.powers import additive_powers, magnitudes


@pytest.mark.parametrize(
    ("bits", "expected"),
    [(1, [0, 1]), (2, [0, 0.25, 0.5, 1]), (3, [0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1])],
)
def test_the_published_magnitudes(bits: int, expected: list[float]) -> None:
    found = magnitudes(bits)
    assert [level / found[-1] for level in found] == expected


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_even_widths_are_sums_of_the_published_sets(bits: int) -> None:
    """QuADD Eq. 9 with base width 2: p_i is 0 or 2^-(i + j n) for j = 0, 1, 2."""
    terms = bits // 2
    sums = {0.0}
    for i in range(terms):
        powers = [0.0, *(2.0 ** -(i + j * terms) for j in range(3))]
        sums = {total + power for total in sums for power in powers}
    found = magnitudes(bits)
    assert [level / found[-1] for level in found] == [level / max(sums) for level in sorted(sums)]


@pytest.mark.parametrize("bits", range(2, 9))
def test_signed_levels(bits: int) -> None:
    levels = additive_powers(bits)
    distinct = sorted(set(levels))
    assert len(levels) == 2**bits and len(distinct) == 2**bits - 1
    assert list(levels) == sorted(levels)
    assert distinct == [-level for level in reversed(distinct)]
    assert 0 < max(levels) < 2**10
    assert min(later - earlier for earlier, later in pairwise(distinct)) == 1


def test_one_bit_is_a_sign() -> None:
    assert additive_powers(1) == (-1, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spacing", [UNIFORM, POWERS])
@pytest.mark.parametrize("bits", range(1, 9))
def test_the_nearest_of_all_levels(bits: int, spacing: int, dtype: torch.dtype) -> None:
    levels = multiples(spacing, bits).unique().to(dtype)
    generator = torch.Generator().manual_seed(bits)
    steps = torch.cat([levels, torch.randn(500, generator=generator, dtype=dtype) * levels[-1]]).view(-1, 1)
    found = nearest(steps, spacing, bits)
    distances = (steps - levels).abs()
    assert torch.equal((steps - found).abs().flatten(), distances.min(1).values)
    position = between(steps, spacing, bits)
    assert torch.equal(levels[position.round().long()], found)
    assert torch.equal(position[: len(levels)].flatten(), torch.arange(len(levels), dtype=dtype))


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
def test_positions_rise_with_values(bits: int) -> None:
    last = multiples(POWERS, bits)[-1].item()
    steps = torch.linspace(-1.1 * last, 1.1 * last, 5000, dtype=torch.float64, requires_grad=True)
    position = between(steps, POWERS, bits)
    assert bool((position.diff() >= 0).all()) and position.diff().max().item() < 1
    position.sum().backward()
    assert steps.grad is not None
    inside = steps.detach().abs() < last
    assert bool((steps.grad[inside] > 0).all()) and bool((steps.grad[~inside] == 0).all())


def test_of_what_is_no_number_nothing_is_looked_up_beyond_the_tables() -> None:
    steps = torch.tensor([float("nan"), float("inf"), -float("inf")])
    assert nearest(steps, POWERS, 4)[1:].tolist() == [multiples(POWERS, 4)[-1], multiples(POWERS, 4)[0]]


def standard_normal(channels: int = 2) -> torch.Tensor:
    scale = torch.tensor([1.0, 3.0, 0.5][:channels]).view(1, -1, 1, 1)
    drawn = torch.randn(5000, channels, 2, 2, generator=torch.Generator().manual_seed(3))
    return drawn * scale + 2 * scale


def test_standardised_grids_follow_mean_and_deviation() -> None:
    values = standard_normal()
    config = QuantizerConfig("apot", "tensor")
    quantizer = ApotQuantizer(4, values, config)
    assert quantizer.alpha.shape == (1,)
    torch.testing.assert_close(quantizer.mean, torch.tensor([2.0, 6.0]), rtol=0.02, atol=0)
    torch.testing.assert_close(quantizer.deviation, torch.tensor([1.0, 3.0]), rtol=0.02, atol=0)
    quantizer.begin(Moment(0, 1, 0), 2 * values + 1)
    torch.testing.assert_close(quantizer.mean, torch.tensor([5.0, 13.0]), rtol=0.02, atol=0)
    grid = quantizer.grid()
    torch.testing.assert_close(grid.origin.float(), quantizer.mean, rtol=1e-3, atol=0)
    assert torch.equal(grid.lookup(torch.full((1, 2, 1, 1), 7)), grid.origin.double().view(1, 2, 1, 1))
    mean = quantizer.mean.clone()
    quantizer.settle(values)
    assert not torch.equal(quantizer.mean, mean)


def test_without_statistics_zero_is_a_level() -> None:
    quantizer = ApotQuantizer(3, standard_normal(), QuantizerConfig("apot", standardised=False))
    quantizer.begin(Moment(0, 1, 0), standard_normal() + 5)
    assert quantizer.grid().origin.tolist() == [0, 0]
    assert quantizer.grid().lookup(torch.full((1, 2, 1, 1), 3)).abs().max().item() == 0


def test_of_many_bits_alpha_starts_at_the_percentile() -> None:
    values = torch.linspace(-1, 1, 20001).view(-1, 1, 1, 1)
    quantizer = ApotQuantizer(8, values, QuantizerConfig("apot", standardised=False, tail=0.05))
    assert quantizer.alpha.item() == pytest.approx(0.95, abs=1e-3)


@pytest.mark.parametrize("bits", [2, 3])
def test_of_few_bits_alpha_starts_lower_where_that_is_nearer(bits: int) -> None:
    values = standard_normal(1)
    quantizer = ApotQuantizer(bits, values, QuantizerConfig("apot", tail=0.001))
    error = (quantizer(values) - values).square().mean()
    with torch.no_grad():
        quantizer.log_alpha.fill_(3.29).log_()  # where a thousandth of a bell's values is beyond
    assert error.item() < 0.7 * (quantizer(values) - values).square().mean().item()


def test_one_bit_is_the_mean_magnitude_on_either_side() -> None:
    values = standard_normal(1)
    quantizer = ApotQuantizer(1, values, QuantizerConfig("apot"))
    side = (2 / torch.pi) ** 0.5
    assert sorted(quantizer(values).unique().tolist()) == pytest.approx([2 - side, 2 + side], abs=0.03)
