"""The ConvNet of the distillation literature (Gidaris & Komodakis, 2018; as used by DC, DSA, DM, MTT)."""

from __future__ import annotations

import math

from torch import Tensor, nn


def depth_for(height: int, width: int) -> int:
    """Blocks by resolution: 3 at 28 and 32 pixels, 4 at 64, 5 at 128; never fewer than 2 where they fit."""
    side = min(height, width)
    fitting = max(1, int(math.log2(max(side, 2))))
    return min(max(2, round(math.log2(max(side, 2))) - 2), fitting)


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
        for _ in range(depth_for(height, width_px) if depth is None else depth):
            blocks += [
                nn.Conv2d(channels, width, kernel_size=3, padding=1),
                nn.GroupNorm(width, width),
                nn.ReLU(inplace=True),
                nn.AvgPool2d(2),
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
