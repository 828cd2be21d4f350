"""Average pooling is PyTorch's, and so are its derivatives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fedbits.networks.pooling import AveragePool

POOL = AveragePool()


def some(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("shape", [(2, 3, 8, 6), (1, 1, 2, 2), (2, 3, 7, 6), (2, 2, 4, 5), (3, 4, 4)])
def test_pooling_and_its_gradient_are_pytorchs(shape: tuple[int, ...]) -> None:
    samples = some(*shape)
    ours, theirs = POOL(samples), F.avg_pool2d(samples, 2)
    torch.testing.assert_close(ours, theirs)
    weights = torch.arange(ours.numel(), dtype=torch.float64).view_as(ours)
    (found,) = torch.autograd.grad((ours * weights).sum(), samples)
    (expected,) = torch.autograd.grad((theirs * weights).sum(), samples)
    torch.testing.assert_close(found, expected)


def test_it_can_be_differentiated_twice() -> None:
    assert torch.autograd.gradgradcheck(lambda samples: POOL(samples).pow(3), some(1, 2, 4, 4))


def test_gradients_of_many_networks_at_once() -> None:
    samples, weights = some(2, 3, 4, 4), some(5, 3, 1, 1)

    def loss(weight: Tensor) -> Tensor:
        return POOL(samples * weight).square().sum()

    at_once = torch.func.vmap(torch.func.grad(loss))(weights)
    one_by_one = [torch.func.grad(loss)(weight) for weight in weights]
    torch.testing.assert_close(at_once, torch.stack(one_by_one))
