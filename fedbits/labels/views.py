"""Views of samples, which whoever has the seed makes again (as in fast knowledge distillation, FKD).

A label of a view is only worth something beside that very view. So every number that shapes the view of a
sample in an epoch follows from (seed, epoch, sample), and only the seed travels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError
from fedbits.rng import derive_seed, uniforms

Mix = Literal["none", "mixup", "cutmix"]
MIXES: tuple[Mix, ...] = get_args(Mix)
AREA_STEPS = 64  # the least area is a multiple of 1/64
_NUMBERS = 10  # uniform numbers that shape a view
_NARROWEST = 3 / 4  # aspect ratio of a crop; the widest is its inverse


@dataclass(frozen=True)
class ViewsConfig:
    """How the views of a set are made.

    Attributes:
        epochs: each sample has one view in each; then they come again.
        seed: 0 to 2**32 - 1.
        least_area: of the crop of an image that becomes a view, as a share of the image: from (0, 1]. 1 does
            not crop.
        rotation: degrees by which an image is turned at most, either way: 0 to 45.
        flipped: whether half of the views of an image are mirrored.
        mix: what a view of one sample is mixed with one of another by: ``mixup`` (Zhang et al., 2018) or
            ``cutmix`` (Yun et al., 2019), the share of the other uniform in [0, 1/2]; or ``none``. Samples
            without height and width are mixed by ``mixup`` in either case.
    """

    epochs: int = 100
    seed: int = 0
    least_area: float = 0.5
    rotation: int = 15
    flipped: bool = True
    mix: Mix = "cutmix"

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        if not 1 <= self.epochs < 1 << 32:
            raise ConfigError(f"there are {self.epochs} epochs of views: expected 1 to {(1 << 32) - 1:,}")
        if not 0 <= self.seed < 1 << 32:
            raise ConfigError(f"the seed of views is {self.seed}: expected 0 to {(1 << 32) - 1:,}")
        steps = self.least_area * AREA_STEPS
        if steps != round(steps) or not 1 <= steps <= AREA_STEPS:
            raise ConfigError(
                f"least_area is {self.least_area}: expected a multiple of 1/{AREA_STEPS} up to 1"
            )
        if not 0 <= self.rotation <= 45:
            raise ConfigError(f"the rotation of views is {self.rotation}: expected 0 to 45 degrees")
        if self.mix not in MIXES:
            raise ConfigError(f"mix is {self.mix!r}: expected {', '.join(MIXES)}")

    def suited(self, spec: DataSpec) -> ViewsConfig:
        """The same for pictures; samples of another ``spec`` stay as they are, but for blending."""
        if spec.pictures:
            return self
        mix: Mix = "none" if self.mix == "none" else "mixup"
        return replace(self, least_area=1.0, rotation=0, flipped=False, mix=mix)


@dataclass(frozen=True)
class Views:
    """The views of ``samples`` samples under ``config``."""

    config: ViewsConfig
    samples: int

    def partners(self, epoch: int, index: Tensor) -> Tensor:
        """``[b]``: with which sample each of ``index`` is mixed in ``epoch``; itself where none is."""
        if self.config.mix == "none":
            return index
        drawn = torch.from_numpy(self._uniforms(epoch, index, slice(0, 1))[:, 0])
        return (drawn * self.samples).long().clamp(max=self.samples - 1)

    def shares(self, epoch: int, index: Tensor) -> Tensor:
        """``[b]`` in [0, 1]: how much of a view is of the sample itself; the rest is its partner's."""
        if self.config.mix == "none":
            return torch.ones(len(index))
        return torch.from_numpy(1 - self._uniforms(epoch, index, slice(1, 2))[:, 0] / 2).float()

    def made_of(self, certain: Callable[[Tensor], Tensor], epoch: int, index: Tensor) -> Tensor:
        """``[b, classes]``: shares of the classes in each view; ``certain(index)`` are those of samples."""
        share = self.shares(epoch, index)[:, None]
        return share * certain(index) + (1 - share) * certain(self.partners(epoch, index))

    def make(self, samples: Callable[[Tensor], Tensor], epoch: int, index: Tensor) -> Tensor:
        """``[b, *shape]``: the views in ``epoch`` of ``samples(index)``, those at ``index`` ``[b]``."""
        plain = samples(index)
        drawn = torch.from_numpy(self._uniforms(epoch, index)).float().to(plain.device)
        own = self._cropped(plain, drawn)
        if self.config.mix == "none":
            return own
        partners = self.partners(epoch, index)
        others = torch.from_numpy(self._uniforms(epoch, partners)).float().to(plain.device)
        other = self._cropped(samples(partners), others)
        share = self.shares(epoch, index).to(plain.device)
        if self.config.mix == "cutmix" and own.dim() == 4:
            return torch.where(_boxes(own, share, drawn[:, 7:9]), other, own)
        share = share.view(-1, *[1] * (own.dim() - 1))
        return share * own + (1 - share) * other

    def _cropped(self, samples: Tensor, drawn: Tensor) -> Tensor:
        """Resized crops, turned and perhaps mirrored; samples without height and width as they are."""
        config = self.config
        if samples.dim() != 4 or (config.least_area == 1 and not config.rotation and not config.flipped):
            return samples
        area = config.least_area + (1 - config.least_area) * drawn[:, 2]
        spread = -math.log(_NARROWEST) if config.least_area < 1 else 0.0
        ratio = torch.exp((2 * drawn[:, 3] - 1) * spread)
        width, height = (side.sqrt().clamp(max=1) for side in (area * ratio, area / ratio))
        across, down = (2 * drawn[:, 4] - 1) * (1 - width), (2 * drawn[:, 5] - 1) * (1 - height)
        if config.flipped:
            width = torch.where(drawn[:, 6] < 0.5, -width, width)
        angle = (2 * drawn[:, 9] - 1) * math.radians(config.rotation)
        cos, sin = angle.cos(), angle.sin()
        rows = (width * cos, -height * sin, across), (width * sin, height * cos, down)
        theta = torch.stack([torch.stack(row, 1) for row in rows], 1)
        grid = F.affine_grid(theta, list(samples.shape), align_corners=False)
        return F.grid_sample(samples, grid, padding_mode="border", align_corners=False)

    def _uniforms(self, epoch: int, index: Tensor, numbers: slice = slice(None)) -> NDArray[np.float64]:
        key = derive_seed(self.config.seed, "view", epoch % self.config.epochs)
        return uniforms(key, index.cpu().numpy(), _NUMBERS, numbers)


def _boxes(samples: Tensor, share: Tensor, centre: Tensor) -> Tensor:
    """``[b, 1, height, width]``: where the partner is seen, ``1 - share`` of the area where it fits."""
    inside = []
    for axis in (0, 1):
        side = samples.shape[2 + axis]
        half = (1 - share).sqrt() * side / 2
        place = torch.arange(side, device=samples.device) + 0.5
        inside.append((place - (centre[:, axis] * side)[:, None]).abs() < half[:, None])
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
