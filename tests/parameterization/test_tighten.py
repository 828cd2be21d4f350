"""Re-quantisation for fewer bits."""

from __future__ import annotations

import pytest
import torch

from fedbits.coding import smallest_coder
from fedbits.data import load
from fedbits.parameterization.tighten import tighten


@pytest.mark.parametrize("levels", [2, 8])
def test_a_stronger_trade_off_spends_fewer_bits(levels: int) -> None:
    digits = load("digits").train.samples[:60].float() / 255 * (levels - 1)
    strengths = (0.0, 0.1, 1.0, 10.0)
    bits = [smallest_coder(tighten(digits, levels, s).numpy(), levels)[1] for s in strengths]
    assert bits == sorted(bits, reverse=True)
    assert bits[-1] < 0.01 * bits[0] < bits[1] < bits[0]


def test_no_trade_off_is_rounding() -> None:
    position = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(1)) * 7
    assert torch.equal(tighten(position, 8, 0.0), position.round().long())
