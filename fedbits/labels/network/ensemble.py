"""Networks of several nodes asked together: as one classifier, and as the labellers of each other's views.

Nodes know different classes, and of some only a few samples. What counts of an answer is what its network
knows of the class it names, or of the classes that a view is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from fedbits.labels.network.labeller import Labeller, NetworkLabels

Rule = Literal["mean", "weighted", "corrected"]
RULES: tuple[Rule, ...] = get_args(Rule)
_UNSEEN = 1e-3  # samples that stand for none: where all lack a class, those that lack one only count
_LEAST = 1e-9  # of a probability


class Ensemble(nn.Module):
    """Normalised samples ``[n, *shape]`` to log-probabilities ``[n, classes]`` of several networks.

    By ``rule``: the ``mean`` of their probabilities; of each class, a mean ``weighted`` by how many samples
    of it each has seen; or this of probabilities ``corrected`` for how often its node had each class, as if
    it had had all of those that it knows alike (logit adjustment; Menon et al., ICLR 2021).
    """

    def __init__(self, networks: Sequence[NetworkLabels], rule: Rule) -> None:
        super().__init__()
        self.rule = rule
        # Of its own: moved to a device, those that label there must not move with it.
        self.networks = nn.ModuleList([Labeller(labels.form, labels.tensors) for labels in networks])
        self.register_buffer("coverage", torch.stack([labels.coverage for labels in networks]))

    coverage: Tensor  # [networks, classes]

    def forward(self, samples: Tensor) -> Tensor:
        answers = torch.stack([self._answer(number, samples) for number in range(len(self.networks))])
        if self.rule == "mean":
            return answers.mean(0).clamp(min=_LEAST).log()
        weights = self.coverage / self.coverage.sum(0).clamp(min=_LEAST)
        found = (weights[:, None] * answers).sum(0) + _LEAST
        return (found / found.sum(1, keepdim=True)).log()

    def _answer(self, number: int, samples: Tensor) -> Tensor:
        logits = self.networks[number](samples)
        if self.rule == "corrected":
            seen = self.coverage[number]
            logits = torch.where(seen > 0, logits - seen.clamp(min=_UNSEEN).log(), -torch.inf)
        return logits.softmax(1)


@dataclass(frozen=True)
class PooledLabels(NetworkLabels):
    """A network whose views are labelled by all ``networks`` of a union, as far as they know its classes.

    A network counts by the samples it has seen of the classes that a view is made of: their geometric mean,
    each class by its share of the view. One that lacks a class has no say in its views.
    """

    networks: tuple[NetworkLabels, ...] = ()

    def label(self, views: Tensor, made_of: Tensor) -> Tensor:
        weights = (made_of @ self._known.to(made_of.device)).softmax(1)
        found = torch.zeros_like(made_of)
        for number, labels in enumerate(self.networks):
            found += weights[:, number, None] * labels.probabilities(views)
        return found

    @cached_property
    def _known(self) -> Tensor:
        """Logarithms of how many samples of each class each network has seen, ``[classes, networks]``."""
        return torch.stack([labels.coverage for labels in self.networks], 1).clamp(min=_UNSEEN).log()


def pooled(own: NetworkLabels, networks: Sequence[NetworkLabels]) -> NetworkLabels:
    """The views of ``own``, labelled by all ``networks``."""
    parts = {field.name: getattr(own, field.name) for field in fields(NetworkLabels)}
    return PooledLabels(**parts, networks=tuple(networks))
