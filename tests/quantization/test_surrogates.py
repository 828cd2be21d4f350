"""Surrogate gradients beside finite differences of the smooth functions that they are the gradients of.

A straight-through quantiser's smooth form is its formula with the rounding error held constant, which is also
what additive noise leaves of it. Values outside the range are the exception: there, what leads back inside
has the slope that the form has at the end of the range.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fedbits.quantization import (
    ApotQuantizer,
    DdqQuantizer,
    FsqQuantizer,
    Moment,
    QuantizerConfig,
    UniformQuantizer,
)
from fedbits.quantization.ddq import soft_rounded
from fedbits.quantization.fsq import companded

BITS = [1, 2, 3, 5, 8]
SMALL = 1e-6
Smooth = Callable[[Tensor, Tensor, Tensor], Tensor]  # of values, lowest level and width


def spread(n: int = 60, seed: int = 0) -> Tensor:
    """Float64 ``[n, 2, 1, 1]``; some are beyond the grids of the tests."""
    return 1.3 * torch.randn(n, 2, 1, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(like: Tensor) -> Tensor:
    return torch.randn(
        like.shape, generator=torch.Generator().manual_seed(9), dtype=like.dtype, device=like.device
    )


def slopes(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Central differences of a scalar function, one coordinate after the other."""
    found = torch.zeros_like(at)
    for number in range(at.numel()):
        moved = torch.zeros_like(at)
        moved.view(-1)[number] = SMALL
        found.view(-1)[number] = (function(at + moved) - function(at - moved)) / (2 * SMALL)
    return found


def as_column(groups: Tensor) -> Tensor:
    return groups.view(1, -1, 1, 1)


def inward(values: Tensor, lowest: Tensor, highest: Tensor, downhill: Tensor) -> Tensor:
    """Where a step of the sign of ``downhill`` does not lead a value further out of [lowest, highest]."""
    return ((values >= lowest) | (downhill > 0)) & ((values <= highest) | (downhill < 0))


def check(quantizer: UniformQuantizer, values: Tensor, smooth: Smooth, clips: bool = True) -> None:
    """Gradients with respect to values and grid are those of ``smooth``, which may clip; see the top."""
    weight = weights(values)
    low, width = quantizer.low.detach().clone(), quantizer.width.detach().clone()
    values.requires_grad_()
    (quantizer(values) * weight).sum().backward()
    assert values.grad is not None and quantizer.low.grad is not None and quantizer.width.grad is not None
    at = values.detach()

    def scalar(values: Tensor, low: Tensor, width: Tensor) -> Tensor:
        return (smooth(values, as_column(low), as_column(width)) * weight).sum()

    torch.testing.assert_close(smooth(at, as_column(low), as_column(width)), quantizer(at).detach())
    close = {"rtol": 1e-5, "atol": 1e-5}
    first, last = as_column(low), as_column(low + width)
    outside = (at < first) | (at > last)
    assert bool(outside.any())
    expected = slopes(lambda v: scalar(v, low, width), at)
    if clips:
        torch.testing.assert_close(expected[outside], torch.zeros_like(expected[outside]))
        ends = at.clamp(first + 2 * SMALL, last - 2 * SMALL)
        led = inward(at, first, last, -weight)
        assert bool(led[outside].any()) and not bool(led[outside].all())
        back = led * slopes(lambda v: scalar(v, low, width), ends)
        torch.testing.assert_close(values.grad[outside], back[outside], rtol=1e-3, atol=1e-3)
        expected = torch.where(outside, values.grad, expected)
    torch.testing.assert_close(values.grad, expected, **close)
    torch.testing.assert_close(quantizer.low.grad, slopes(lambda side: scalar(at, side, width), low), **close)
    torch.testing.assert_close(
        quantizer.width.grad, slopes(lambda side: scalar(at, low, side), width), **close
    )


def grid_of(kind: type[UniformQuantizer], bits: int) -> UniformQuantizer:
    """Of float64 numbers that float16 has as well."""
    last = 2**bits - 1
    step = torch.tensor([2.0 / last, 4.0 / last]).half().double()
    return kind(bits, torch.tensor([-1.0, -1.75]), step).double()


def residue(position: Tensor) -> Tensor:
    return (position.round() - position).detach()


@pytest.mark.parametrize("bits", BITS)
def test_uniform(bits: int) -> None:
    quantizer, values = grid_of(UniformQuantizer, bits), spread()
    last = quantizer.levels - 1
    error = residue(quantizer.position(values))

    def smooth(values: Tensor, low: Tensor, width: Tensor) -> Tensor:
        step = width / last
        return low + step * (((values - low) / step).clamp(0, last) + error)

    check(quantizer, values, smooth)


def moment(noisy: bool, quantizer: FsqQuantizer, values: Tensor) -> None:
    """Go to the first step that has noise, or has none."""
    for step in range(100):
        quantizer.begin(Moment(step, 100, 5), values)
        if (quantizer._noisy is not None) == noisy:
            return
    raise AssertionError("half of the steps have noise")


@pytest.mark.parametrize("noisy", [True, False])
@pytest.mark.parametrize("bits", BITS)
def test_fsq(bits: int, noisy: bool) -> None:
    quantizer, values = grid_of(FsqQuantizer, bits), spread()
    assert isinstance(quantizer, FsqQuantizer)
    moment(noisy, quantizer, values)
    last = quantizer.levels - 1
    low, step = as_column(quantizer.low), as_column(quantizer.step)
    added = ((quantizer(values) - low) / step - companded(values, low, step, quantizer.levels)).detach()
    assert -0.5 <= added.min().item() < -0.4 and 0.4 < added.max().item() <= 0.5

    def smooth(values: Tensor, low: Tensor, width: Tensor) -> Tensor:
        """As QuADD writes it: levels over [-1, 1], scaled and moved to where the samples are."""
        squashed = ((values - low - width / 2) / (width / 2)).tanh() + added * 2 / last
        return low + width / 2 + width / 2 * squashed

    check(quantizer, values, smooth, clips=False)


@pytest.mark.parametrize("temperature", [0.5, 2.0, 7.0])
@pytest.mark.parametrize("bits", BITS)
def test_ddq(bits: int, temperature: float) -> None:
    quantizer, values = grid_of(DdqQuantizer, bits), spread()
    assert isinstance(quantizer, DdqQuantizer)
    quantizer.temperature = temperature
    last = quantizer.levels - 1

    def smooth(values: Tensor, low: Tensor, width: Tensor) -> Tensor:
        """Eqs. 4 to 7 with k and the midpoints written out; kΔ is a constant, as the schedule has it."""
        step = width / last
        inside = values.clamp(low, low + width)
        cell = ((inside - low) / step).floor().clamp(max=last - 1)
        middle = low + (cell + 0.5) * step
        k = temperature / step
        phi = (k * (inside - middle)).tanh() / (0.5 * k * step).tanh()
        return low + (cell + (phi + 1) / 2) * step

    check(quantizer, values, smooth)


def test_ddq_is_differentiable_between_levels() -> None:
    position = torch.linspace(0.05, 6.95, 70, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda position: soft_rounded(position, 3.0), position)


def rcf(values: Tensor, alpha: Tensor, levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x̂ = α Π(clip(x/α)), where x is inside the range, and what α receives, as the formulas say."""
    scaled = values / alpha
    clipped = scaled.clamp(-1, 1)
    projected = levels[(clipped[..., None] - levels).abs().argmin(-1)]
    inside = scaled.abs() <= 1
    return alpha * projected, inside, torch.where(inside, projected - scaled, scaled.sign())


@pytest.mark.parametrize("scope", ["channel", "tensor"])
@pytest.mark.parametrize("standardised", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
def test_apot(bits: int, standardised: bool, scope: str) -> None:
    values = spread(200)
    quantizer = ApotQuantizer(bits, values, QuantizerConfig("apot", scope, 0.1, standardised))  # type: ignore[arg-type]
    quantizer.double().begin(Moment(0, 1, 0), values)
    with torch.no_grad():  # α as it is after the step was rounded to float16
        largest = quantizer._largest
        mean = as_column(quantizer.mean.half().double())
        reach = as_column((quantizer.step.half().double()) * largest)
    levels = quantizer.grid().__class__(bits, torch.zeros(1), torch.ones(1), 1)
    unit = levels.lookup(torch.arange(2**bits).view(-1, 1)).flatten() / largest
    weight = weights(values)
    expected, inside, to_reach = rcf(values - mean, reach.expand_as(mean), unit)
    to_values = inward(values - mean, -reach, reach, -weight)
    assert not bool(to_values.all()) and bool((to_values & ~inside).any())

    values.requires_grad_()
    seen = quantizer(values)
    (seen * weight).sum().backward()
    torch.testing.assert_close(seen.detach(), mean + expected)
    torch.testing.assert_close(values.grad, weight * to_values)
    by_channel = (weight * to_reach * as_column(quantizer.deviation * quantizer.alpha.detach())).sum(
        (0, 2, 3)
    )
    summed = by_channel if scope == "channel" else by_channel.sum(0, keepdim=True)
    torch.testing.assert_close(quantizer.log_alpha.grad, summed, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bits", BITS)
def test_apot_beside_finite_differences(bits: int) -> None:
    values = spread(30)
    quantizer = ApotQuantizer(bits, values, QuantizerConfig("apot", "channel", 0.1, False)).double()
    largest = quantizer._largest
    with torch.no_grad():  # so that rounding to float16 changes nothing
        quantizer.log_alpha.copy_((quantizer.step.half().double() * largest).log())
    alpha = quantizer.alpha.detach()
    weight = weights(values)
    scaled = (values / as_column(alpha)).clamp(-1, 1)
    error = (quantizer(values) / as_column(alpha) - scaled).detach()

    def smooth(values: Tensor, log_alpha: Tensor) -> Tensor:
        reach = as_column(log_alpha.exp())
        return (weight * reach * ((values / reach).clamp(-1, 1) + error)).sum()

    values.requires_grad_()
    (quantizer(values) * weight).sum().backward()
    at = values.detach()
    assert values.grad is not None and quantizer.log_alpha.grad is not None
    close = {"rtol": 1e-5, "atol": 1e-5}
    expected = slopes(lambda v: smooth(v, alpha.log()), at)
    outside = at.abs() > as_column(alpha)
    led = inward(at, -as_column(alpha), as_column(alpha), -weight)
    torch.testing.assert_close(values.grad, torch.where(outside, led * weight, expected), **close)
    torch.testing.assert_close(
        quantizer.log_alpha.grad, slopes(lambda side: smooth(at, side), alpha.log()), **close
    )
