"""A network for grids of beam measurements."""

from __future__ import annotations

from torch import Tensor, nn

_LAYERS = 3


class BeamCNN(nn.Module):
    """Three layers of Conv 3×3 → layer norm → ReLU at full size, then one linear layer.

    "A three-layer CNN" is all that QuADD (section 5.3) says of its own. Nothing is pooled, as the answer is a
    place in the grid; and all channels of a sample are normalised together, since how strong a measurement is
    beside the others of the sample is what there is to learn from.

    Width 64 at 1×8×8 and 64 classes has 337,088 parameters.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int = 128) -> None:
        super().__init__()
        channels, height, breadth = shape
        layers: list[nn.Module] = []
        for layer in range(_LAYERS):
            layers += [
                nn.Conv2d(width if layer else channels, width, kernel_size=3, padding=1),
                nn.GroupNorm(1, width),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * height * breadth, classes)

    def features(self, samples: Tensor) -> Tensor:
        """``[n, channels, height, width]`` to the classifier's input ``[n, features]``."""
        return self.layers(samples).flatten(1)

    def forward(self, samples: Tensor) -> Tensor:
        """Logits ``[n, classes]``."""
        return self.classifier(self.features(samples))
