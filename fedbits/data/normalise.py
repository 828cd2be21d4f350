"""Normalisation of a data set whose constants nobody has published."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fedbits.data.spec import MIN_STD, halves
from fedbits.errors import DataError

_CHUNK = 1 << 22  # values converted to float64 at once
_ONE_LEVEL = 1 / 255  # uint8 cannot vary by less
_WORDS = (14, 247)  # the upper nine bits of a float16 that is a usable deviation
_NOISE = 1e-6  # a float32 feature that varies by less, relative to its mean, is constant


def normalisation(samples: Tensor, source: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of ``samples`` ``[n, c, ...]`` for each ``c``, fit for a ``DataSpec``.

    In units of [0, 1] for uint8 samples, of the data itself for float32. The deviation is never below one
    level of uint8; a constant float feature gets one at which it is normalised to about zero.

    Raises:
        DataError: a float feature that float16 constants (what a blob carries) cannot normalise.
    """
    mean, std = _moments(samples)
    if samples.dtype == torch.uint8:
        return _coarse(mean / 255, (std / 255).clamp_min(_ONE_LEVEL))
    constant = std <= _NOISE * mean.abs()
    std = torch.where(constant, mean.abs().clamp_min(1.0), std)
    stored = halves(mean.tolist())
    for feature, (m, s, kept) in enumerate(zip(mean.tolist(), std.tolist(), stored, strict=True)):
        if not MIN_STD <= s <= 65504 or abs(m - kept) > s / 4:
            raise DataError(
                f"{source}: feature or channel {feature} has mean {m:.6g} and deviation {s:.3g}, which "
                f"float16 constants cannot normalise: bring the data to a scale of about -1 to 1 first"
            )
    return _coarse(mean, std)


def _coarse(mean: Tensor, std: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Deviations to four significant bits, means to an eighth of one: two bytes a pair in a blob."""
    words = std.numpy().astype("<f2").view("<u2").astype(int)
    kept = (np.clip((words + 64) >> 7, *_WORDS) << 7).astype("<u2").view("<f2").astype(float)
    return tuple((np.rint(8 * mean.numpy() / kept) * kept / 8).tolist()), tuple(kept.tolist())


def _moments(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation in float64 ``[c]``, a chunk of samples at a time."""
    flat = samples.flatten(2) if samples.dim() > 2 else samples.unsqueeze(2)
    rows = max(1, _CHUNK // max(1, flat[0].numel()))
    count = flat.shape[0] * flat.shape[2]
    mean = sum((part.double().sum((0, 2)) for part in flat.split(rows)), torch.zeros(1)) / count
    square = torch.zeros_like(mean)
    for part in flat.split(rows):  # a second pass: the mean of squares would cancel
        square += (part.double() - mean[:, None]).square().sum((0, 2))
    return mean, (square / count).sqrt()
