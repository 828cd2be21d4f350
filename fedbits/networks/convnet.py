"""The ConvNet of the distillation literature (Gidaris & Komodakis, 2018; as used by DC, DSA, DM, MTT)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedbits.networks.pooling import AveragePool


def depth_for(height: int, width: int) -> int:
    """Blocks by resolution: 3 at 28 and 32 pixels, 4 at 64, 5 at 128; never fewer than 2 where they fit."""
    side = min(height, width)
    fitting = max(1, int(math.log2(max(side, 2))))
    return min(max(2, round(math.log2(max(side, 2))) - 2), fitting)


class _InputConv2d(nn.Conv2d):
    """A 3×3 convolution that is as fast as others where its input has one channel.

    oneDNN's bfloat16 kernel for that case takes five times as long as a matrix product with the patches
    (measured on the CPU; no such gain for three channels, nor for training the weights).
    """

    def forward(self, samples: Tensor) -> Tensor:
        fast = samples.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if not fast or self.in_channels > 1 or self.weight.requires_grad or self.bias is None:
            return super().forward(samples)
        patches = F.unfold(samples, kernel_size=3, padding=1)
        product = torch.matmul(self.weight.flatten(1), patches)
        return (product + self.bias.to(product.dtype)[:, None]).view(len(samples), -1, *samples.shape[2:])


class ConvNet(nn.Module):
    """Blocks of Conv 3×3 → GroupNorm ("instance norm", affine) → ReLU → AvgPool 2, then one linear layer.

    Width 128 at 3×32×32 and 10 classes has 320,010 parameters.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: int, width: int = 128, depth: int | None = None
    ) -> None:
        super().__init__()
        channels, height, width_px = shape
        blocks: list[nn.Module] = []
        for block in range(depth_for(height, width_px) if depth is None else depth):
            convolution = nn.Conv2d if block else _InputConv2d
            blocks += [
                convolution(channels, width, kernel_size=3, padding=1),
                nn.GroupNorm(width, width),
                nn.ReLU(inplace=True),
                AveragePool(),
            ]
            channels, height, width_px = width, height // 2, width_px // 2
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(width * height * width_px, classes)

    def features(self, samples: Tensor) -> Tensor:
        """``[n, channels, height, width]`` to the classifier's input ``[n, features]``."""
        return self.blocks(samples).flatten(1)

    def forward(self, samples: Tensor) -> Tensor:
        """Logits ``[n, classes]``."""
        return self.classifier(self.features(samples))
