"""Re-quantisation for fewer bits."""

from __future__ import annotations

import pytest
import torch

from fedbits.coding import smallest_coder
from fedbits.parameterization.tighten import tighten


@pytest.mark.parametrize("levels", [2, 8])
def test_a_stronger_trade_off_spends_fewer_bits(levels: int) -> None:
    position = torch.rand(60, 1, 12, 12, generator=torch.Generator().manual_seed(0)) * (levels - 1)
    strengths = (0.0, 0.03, 0.1, 0.3, 1.0, 10.0, 1e4)
    bits = [smallest_coder(tighten(position, levels, s).numpy(), levels)[1] for s in strengths]
    assert all(later <= before for before, later in zip(bits, bits[1:], strict=False))
    assert bits[-1] < 0.1 * bits[0]


def test_no_trade_off_is_rounding() -> None:
    position = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(1)) * 7
    assert torch.equal(tighten(position, 8, 0.0), position.round().long())
