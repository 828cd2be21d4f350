"""Gradients of a network's loss for each class on its own, many classes at once, and how far they differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fedbits.acceleration import Acceleration

_PARALLEL = 1e-12  # beside the product of two norms: a row without a gradient is at right angles to all

Gradients = dict[str, Tensor]  # by the names of the weights: [classes, *shape]


@dataclass(frozen=True)
class Members:
    """Which samples of a batch belong to each of some classes, as rows of equal length.

    ``index`` ``[classes, n]`` int64; ``share`` ``[classes, n]`` float32, the share of a sample in the mean of
    its class; where a class has fewer than ``n`` samples, its last one fills up with a share of zero.
    """

    index: Tensor
    share: Tensor

    def take(self, start: int, stop: int, trimmed: bool) -> Members:
        """The classes ``start`` to ``stop``; ``trimmed`` to the largest of them."""
        index, share = self.index[start:stop], self.share[start:stop]
        longest = int((share > 0).sum(1).max()) if trimmed else share.shape[1]
        return Members(index[:, :longest], share[:, :longest])

    def to(self, device: torch.device) -> Members:
        return Members(self.index.to(device), self.share.to(device))


def members(labels: Tensor, classes: list[int]) -> Members:
    """The :class:`Members` of ``classes``, each of which occurs in ``labels`` ``[n]``; on the CPU."""
    labels = labels.cpu()
    order = torch.argsort(labels, stable=True)
    counts = torch.bincount(labels)
    starts, counts = (counts.cumsum(0) - counts)[classes], counts[classes]
    place = torch.arange(int(counts.max()))
    index = order[starts[:, None] + torch.minimum(place, counts[:, None] - 1)]
    return Members(index, (place < counts[:, None]) / counts[:, None])


class ClassGradients:
    """∂/∂W of the cross-entropy of each class, for the weights W of ``network`` as they are now.

    Weights are the parameters of two dimensions or more: biases and those of norms count nothing (DC). No
    sample may depend on another: networks with batch norm will not do.
    """

    def __init__(self, network: nn.Module, how: Acceleration) -> None:
        self._network, self._how = network, how
        self._weights = {name for name, value in network.named_parameters() if value.dim() > 1}
        self._fast: Callable[..., Gradients] = self._all
        if how.compiled:
            self._fast = torch.compile(self._all, dynamic=False)

    def real(self, samples: Tensor, labels: Tensor, share: Tensor, largest: int | None) -> Gradients:
        """Of real samples, without a graph, as fast as the machine allows.

        Args:
            samples: ``[classes, n, *shape]``.
            labels, share: ``[classes, n]``; gradients are those of the sum of losses times ``share``.
            largest: how many samples to look at together.
        """
        parts = 1 if largest is None else -(-share.numel() // max(largest, len(share)))
        total: Gradients = {}
        for x, y, s in zip(*(t.chunk(parts, 1) for t in (samples, labels, share)), strict=True):
            part = self._fast(*self._parameters(), x, y, s, self._how.bfloat16)
            total = {name: total[name] + value for name, value in part.items()} if total else part
        return {name: value.detach() for name, value in total.items()}

    def synthetic(self, samples: Tensor, targets: Tensor, share: Tensor) -> Gradients:
        """Of synthetic samples, differentiable with respect to them and to ``targets``, in float32.

        ``samples`` ``[classes, n, *shape]``; ``targets`` ``[classes, n]``, or probabilities
        ``[classes, n, all classes]``; ``share`` ``[classes, n]``.
        """
        return self._all(*self._parameters(), samples, targets, share, False)

    def _parameters(self) -> tuple[Gradients, Gradients]:
        """Weights, and all other parameters."""
        named = {name: value.detach() for name, value in self._network.named_parameters()}
        weights = {name: named.pop(name) for name in list(named) if name in self._weights}
        return weights, named

    def _all(
        self, weights: Gradients, others: Gradients, x: Tensor, y: Tensor, share: Tensor, bfloat16: bool
    ) -> Gradients:
        def loss(weights: Gradients, x: Tensor, y: Tensor, share: Tensor) -> Tensor:
            with torch.autocast(self._how.device.type, dtype=torch.bfloat16, enabled=bfloat16):
                logits = functional_call(self._network, {**weights, **others}, (x,))
            return (F.cross_entropy(logits.float(), y, reduction="none") * share).sum()

        return vmap(grad(loss), in_dims=(None, 0, 0, 0))(weights, x, y, share)


def distance(real: Gradients, synthetic: Gradients) -> Tensor:
    """Σ over classes, weights and rows (a weight reshaped to [out, rest]) of 1 − cosine (DC, Eq. 10)."""
    total = torch.zeros((), device=next(iter(real.values())).device)
    for name, value in real.items():
        a, b = value.flatten(2), synthetic[name].flatten(2)
        cosine = (a * b).sum(2) / (a.norm(dim=2) * b.norm(dim=2) + _PARALLEL)
        total = total + (1 - cosine).sum()
    return total
