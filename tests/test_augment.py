"""Siamese augmentation: one draw a class, differentiable, and what each operation does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fedbits.augment import OPERATIONS, Draw, Strengths, augment, draw

SHAPES = [(3, 8, 8), (1, 7, 5), (2, 1, 9), (1, 4, 4)]


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, shape: tuple[int, int, int] = (3, 8, 8), seed: int = 0) -> Tensor:
    return torch.randn(n, *shape, generator=stream(seed))


def numbers(*values: float) -> Tensor:
    """One group's six numbers; those not given are in the middle."""
    return torch.tensor([[*values, *[0.5] * (6 - len(values))]])


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_shape_kept_and_gradients_flow(operation: str, shape: tuple[int, int, int]) -> None:
    samples = images(8, shape).requires_grad_()
    drawn = Draw(operation, torch.rand(8, 6, generator=stream(1)))
    out = augment(samples, drawn)
    assert out.shape == samples.shape
    assert bool(out.isfinite().all())
    out.square().sum().backward()
    assert bool(samples.grad.isfinite().all())
    assert float(samples.grad.abs().sum()) > 0


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_same_draw_does_the_same_to_real_and_synthetic_of_a_class(operation: str) -> None:
    """Whatever else is in the batch, and in whatever order."""
    drawn = Draw(operation, torch.rand(3, 6, generator=stream(2)))
    real, synthetic = images(6), images(6)[[4, 1, 0]]
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    from_real = augment(real, drawn.of(labels))
    from_synthetic = augment(synthetic, drawn.of(labels[[4, 1, 0]]))
    assert torch.allclose(from_real[[4, 1, 0]], from_synthetic, atol=1e-6)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_classes_differ_and_samples_of_a_class_do_not(operation: str) -> None:
    same = images(1).repeat(40, 1, 1, 1)
    drawn = Draw(operation, torch.rand(20, 6, generator=stream(3)))
    out = augment(same, drawn.of(torch.arange(20).repeat(2)))
    assert torch.allclose(out[:20], out[20:], atol=1e-6)
    assert len({tuple(image.flatten().tolist()) for image in out[:20]}) > 1


def test_flips_flip() -> None:
    samples = images(1)
    assert torch.equal(augment(samples, Draw("flip", numbers(0.4))), samples.flip(3))
    assert torch.equal(augment(samples, Draw("flip", numbers(0.6))), samples)


def test_crops_move_by_whole_pixels() -> None:
    samples = images(1)
    assert torch.equal(augment(samples, Draw("crop", numbers(0.5, 0.5))), samples)
    moved = augment(samples, Draw("crop", numbers(0.999, 0.5)))
    assert torch.equal(moved[:, :, :-1], samples[:, :, 1:])
    assert torch.equal(moved[:, :, -1], torch.zeros_like(moved[:, :, -1]))


def test_cutouts_cut_at_most_half_a_side() -> None:
    samples = images(1) + 10
    middle = augment(samples, Draw("cutout", numbers(0.5, 0.5)))
    assert int((middle == 0).sum()) == 3 * 16
    corner = augment(samples, Draw("cutout", numbers(0.0, 0.0)))
    assert int((corner == 0).sum()) == 3 * 4
    assert bool((corner[:, :, :2, :2] == 0).all())


def test_scales_and_rotations_in_the_middle_of_their_range() -> None:
    samples = images(1)
    still = Draw("rotate", numbers(0.5))
    assert torch.allclose(augment(samples, still), samples, atol=1e-5)
    one = (1 - 1 / 1.2) / (1.2 - 1 / 1.2)
    assert torch.allclose(augment(samples, Draw("scale", numbers(one, one))), samples, atol=1e-5)
    quarter = augment(samples, Draw("rotate", numbers(1.0)), Strengths(rotate=90.0))
    turned = {k: (quarter - samples.rot90(k, (2, 3))).abs().max().item() for k in (1, 3)}
    assert min(turned.values()) < 1e-4


def test_colours_in_the_middle_of_their_range() -> None:
    samples = images(1)
    assert torch.allclose(augment(samples, Draw("color", numbers(0.5, 0.5, 0.5))), samples, atol=1e-6)
    brighter = augment(samples, Draw("color", numbers(1.0, 0.5, 0.5)))
    assert torch.allclose(brighter, samples + 0.5, atol=1e-6)
    grey = augment(samples, Draw("color", numbers(0.5, 0.0, 0.5)))
    assert torch.allclose(grey, samples.mean(1, keepdim=True).expand_as(samples), atol=1e-6)
    contrast = augment(samples, Draw("color", numbers(0.5, 0.5, 1.0)))
    assert contrast.std().item() == pytest.approx(1.5 * samples.std().item(), rel=0.05)


def test_a_single_channel_has_no_saturation() -> None:
    samples = images(1, (1, 8, 8))
    assert torch.allclose(augment(samples, Draw("color", numbers(0.5, 0.0, 0.5))), samples, atol=1e-6)


def test_flat_samples_stay() -> None:
    samples = torch.randn(4, 9, generator=stream())
    assert augment(samples, draw(4, stream())) is samples


def test_draws_follow_their_stream() -> None:
    first, second = draw(5, stream(1)), draw(5, stream(1))
    assert first.operation == second.operation
    assert torch.equal(first.uniform, second.uniform)
    assert {draw(1, stream(seed)).operation for seed in range(60)} == set(OPERATIONS)
