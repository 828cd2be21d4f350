"""A multilayer perceptron for flat samples (and, by flattening, for any other)."""

from __future__ import annotations

import math

from torch import Tensor, nn


class MLP(nn.Module):
    """Two hidden layers with ReLU, as in DC's appendix (width 128)."""

    def __init__(self, shape: tuple[int, ...], classes: int, width: int = 128) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Linear(math.prod(shape), width),
            nn.ReLU(inplace=True),
            nn.Linear(width, width),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Linear(width, classes)

    def features(self, samples: Tensor) -> Tensor:
        """``[n, *shape]`` to the classifier's input ``[n, width]``."""
        return self.hidden(samples.flatten(1))

    def forward(self, samples: Tensor) -> Tensor:
        """Logits ``[n, classes]``."""
        return self.classifier(self.features(samples))
