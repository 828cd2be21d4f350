"""Distribution matching (Zhao & Bilen, WACV 2023), all classes in one batch.

Beyond the paper: the feature extractors come from a pool of briefly trained networks as well as random ones
(the idea of IDM), and distributions can be compared by their characteristic functions at random frequencies
instead of by their means (the idea of NCFM).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from fedbits import networks
from fedbits.acceleration import Acceleration, choose, in_chunks
from fedbits.augment import augment, draw
from fedbits.data.tensors import Batch, TensorData
from fedbits.errors import ConfigError
from fedbits.matching.base import Objective, ObjectiveConfig, Setting, Synthetic
from fedbits.matching.class_batches import class_batches
from fedbits.matching.class_means import class_means
from fedbits.matching.pool import ExtractorPool, PoolConfig
from fedbits.progress import Progress
from fedbits.rng import derive_seed, torch_stream

_CONSTANT = 1e-3  # features that vary by less, beside the mean feature, are not blown up to unit spread
Statistic = Literal["mean", "characteristic"]


@dataclass(frozen=True)
class DistributionConfig(ObjectiveConfig):
    """Settings of distribution matching.

    Attributes:
        network, width: the feature extractor; ``auto`` follows the samples.
        real_batch: real samples per class and step.
        augmented: by DSA, real and synthetic samples of a class alike; flat samples never are.
        statistic: what of the features is matched: their ``mean`` (DM) or their ``characteristic`` function.
        frequencies: how many random frequencies a characteristic function is compared at.
        pool: the networks that features come from; None draws a fresh random one each step (DM).
    """

    network: str = "auto"
    width: int = 128
    real_batch: int = 64
    augmented: bool = True
    statistic: Statistic = "mean"
    frequencies: int = 1024
    pool: PoolConfig | None = None

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        for name in ("width", "real_batch", "frequencies"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected at least 1")
        if self.statistic not in ("mean", "characteristic"):
            raise ConfigError(f"statistic is {self.statistic!r}: expected mean or characteristic")


class DistributionMatching(Objective):
    """Sum over classes of the squared distance between statistics of real and synthetic features."""

    def __init__(self, config: DistributionConfig, setting: Setting, how: Acceleration | None = None) -> None:
        """``how`` forces an acceleration that would otherwise be chosen for the machine and the work."""
        self._config, self._seed, self._device = config, setting.seed, setting.device
        self._steps, self._given, self._forced = setting.steps, setting.extractor, how
        self._pool: ExtractorPool | None = None

    def prepare(self, data: TensorData, progress: Progress) -> None:
        config = self._config
        self._classes = data.class_indices()
        self._present = [c for c, index in enumerate(self._classes) if len(index)]
        name = networks.default_network(data.spec) if config.network == "auto" else config.network
        self._network = networks.build(name, data.spec, config.width, derive_seed(self._seed, "extractor"))
        self._network.to(self._device).requires_grad_(False)
        self._how = self._forced or self._acceleration(data)
        if self._given is not None:
            self._network = self._given.to(self._device).requires_grad_(False)
        elif config.pool is not None:
            self._pool = ExtractorPool(config.pool, self._network, derive_seed(self._seed, "pool"))
            self._pool.prepare(data, self._how, progress)
        self._compute = self._how.prepare(cast(networks.FeatureNetwork, self._network).features)
        _, height, width = data.spec.grid_shape
        self._chunk = self._how.chunk(config.width * height * width)

    def _features(self, samples: Tensor) -> Tensor:
        """``[n, features]`` of augmented samples, in float32."""
        with self._how.autocast():
            return in_chunks(self._compute, samples, self._chunk).float()

    def _acceleration(self, data: TensorData) -> Acceleration:
        _, height, width = data.spec.grid_shape
        real = len(self._present) * self._config.real_batch
        return choose(self._device, 2.0 * self._steps * real * self._config.width * height * width)

    def real_indices(self, step: int) -> Tensor:
        """``real_batch`` samples of each class that is present, class by class, drawn without replacement."""
        generator = torch_stream(self._seed, "real", step)
        return class_batches(self._classes, self._config.real_batch, generator)

    def loss(self, real: Batch | None, synthetic: Synthetic, step: int) -> Tensor:
        assert real is not None
        if self._pool is not None:
            self._pool.load(step)
        elif self._given is None:
            networks.initialise(self._network, derive_seed(self._seed, "network", step))
        classes = int(max(self._present)) + 1
        drawn = draw(classes, torch_stream(self._seed, "siamese", step), self._device)

        def seen(samples: Tensor, labels: Tensor) -> Tensor:
            return augment(samples, drawn.of(labels)) if self._config.augmented else samples

        with torch.no_grad():
            real_features = self._features(seen(real.samples, real.labels))
        features = self._features(seen(synthetic.samples, synthetic.labels))
        real_statistics = self._statistics(real_features, real_features, step)
        statistics = self._statistics(features, real_features, step)
        difference = class_means(real_statistics, real.labels, classes) - class_means(
            statistics, synthetic.labels, classes
        )
        return difference[self._present].square().sum()

    def _statistics(self, features: Tensor, real: Tensor, step: int) -> Tensor:
        """``[n, statistics]`` whose class means are compared."""
        if self._config.statistic == "mean":
            return features
        generator = torch_stream(self._seed, "frequencies", step)
        frequencies = torch.randn(features.shape[1], self._config.frequencies, generator=generator).to(
            self._device
        )
        spread = real.std(dim=0)
        spread = spread.clamp(min=max(_CONSTANT * float(spread.mean()), 1e-6))
        scale = spread.unsqueeze(1) * features.shape[1] ** 0.5
        phase = (features - real.mean(dim=0)) @ (frequencies / scale)
        return torch.cat([phase.cos(), phase.sin()], dim=1) / self._config.frequencies**0.5
