"""What a plan is, the set that it starts from, and in which forms samples can be stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedbits.data.spec import DataSpec
from fedbits.distilled_set import DistilledSet
from fedbits.labels import SoftLabels
from fedbits.parameterization import Parameterization, StorageConfig
from fedbits.plan.candidates import Candidates
from fedbits.recipe import Recipe
from fedbits.rng import derive_seed


@dataclass(frozen=True)
class Plan:
    """What is stored: ``counts`` samples of each class in one storage form."""

    counts: tuple[int, ...]
    config: StorageConfig

    @property
    def samples(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class Storage:
    """A form in which samples can be stored.

    Attributes:
        plan: settings for a budget in bytes (None: whatever it takes), and how many samples are then stored.
        start: normalised real samples ``[n, *spec.shape]`` of classes ``[n]`` in such settings, by a seed.
    """

    plan: Callable[[Candidates, Recipe, int | None], Plan]
    start: Callable[[Tensor, Tensor, DataSpec, Any, int], Parameterization]


STORAGES: dict[str, Storage] = {}  # by the name that recipes give them


def start(candidates: Candidates, plan: Plan, recipe: Recipe) -> DistilledSet:
    """The set of ``plan`` before any optimisation: real samples, and labels that say no more than classes."""
    spec, samples = candidates.data.spec, candidates.samples(plan.counts)
    labels = torch.arange(spec.classes).repeat_interleave(torch.tensor(plan.counts))
    seed = derive_seed(candidates.seed, recipe.storage)
    parameterization = STORAGES[recipe.storage].start(samples, labels, spec, plan.config, seed)
    distilled = DistilledSet(spec, parameterization, list(plan.counts), recipe.name)
    if recipe.labels == "soft":
        distilled.soft_labels = SoftLabels.certain(distilled.labels, spec.classes)
    return distilled
