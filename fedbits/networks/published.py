"""Networks that others publish results of, for cross-architecture evaluation, on samples from 4×4 on.

ResNet-18, VGG-11 and ViT are torchvision's (imported when one is built, not before), changed where the
distillation literature changes them for small images; AlexNet has the literature's own layout. All follow
these rules:

- Batch normalisation becomes "instance norm": ``GroupNorm(c, c)``, affine, as in DC, DSA and MTT.
- Nothing drops out: dropout would draw from torch's global generator, and a run would no longer follow from
  its seed. (torchvision has none in the parts used here, except in the hidden layers of the classifiers of
  AlexNet and VGG, which small images never had.)
- No normalised map becomes smaller than 2×2, as the instance norm of one pixel is zero whatever the sample:
  a pool or stride that would do so is left out. At 28 pixels and above nothing is.
- Odd sides are rounded up when halved: 28 pixels need no padding, and have the parameters that 32 have.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

_SMALLEST_MAP = 2
_IMAGENET_SIDE = 96  # from here on ResNet-18 starts as published for ImageNet


class PublishedNetwork(nn.Module):
    """A body without its classifier, and one linear layer as the ``classifier``."""

    def __init__(self, body: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.body = body
        self.classifier = nn.Linear(features, classes)

    def features(self, samples: Tensor) -> Tensor:
        """``[n, channels, height, width]`` to the classifier's input ``[n, features]``."""
        return self.body(samples).flatten(1)

    def forward(self, samples: Tensor) -> Tensor:
        """Logits ``[n, classes]``."""
        return self.classifier(self.features(samples))


def instance_norm(channels: int) -> nn.GroupNorm:
    """The literature's "instance norm"."""
    return nn.GroupNorm(channels, channels)


def _halved(side: int) -> int:
    return -(-side // 2)


def alexnet(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Five convolutions (128, 192, 256, 192, 192 channels), the layout of DC's code for CIFAR.

    DC's has no normalisation; ours has instance norm after each convolution, as its other networks do.
    1,874,122 parameters at 3×32×32 and 10 classes (1,872,202 without the norms).
    """
    channels, side = shape[0], min(shape[1:])
    plan = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))
    layers: list[nn.Module] = []
    for number, (width, kernel, pooled) in enumerate(plan):
        layers += [nn.Conv2d(channels, width, kernel, padding=kernel // 2), instance_norm(width)]
        layers.append(nn.ReLU(inplace=True))
        channels = width
        if pooled and (number == len(plan) - 1 or _halved(side) >= _SMALLEST_MAP):
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            side = _halved(side)
    side = min(side, 4)
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(side))
    return PublishedNetwork(body, channels * side * side, classes)


def vgg11(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """torchvision's convolutions of VGG-11 with instance norm, then one linear layer, as in DC's code.

    9,231,114 parameters at 3×32×32 and 10 classes.
    """
    from torchvision.models import vgg11_bn

    published = list(vgg11_bn(init_weights=False).features)
    published[0] = nn.Conv2d(shape[0], published[0].out_channels, kernel_size=3, padding=1)
    side, layers = min(shape[1:]), list[nn.Module]()
    for number, layer in enumerate(published):
        if isinstance(layer, nn.BatchNorm2d):
            layers.append(instance_norm(layer.num_features))
        elif not isinstance(layer, nn.MaxPool2d):
            layers.append(layer)
        elif number == len(published) - 1 or _halved(side) >= _SMALLEST_MAP:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            side = _halved(side)
    return PublishedNetwork(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1)), 512, classes)


def resnet18(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """torchvision's ResNet-18 with instance norm; up to 95 pixels its stem is one 3×3 convolution, unpooled.

    11,173,962 parameters at 3×32×32 and 10 classes.
    """
    from torchvision.models import resnet18 as published

    body = published(norm_layer=instance_norm)
    body.fc = nn.Identity()
    side = min(shape[1:])
    if side >= _IMAGENET_SIDE:
        body.conv1 = nn.Conv2d(shape[0], 64, kernel_size=7, stride=2, padding=3, bias=False)
        side = _halved(_halved(side))
    else:
        body.conv1 = nn.Conv2d(shape[0], 64, kernel_size=3, padding=1, bias=False)
        body.maxpool = nn.Identity()
    for stage in (body.layer2, body.layer3, body.layer4):
        if _halved(side) >= _SMALLEST_MAP:
            side = _halved(side)
        else:
            stage[0].conv1.stride = stage[0].downsample[0].stride = (1, 1)
    return PublishedNetwork(body, 512, classes)


class _Patches(nn.Module):
    """Samples filled up with zeros (the mean) to the square that a vision transformer asks for."""

    def __init__(self, transformer: nn.Module, side: int) -> None:
        super().__init__()
        self.transformer, self._side = transformer, side

    def forward(self, samples: Tensor) -> Tensor:
        height, width = samples.shape[2:]
        return self.transformer(F.pad(samples, (0, self._side - width, 0, self._side - height)))


def vit(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """torchvision's vision transformer: 6 layers of 8 heads, 512 wide throughout, a class token.

    About the "10 M" that SPEED evaluates with: 9,532,938 parameters at 3×32×32 and 10 classes. Patches are
    about an eighth of the side: 4 pixels at 28 and 32, 8 at 64, 16 at 128. Layer norm stays.
    """
    from torchvision.models import VisionTransformer

    channels, longest = shape[0], max(shape[1:])
    patch = max(1, round(longest / 8))
    side = patch * math.ceil(longest / patch)
    body = VisionTransformer(side, patch, num_layers=6, num_heads=8, hidden_dim=512, mlp_dim=512)
    body.conv_proj = nn.Conv2d(channels, 512, kernel_size=patch, stride=patch)
    body.heads = nn.Identity()
    return PublishedNetwork(_Patches(body, side), 512, classes)


PUBLISHED: dict[str, Callable[[tuple[int, int, int], int], nn.Module]] = {
    "alexnet": alexnet,
    "vgg11": vgg11,
    "resnet18": resnet18,
    "vit": vit,
}
SMALLEST_SIDE = 4
