"""The uniform quantiser: its levels, its gradients, and what travels of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedbits.errors import ConfigError, CorruptError
from fedbits.quantization import Grid, QuantizerConfig, UniformQuantizer, round_straight_through
from fedbits.quantization.uniform import clipped, column

BITS = range(1, 9)


def quantizer(bits: int = 2, low: float = -1.0, step: float = 0.5, channels: int = 1) -> UniformQuantizer:
    return UniformQuantizer(bits, torch.full((channels,), low), torch.full((channels,), step))


@pytest.mark.parametrize("bits", BITS)
def test_levels(bits: int) -> None:
    q = quantizer(bits, -1.0, 0.25)
    symbols = torch.arange(q.levels).view(-1, 1, 1, 1)
    values = q.grid().lookup(symbols)
    assert q.levels == 2**bits
    assert values.dtype == torch.float64
    assert torch.equal(values.flatten(), -1.0 + 0.25 * torch.arange(2**bits, dtype=torch.float64))
    assert torch.equal(q.symbols(values.float()), symbols)
    assert torch.equal(q(values.float()).detach(), values.float())


def test_nearest_level_and_clipping() -> None:
    q = quantizer()
    values = torch.tensor([-9.0, -0.8, -0.7, 0.1, 0.3, 9.0]).view(-1, 1, 1, 1)
    assert q.symbols(values).flatten().tolist() == [0, 0, 1, 2, 3, 3]
    assert q(values).flatten().tolist() == [-1.0, -1.0, -0.5, 0.0, 0.5, 0.5]


def test_each_channel_has_its_own_grid() -> None:
    q = UniformQuantizer(1, torch.tensor([0.0, 10.0]), torch.tensor([1.0, 2.0]))
    values = torch.tensor([[0.9, 11.5]]).view(1, 2, 1, 1)
    assert q(values).flatten().tolist() == [1.0, 12.0]


@pytest.mark.parametrize("bits", [0, 9, -1])
def test_bits_out_of_range(bits: int) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 8"):
        quantizer(bits)


def test_inside_the_range_gradients_pass_straight_through() -> None:
    q = quantizer()
    values = torch.tensor([-0.9, -0.4, 0.2]).view(-1, 1, 1, 1).requires_grad_()
    weight = torch.tensor([1.0, 2.0, 3.0]).view(-1, 1, 1, 1)
    (q(values) * weight).sum().backward()
    assert torch.allclose(values.grad, weight)
    assert float(q.low.grad) == pytest.approx(0.0, abs=1e-6)
    rounding = (q(values) - values).detach() / 0.5
    assert float(q.width.grad) == pytest.approx(float((rounding * weight).sum()) / 3, abs=1e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_outside_the_range_gradients_go_to_the_grid_and_to_values_that_they_lead_back(sign: float) -> None:
    q = quantizer()
    values = torch.tensor([-5.0, 5.0, 6.0]).view(-1, 1, 1, 1).requires_grad_()
    (sign * q(values)).sum().backward()
    led_back = [0.0, 1.0, 1.0] if sign > 0 else [-1.0, 0.0, 0.0]
    assert values.grad.flatten().tolist() == led_back
    assert float(q.low.grad) == pytest.approx(3.0 * sign)
    assert float(q.width.grad) == pytest.approx(2.0 * sign)  # the top level is low + width


def test_the_ends_of_the_range_are_inside() -> None:
    for sign in (1.0, -1.0):
        values = torch.tensor([-1.0, 0.5]).view(-1, 1, 1, 1).requires_grad_()
        (sign * quantizer()(values)).sum().backward()
        assert values.grad.flatten().tolist() == [sign, sign]


def descend(values: Tensor, wanted: float, steps: int = 300) -> tuple[Tensor, UniformQuantizer]:
    """Values, and a grid that hardly moves, after descent to where they are seen at ``wanted``."""
    q, values = quantizer(), values.clone().requires_grad_()
    for _ in range(steps):
        (gradient,) = torch.autograd.grad((q(values) - wanted).square().sum() / 2, values)
        values = (values.detach() - 0.05 * gradient).requires_grad_()
    return values.detach(), q


def test_values_outside_come_back_when_they_are_wanted_and_never_go_further_out() -> None:
    start = torch.tensor([-3.0, -1.2, 0.9, 3.0]).view(-1, 1, 1, 1)
    values, q = descend(start, wanted=0.0)
    assert q(values).flatten().tolist() == [0.0] * 4
    values, q = descend(start, wanted=9.0)  # beyond the highest level, 0.5
    assert q(values).flatten().tolist() == [0.5] * 4
    assert values[2:].flatten().tolist() == start[2:].flatten().tolist()
    assert values[:2].max().item() < 1.5  # one step beyond


@pytest.mark.parametrize("shape", [(5, 2, 3, 3), (40, 2), (3, 2, 4)])
def test_clipping_broadcasts_as_the_formula_does(shape: tuple[int, ...]) -> None:
    """``low`` and ``step`` receive what autograd makes of the formula, also where a grid is shared."""
    generator = torch.Generator().manual_seed(0)
    weight, values = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    for groups in (1, 2):
        found = []
        for clip in (clipped, lambda v, low, step, *ends: ((v - low) / step).clamp(*ends)):
            low, step = torch.linspace(-0.5, -0.7, groups), torch.linspace(0.5, 0.2, groups)
            low.requires_grad_(), step.requires_grad_()
            (clip(values, column(low, values), column(step, values), 0, 3) * weight).sum().backward()
            found.append(torch.stack([low.grad, step.grad]))
        torch.testing.assert_close(*found)


def test_rounding_is_exact_forward_and_the_identity_backward() -> None:
    values = (torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 300).requires_grad_()
    rounded = round_straight_through(values)
    assert torch.equal(rounded.detach(), values.detach().round())
    rounded.sum().backward()
    assert torch.equal(values.grad, torch.ones(1000))


def test_covering_spans_the_samples_less_their_tails() -> None:
    samples = torch.linspace(-2, 2, 5000).view(-1, 1, 1, 1)
    q = UniformQuantizer.covering(4, samples, QuantizerConfig())
    assert q.low.item() == pytest.approx(-2, abs=0.01)
    assert (q.low + 15 * q.step).item() == pytest.approx(2, abs=0.01)
    samples[0], samples[-1] = -100, 100
    q = UniformQuantizer.covering(4, samples, QuantizerConfig())
    assert q.low.item() == pytest.approx(-2, abs=0.01)


@given(
    bits=st.integers(1, 8),
    low=st.floats(-1e6, 1e6, width=32),
    step=st.floats(0, 1e6, width=32),
    seed=st.integers(0, 9),
)
def test_what_travels_gives_the_same_levels(bits: int, low: float, step: float, seed: int) -> None:
    """Also for grids beyond what float16 holds, and steps too small to tell levels apart."""
    q = quantizer(bits, low, step, channels=2)
    values = torch.rand(20, 2, 1, 1, generator=torch.Generator().manual_seed(seed)) * 2**bits * step + low
    side = q.grid().side_information()
    received = Grid.from_side_information(bits, side, 2)
    symbols = q.symbols(values)
    assert len(side) == 8
    assert received.side_information() == side
    assert torch.equal(received.lookup(symbols), q.grid().lookup(symbols))
    assert torch.equal(received.symbols(received.lookup(symbols).float()), symbols)
    assert bool((received.lookup(symbols + 1) > received.lookup(symbols)).all())


def side(*values: float) -> bytes:
    return np.array(values, "<f2").tobytes()


@pytest.mark.parametrize(
    ("bits", "information"),
    [
        (0, side(0, 1)),
        (9, side(0, 1)),
        (3, b""),
        (3, side(0)),
        (3, side(0, 1, 0, 1)),
        (3, side(0, 1)[:3]),
        (3, side(np.nan, 1)),
        (3, side(0, np.nan)),
        (3, side(np.inf, 1)),
        (3, side(0, np.inf)),
        (3, side(0, 0)),
        (3, side(0, -1)),
        (3, side(0, 6e-8)),
        (3, side(60000, 0.01)),
    ],
)
def test_wrong_side_information(bits: int, information: bytes) -> None:
    with pytest.raises(CorruptError):
        Grid.from_side_information(bits, information, 1)
