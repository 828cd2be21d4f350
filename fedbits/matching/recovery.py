"""Recovery of a teacher's statistics (SRe2L, Yin, Xing and Shen, NeurIPS 2023).

Samples are optimised until the teacher takes them for their classes, and until what it sees of them, layer by
layer, has the mean and variance that it has of real data. The published teachers keep these in their batch
normalisation; here they are measured once, of the output of every convolution, so any network will do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedbits import networks
from fedbits.acceleration import Acceleration
from fedbits.augment import augment, draw
from fedbits.data.tensors import Batch, TensorData
from fedbits.errors import ConfigError
from fedbits.matching.base import Objective, ObjectiveConfig, Setting, Synthetic
from fedbits.matching.pool import ExtractorPool, PoolConfig
from fedbits.progress import Progress
from fedbits.rng import derive_seed, torch_stream

_MEASURED, _BATCH = 4096, 256  # real samples of which statistics are taken, and how many at once


@dataclass(frozen=True)
class RecoveryConfig(ObjectiveConfig):
    """Settings of recovery.

    Attributes:
        network, width, steps: the teacher, where the run brings none: ``auto`` follows the samples.
        statistics: weight of the statistics beside the cross-entropy.
        augmented: whether samples are augmented by DSA, each by a draw of its own.
    """

    network: str = "auto"
    width: int = 64
    steps: int = 1000
    statistics: float = 0.1
    augmented: bool = True

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        if self.width < 1 or self.steps < 1:
            raise ConfigError(
                f"width is {self.width} and steps {self.steps} of the teacher: expected at least 1 each"
            )
        if not 0 <= self.statistics < float("inf"):
            raise ConfigError(f"statistics is {self.statistics}: expected 0 or more")


class Recovery(Objective):
    """Cross-entropy of a teacher, and the distance of its statistics to those of real data."""

    def __init__(self, config: RecoveryConfig, setting: Setting) -> None:
        self._config, self._setting = config, setting

    def prepare(self, data: TensorData, progress: Progress) -> None:
        config, setting = self._config, self._setting
        given = setting.extractor if setting.teacher is None else setting.teacher
        if given is not None:
            self._teacher = given
        else:
            name = networks.default_network(data.spec) if config.network == "auto" else config.network
            self._teacher = networks.build(
                name, data.spec, config.width, derive_seed(setting.seed, "teacher")
            )
            self._teacher.to(setting.device)
            pool = ExtractorPool(
                PoolConfig(1, (config.steps,)), self._teacher, derive_seed(setting.seed, "teaching")
            )
            pool.prepare(data, Acceleration(setting.device), progress)
        self._teacher.to(setting.device).requires_grad_(False).eval()
        self._layers = [
            layer for layer in self._teacher.modules() if isinstance(layer, nn.Conv2d | nn.Linear)
        ][:-1]  # the last gives logits
        self._real = self._measured(data)

    def _measured(self, data: TensorData) -> list[Tensor]:
        """``[2, channels]`` of each layer: mean and variance of what real data becomes there."""
        index = torch.randperm(len(data), generator=torch_stream(self._setting.seed, "measured"))[:_MEASURED]
        sums, count = None, 0
        with torch.no_grad():
            for part in index.split(_BATCH):
                samples = data.batch(part.to(data.labels.device)).samples.to(self._setting.device)
                with self._seen() as seen:
                    self._teacher(samples)
                moments = [len(part) * _moments(values) for values in seen]
                sums = moments if sums is None else [a + b for a, b in zip(sums, moments, strict=True)]
                count += len(part)
        return [_central(total / count) for total in sums or []]

    @contextmanager
    def _seen(self) -> Iterator[list[Tensor]]:
        """What the layers give in the forward pass within, in their order."""
        seen: list[Tensor] = []
        hooks = [layer.register_forward_hook(lambda *call: seen.append(call[2])) for layer in self._layers]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    def loss(self, real: Batch | None, synthetic: Synthetic, step: int) -> Tensor:
        samples = synthetic.samples
        if self._config.augmented:
            generator = torch_stream(self._setting.seed, "augment", step)
            samples = augment(samples, draw(len(samples), generator, samples.device))
        with self._seen() as seen:
            logits = self._teacher(samples)
        distances = [
            (_central(_moments(values)) - real).square().sum() / real[1].sum()
            for values, real in zip(seen, self._real, strict=True)
        ]
        matched = torch.stack(distances).sum() if distances else logits.new_zeros(())
        return F.cross_entropy(logits, synthetic.targets) + self._config.statistics * matched


def _moments(values: Tensor) -> Tensor:
    """``[2, channels]``: mean and mean square over samples and places."""
    flat = values.float().flatten(2).movedim(1, 2).flatten(0, 1) if values.dim() > 2 else values.float()
    return torch.stack([flat.mean(0), flat.square().mean(0)])


def _central(moments: Tensor) -> Tensor:
    """Mean and variance, of mean and mean square."""
    return torch.stack([moments[0], moments[1] - moments[0].square()])
