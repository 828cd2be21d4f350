"""Feature extractors at several stages of training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedbits import networks
from fedbits.acceleration import Acceleration
from fedbits.augment import augment, draw
from fedbits.data.tensors import TensorData
from fedbits.errors import ConfigError
from fedbits.progress import Progress
from fedbits.rng import derive_seed, torch_stream


@dataclass(frozen=True)
class PoolConfig:
    """``networks`` networks, each kept after each of ``stages`` training steps on real data."""

    networks: int = 8
    stages: tuple[int, ...] = (0, 15, 40, 100)
    batch: int = 128
    learning_rate: float = 0.02

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        if self.networks < 1 or self.batch < 1:
            raise ConfigError(
                f"the pool has {self.networks} networks and batches of {self.batch}: expected at least 1 each"
            )
        if not self.stages or min(self.stages) < 0:
            raise ConfigError(f"stages of the pool are {list(self.stages)}: expected steps of 0 or more")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning_rate of the pool is {self.learning_rate}: expected more than 0")


class ExtractorPool:
    """Snapshots of briefly trained networks, one of them loaded into a shared module for each step."""

    def __init__(self, config: PoolConfig, network: nn.Module, seed: int) -> None:
        self._config, self._network, self._seed = config, network, seed
        self._snapshots: list[dict[str, Tensor]] = []

    def prepare(self, data: TensorData, how: Acceleration, progress: Progress) -> None:
        """Train the networks; the same seed gives the same pool."""
        last = max(self._config.stages)
        forward = how.prepare(self._network)
        self._network.requires_grad_(True)
        with progress.task("training extractors", self._config.networks * last) as task:
            for number in range(self._config.networks):
                seed = derive_seed(self._seed, number)
                networks.initialise(self._network, seed)
                optimizer = torch.optim.SGD(
                    self._network.parameters(), lr=self._config.learning_rate, momentum=0.9, weight_decay=5e-4
                )
                for step in range(last + 1):
                    if step in self._config.stages:
                        self._keep()
                    if step < last:
                        self._train_step(forward, optimizer, data, how, derive_seed(seed, step))
                        task.advance()
        self._network.requires_grad_(False)

    def _train_step(
        self,
        forward: Callable[[Tensor], Tensor],
        optimizer: torch.optim.SGD,
        data: TensorData,
        how: Acceleration,
        seed: int,
    ) -> None:
        generator = torch_stream(seed, "batch")
        index = torch.randint(len(data), (self._config.batch,), generator=generator).to(data.labels.device)
        samples, labels = data.batch(index)
        samples = augment(samples, draw(len(labels), generator, how.device))
        with how.autocast():
            logits = forward(samples)
        optimizer.zero_grad()
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    def _keep(self) -> None:
        self._snapshots.append({name: value.clone() for name, value in self._network.state_dict().items()})

    def load(self, step: int) -> None:
        """Put the snapshot of ``step`` into the shared network."""
        choice = torch.randint(len(self._snapshots), (1,), generator=torch_stream(self._seed, "choice", step))
        self._network.load_state_dict(self._snapshots[int(choice)])
