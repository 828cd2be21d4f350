"""The baseline that is quantised after training: in training it is not there, and then it is done well."""

from __future__ import annotations

import pytest
import torch

from fedbits.quantization import Moment, PostTrainingQuantizer, QuantizerConfig, UniformQuantizer
from fedbits.quantization.least_squares import least_squares


def bell(n: int = 4000, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 2, 1, 1, generator=torch.Generator().manual_seed(seed))


def test_training_sees_real_numbers() -> None:
    values = bell().requires_grad_()
    quantizer = PostTrainingQuantizer(2, values.detach(), QuantizerConfig("post"))
    quantizer.begin(Moment(0, 1, 0), values.detach())
    seen = quantizer(values)
    assert torch.equal(seen, values)
    seen.sum().backward()
    assert torch.equal(values.grad, torch.ones_like(values))  # type: ignore[arg-type]
    assert not quantizer.in_loop
    assert quantizer.penalty(values).item() == 0
    assert not any(parameter.requires_grad for parameter in quantizer.parameters())


@pytest.mark.parametrize("scope", ["channel", "tensor"])
def test_the_grid_follows_the_final_values(scope: str) -> None:
    config = QuantizerConfig("post", scope)  # type: ignore[arg-type]
    quantizer = PostTrainingQuantizer(3, bell(), config)
    final = 3 * bell(seed=1) - 10
    quantizer.settle(final)
    assert (
        quantizer.grid().side_information()
        == PostTrainingQuantizer(3, final, config).grid().side_information()
    )


def test_the_range_is_what_a_careless_grid_covers() -> None:
    config = QuantizerConfig("post", "tensor", tail=0.0)
    quantizer, final = PostTrainingQuantizer(2, bell(), config), bell(seed=1)
    quantizer.settle(final)
    received = quantizer.eval()(final)
    assert received.min().item() == pytest.approx(final.min().item(), rel=1e-3)
    assert received.max().item() == pytest.approx(final.max().item(), rel=1e-3)


@pytest.mark.parametrize("bits", range(1, 9))
def test_no_choice_of_the_range_does_better(bits: int) -> None:
    values = bell()
    ours = PostTrainingQuantizer(bits, values, QuantizerConfig("post", start="least_squares"))
    error = (ours.eval()(values) - values).square().mean().item()
    for tail in (0.0, 0.002, 0.01, 0.05, 0.15):
        other = UniformQuantizer.covering(bits, values, QuantizerConfig(tail=tail))
        assert error <= 1.001 * (other(values) - values).square().mean().item()


@pytest.mark.parametrize(("levels", "spacing"), [(2, 1.596), (4, 0.9957), (8, 0.5860), (16, 0.3352)])
def test_steps_are_the_known_best_for_a_bell(levels: int, spacing: float) -> None:
    """Max, "Quantizing for minimum distortion", 1960, Table II: uniform quantisers of a normal variable."""
    low, step = least_squares(bell(1 << 17)[:, 0].view(1, -1), levels)
    assert step.item() == pytest.approx(spacing, rel=0.05)
    assert (low + step * (levels - 1) / 2).item() == pytest.approx(0, abs=0.05)


def test_rows_of_one_value_or_of_one_number() -> None:
    for rows in (torch.full((2, 5), 3.0), torch.tensor([[1.0], [-2.0]])):
        low, step = least_squares(rows, 4)
        assert bool(step.isfinite().all())
        assert torch.equal(low, rows[:, 0])
