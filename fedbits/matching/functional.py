"""A network as a function of one vector of parameters."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fedbits import networks


class _Both(nn.Module):
    """Gives logits and features by one ``forward``, as ``functional_call`` has no other entrance."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, samples: Tensor, features: bool) -> Tensor:
        if features:
            return cast(networks.FeatureNetwork, self.network).features(samples)
        return cast(Tensor, self.network(samples))


class FlatNetwork:
    """``network`` with all its parameters as one vector of ``size`` numbers, in the order of its modules.

    Works under ``torch.func.vmap`` over vectors, over samples, or both. The network's own parameters are
    never changed, and its buffers, if any, are used as they are.
    """

    def __init__(self, network: nn.Module) -> None:
        self._both = _Both(network)
        named = list(self._both.named_parameters())
        self._names = [name for name, _ in named]
        self._shapes = [parameter.shape for _, parameter in named]
        self._sizes = [parameter.numel() for _, parameter in named]
        self.size = sum(self._sizes)

    def vector(self) -> Tensor:
        """A detached copy ``[size]`` of the network's parameters as they are now."""
        return torch.cat([parameter.detach().flatten() for parameter in self._both.parameters()])

    def unflatten(self, theta: Tensor) -> dict[str, Tensor]:
        """Views of ``theta`` ``[size]`` by the names that parameters have in the network."""
        prefix = len("network.")
        return {name[prefix:]: view for name, view in self._views(theta).items()}

    def logits(self, theta: Tensor, samples: Tensor) -> Tensor:
        """``[n, classes]`` of normalised ``samples`` ``[n, *shape]``, with the parameters ``theta``."""
        return cast(Tensor, functional_call(self._both, self._views(theta), (samples, False)))

    def features(self, theta: Tensor, samples: Tensor) -> Tensor:
        """The classifier's input ``[n, features]`` with the parameters ``theta``."""
        return cast(Tensor, functional_call(self._both, self._views(theta), (samples, True)))

    def _views(self, theta: Tensor) -> dict[str, Tensor]:
        parts = theta.split(self._sizes)
        return {
            name: part.view(shape) for name, part, shape in zip(self._names, parts, self._shapes, strict=True)
        }
