"""Networks by name: every one maps normalised samples to logits and shows its ``features``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError, unknown
from fedbits.networks.beamcnn import BeamCNN
from fedbits.networks.convnet import ConvNet
from fedbits.networks.initialise import initialise
from fedbits.networks.mlp import MLP
from fedbits.networks.published import PUBLISHED, SMALLEST_SIDE

__all__ = [
    "MLP",
    "NETWORKS",
    "BeamCNN",
    "ConvNet",
    "FeatureNetwork",
    "build",
    "check",
    "default_network",
    "has_width",
    "initialise",
]


class FeatureNetwork(Protocol):
    """What distribution matching asks of a network."""

    def features(self, samples: Tensor) -> Tensor: ...


def _convnet(spec: DataSpec, width: int | None) -> nn.Module:
    return ConvNet(spec.grid_shape, spec.classes, width or 128)


def _beamcnn(spec: DataSpec, width: int | None) -> nn.Module:
    return BeamCNN(spec.grid_shape, spec.classes, width or 128)


def _mlp(spec: DataSpec, width: int | None) -> nn.Module:
    return MLP(spec.shape, spec.classes, width or 128)


def _published(name: str) -> Callable[[DataSpec, int | None], nn.Module]:
    """One of :data:`PUBLISHED`: it has its published widths, and ``width`` says nothing to it."""
    return lambda spec, width: PUBLISHED[name](spec.grid_shape, spec.classes)


NETWORKS: dict[str, Callable[[DataSpec, int | None], nn.Module]] = {
    "convnet": _convnet,
    **{name: _published(name) for name in PUBLISHED},
    "mlp": _mlp,
    "beamcnn": _beamcnn,
}
_SMALLEST_SIDE = {"convnet": 2, "beamcnn": 1, **dict.fromkeys(PUBLISHED, SMALLEST_SIDE)}  # of those for grids


def has_width(name: str) -> bool:
    """Whether ``name`` is a network of a width to choose."""
    return name not in PUBLISHED


def check(name: str, spec: DataSpec) -> None:
    """Find out that a network cannot be built before anything is.

    Raises:
        ConfigError: the name is unknown, or the network cannot take samples of this shape.
    """
    if name not in NETWORKS:
        raise ConfigError(unknown("network", name, sorted(NETWORKS)))
    smallest = _SMALLEST_SIDE.get(name)
    if smallest is None:
        return
    if not spec.is_grid:
        raise ConfigError(f"network {name!r} needs images, but samples of {spec.name} are flat: use mlp")
    if min(spec.shape[1:]) < smallest:
        raise ConfigError(
            f"network {name!r} needs sides of at least {smallest}, but samples of {spec.name} have the shape "
            f"{spec.shape}: use mlp"
        )


def default_network(spec: DataSpec) -> str:
    """The beam CNN for grids that are no pictures, ConvNet for others of at least 4×4, MLP for all else."""
    if spec.is_grid and not spec.pictures:
        return "beamcnn"
    return "convnet" if spec.is_grid and min(spec.shape[1:]) >= 4 else "mlp"


def build(name: str, spec: DataSpec, width: int | None = None, seed: int = 0) -> nn.Module:
    """A freshly initialised network for the task; the same seed gives the same weights.

    ``width`` is of ``convnet`` and ``beamcnn`` (channels) and ``mlp`` (hidden units), 128 when left out; the
    others have their published widths whatever it says.

    Raises:
        ConfigError: the name is unknown, or the network cannot take samples of this shape.
    """
    check(name, spec)
    with torch.device("meta"):  # construct without drawing from torch's global generator
        network = NETWORKS[name](spec, width)
    network = network.to_empty(device="cpu")
    initialise(network, seed)
    return network
