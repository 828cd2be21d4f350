"""Coefficients, tokens and weights in fewer bits, where they are worth little."""

from __future__ import annotations

import torch
from torch import Tensor

from fedbits.coding.weights import laplace_bits
from fedbits.coding.weights import scales as laplace_scales
from fedbits.parameterization.epitome.code_rate import CodeRate
from fedbits.parameterization.epitome.codes import largest_symbol, positions
from fedbits.parameterization.epitome.config import EpitomeConfig
from fedbits.parameterization.epitome.form import Form

_ALL = 1e4  # the strength at which hardly a bit is to be left, of weights, too
_CHUNK = 1 << 16  # coefficients that are looked at together


def tightened_codes(
    integers: Tensor,
    codes: Tensor,
    steps: tuple[int, ...],
    config: EpitomeConfig,
    form: Form,
    strength: float,
) -> Tensor:
    """``integers`` ``[n, H, K, J]``, or ones nearer to zero: least squared distance to ``codes``, in steps,
    plus ``strength`` times bits. What is zero stays so.
    """
    if strength <= 0:
        return integers
    place = positions(codes, steps, config.bits)
    chosen = integers.clone()
    where = integers.nonzero(as_tuple=True)
    sizes = torch.arange(largest_symbol(config.bits) + 1, device=integers.device)
    # Once only: under the frequencies of what is left, all that is left would soon cost too much.
    rate = CodeRate(config.bits, form.grid)
    rate.refresh(integers)
    flags = rate.conditions(integers)[0][where]
    for start in range(0, len(flags), _CHUNK):
        some = tuple(axis[start : start + _CHUNK] for axis in where)
        towards = place[some][:, None].sign().long() * sizes
        distance = (place[some][:, None] - towards).square()
        bits = rate.bits(some[1][:, None].expand_as(towards), flags[start : start + _CHUNK, None], towards)
        cost = distance + strength * bits
        chosen[some] = towards.gather(1, cost.argmin(1, keepdim=True))[:, 0]
    return chosen


def tightened_weights(tensor: Tensor, bits: int, strength: float) -> Tensor:
    """Multiples of ``2**-bits``, drawn to zero as the Laplace distribution that codes them says.

    A weight serves every sample; so its strength grows with the square of ``strength``, and is as much where
    that is to leave hardly a bit.
    """
    steps = (tensor.double() * 2.0**bits).round()
    values = steps.long().cpu().numpy()
    scale = float(laplace_scales()[int(laplace_bits(values, laplace_scales()).argmin())])
    price = strength**2 / _ALL / scale / 0.6931471805599453  # bits that a step of magnitude takes
    # The least of (x - q)² + price |q| is x less half the price; and nothing if that is less than nothing.
    fewer = (steps.abs() - (price / 2)).round().clamp_(min=0)
    return (steps.sign() * fewer * 2.0**-bits).to(tensor)
