"""How training sees latents before it sees them rounded: with noise, or rounded softly."""

from __future__ import annotations

import torch
from torch import Tensor

from fedbits.parameterization.latent.config import LatentConfig
from fedbits.quantization import Moment
from fedbits.rng import torch_stream

_SHARPNESS = (2.0, 12.0)  # of soft rounding, from the first step to the last


def softened(latents: Tensor, config: LatentConfig, moment: Moment | None) -> Tensor | None:
    """``latents`` ``[n, latents]`` with uniform noise or softly rounded; None where they are to be rounded.

    Noise depends on the step only, whichever samples a step looks at.
    """
    if moment is None or config.quantisation == "straight_through":
        return None
    if moment.progress >= config.soft_share:
        return None
    if config.quantisation == "noise":
        draws = torch_stream(moment.seed, "latent", "noise", moment.step, device=latents.device)
        return latents + torch.rand(latents.shape, generator=draws, device=latents.device) - 0.5
    first, last = _SHARPNESS
    sharpness = first * (last / first) ** (moment.progress / config.soft_share)
    return soft_rounded(latents, sharpness)


def soft_rounded(values: Tensor, sharpness: float) -> Tensor:
    """Towards the nearest integers, the more so the larger ``sharpness`` (Agustsson and Theis, 2020)."""
    middle = values.detach().floor() + 0.5
    bent = torch.tanh(sharpness * (values - middle)) / torch.tanh(torch.tensor(sharpness / 2))
    return middle + 0.5 * bent
