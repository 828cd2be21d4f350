"""Networks by name: every one maps normalised samples to logits and shows its ``features``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError
from fedbits.networks.convnet import ConvNet
from fedbits.networks.initialise import initialise
from fedbits.networks.mlp import MLP

__all__ = ["MLP", "NETWORKS", "ConvNet", "FeatureNetwork", "build", "default_network", "initialise"]


class FeatureNetwork(Protocol):
    """What distribution matching asks of a network."""

    def features(self, samples: Tensor) -> Tensor: ...


def _convnet(spec: DataSpec, width: int | None) -> nn.Module:
    if not spec.is_grid:
        raise ConfigError(f"network 'convnet' needs images, but samples of {spec.name} are flat: use mlp")
    if min(spec.shape[1:]) < 2:
        raise ConfigError(
            f"network 'convnet' needs sides of at least 2, but samples of {spec.name} have the shape "
            f"{spec.shape}: use mlp"
        )
    return ConvNet(spec.grid_shape, spec.classes, width or 128)


def _mlp(spec: DataSpec, width: int | None) -> nn.Module:
    return MLP(spec.shape, spec.classes, width or 128)


NETWORKS: dict[str, Callable[[DataSpec, int | None], nn.Module]] = {"convnet": _convnet, "mlp": _mlp}


def default_network(spec: DataSpec) -> str:
    """ConvNet for images and grids of at least 4×4, MLP for everything else."""
    return "convnet" if spec.is_grid and min(spec.shape[1:]) >= 4 else "mlp"


def build(name: str, spec: DataSpec, width: int | None = None, seed: int = 0) -> nn.Module:
    """A freshly initialised network for the task; the same seed gives the same weights.

    Raises:
        ConfigError: the name is unknown, or the network cannot take samples of this shape.
    """
    if name not in NETWORKS:
        raise ConfigError(f"unknown network {name!r}: expected one of {', '.join(sorted(NETWORKS))}")
    with torch.device("meta"):  # construct without drawing from torch's global generator
        network = NETWORKS[name](spec, width)
    network = network.to_empty(device="cpu")
    initialise(network, seed)
    return network
