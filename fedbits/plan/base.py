"""What a plan is, and the set that it starts from."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedbits.distilled_set import DistilledSet
from fedbits.labels import SoftLabels
from fedbits.parameterization import (
    EpitomeConfig,
    EpitomeParameterization,
    FloatParameterization,
    LatentConfig,
    LatentParameterization,
    Parameterization,
    PixelConfig,
    PixelParameterization,
)
from fedbits.plan.candidates import Candidates
from fedbits.recipe import FLOAT_BITS, Recipe
from fedbits.rng import derive_seed


@dataclass(frozen=True)
class Plan:
    """What is stored: ``counts`` samples of each class in one storage form."""

    counts: tuple[int, ...]
    config: PixelConfig | EpitomeConfig | LatentConfig

    @property
    def samples(self) -> int:
        return sum(self.counts)


def start(candidates: Candidates, plan: Plan, recipe: Recipe) -> DistilledSet:
    """The set of ``plan`` before any optimisation: real samples, and labels that say no more than classes."""
    spec, samples = candidates.data.spec, candidates.samples(plan.counts)
    parameterization: Parameterization
    if isinstance(plan.config, EpitomeConfig):
        parameterization = EpitomeParameterization.from_samples(
            samples, spec, plan.config, derive_seed(candidates.seed, "epitome")
        )
    elif isinstance(plan.config, LatentConfig):
        labels = torch.arange(spec.classes).repeat_interleave(torch.tensor(plan.counts))
        parameterization = LatentParameterization.from_samples(
            samples, labels, spec, plan.config, derive_seed(candidates.seed, "latent")
        )
    elif plan.config.bits == FLOAT_BITS:
        parameterization = FloatParameterization(spec, samples)
    else:
        parameterization = PixelParameterization.from_samples(samples, spec, plan.config)
    distilled = DistilledSet(spec, parameterization, list(plan.counts), recipe.name)
    if recipe.labels == "soft":
        distilled.soft_labels = SoftLabels.certain(distilled.labels, spec.classes)
    return distilled
