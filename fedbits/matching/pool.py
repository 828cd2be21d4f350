"""Feature extractors at several stages of training, trained once and kept for the runs that come."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedbits import networks
from fedbits.acceleration import Acceleration
from fedbits.augment import augment, draw
from fedbits.checkpoint import fingerprint
from fedbits.data.tensors import TensorData
from fedbits.errors import ConfigError
from fedbits.files import cache_folder
from fedbits.matching.store import NetworkStore
from fedbits.progress import Progress, Task
from fedbits.rng import derive_seed, torch_stream

_FORMAT = 1  # of what training does with its settings: another number, and older files are left alone


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
        """``network``'s parameters and buffers are float32, or integers that float32 has as well."""
        self._config, self._network, self._seed = config, network, seed
        self._stages = sorted(set(config.stages))
        self._snapshots: list[dict[str, Tensor]] = []

    def prepare(self, data: TensorData, how: Acceleration, progress: Progress) -> None:
        """Train the networks that are not in the cache's folder ``pools``, and leave them there.

        The same seed gives the same pool, wherever it comes from; an interrupted training goes on after the
        last whole network. A folder that cannot be written to is warned of once and done without; a damaged
        file is trained anew. The shared network is left at the last stage of the last network, without
        gradients.
        """
        size = sum(value.numel() for value in self._network.state_dict().values())
        folder = cache_folder("pools") / pool_key(data, self._config, self._network, self._seed, how)
        store = NetworkStore(folder, len(self._stages), size, "extractors")
        found = [store.load(number) for number in range(self._config.networks)]
        missing = [number for number, rows in enumerate(found) if rows is None]
        if missing:
            forward = how.prepare(self._network)
            with progress.task("training extractors", len(missing) * self._stages[-1]) as task:
                for number in missing:
                    found[number] = store.save(number, self._train(number, forward, data, how, task))
        self._snapshots = [
            snapshot for rows in found if rows is not None for snapshot in self._unpacked(rows)
        ]
        self._network.load_state_dict(self._snapshots[-1])
        self._network.requires_grad_(False)

    def _train(
        self,
        number: int,
        forward: Callable[[Tensor], Tensor],
        data: TensorData,
        how: Acceleration,
        task: Task,
    ) -> np.ndarray:
        """What network ``number`` holds at each stage, float32 ``[stages, size]``."""
        seed = derive_seed(self._seed, number)
        self._network.requires_grad_(True)
        networks.initialise(self._network, seed)
        optimizer = torch.optim.SGD(
            self._network.parameters(), lr=self._config.learning_rate, momentum=0.9, weight_decay=5e-4
        )
        rows = []
        for step in range(self._stages[-1] + 1):
            if step in self._stages:
                rows.append(self._packed())
            if step < self._stages[-1]:
                self._train_step(forward, optimizer, data, how, derive_seed(seed, step))
                task.advance()
        return torch.stack(rows).cpu().numpy()

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
        if data.spec.pictures:
            samples = augment(samples, draw(len(labels), generator, how.device))
        with how.autocast():
            logits = forward(samples)
        optimizer.zero_grad()
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    def _packed(self) -> Tensor:
        """All that the network holds, float32 ``[size]``."""
        return torch.cat([value.detach().float().flatten() for value in self._network.state_dict().values()])

    def _unpacked(self, rows: np.ndarray) -> list[dict[str, Tensor]]:
        """States of the network, on its device, of ``rows`` ``[stages, size]``."""
        like = self._network.state_dict()
        device = next(iter(like.values())).device
        held = torch.from_numpy(np.array(rows, np.float32)).to(device)
        sizes = [value.numel() for value in like.values()]
        parts = [row.split(sizes) for row in held]
        return [
            {name: part.view(like[name].shape) for name, part in zip(like, row, strict=True)} for row in parts
        ]

    def load(self, step: int) -> None:
        """Put the snapshot of ``step`` into the shared network."""
        choice = torch.randint(len(self._snapshots), (1,), generator=torch_stream(self._seed, "choice", step))
        self._network.load_state_dict(self._snapshots[int(choice)])


def pool_key(data: TensorData, config: PoolConfig, network: nn.Module, seed: int, how: Acceleration) -> str:
    """The name of a pool: a digest of the data, the settings, the network's form, the seed, torch, ``how``.

    Compiled networks differ from others by rounding, so that is part of it.
    """
    form = [str(network), *((name, tuple(value.shape)) for name, value in network.state_dict().items())]
    where = (how.device.type, how.bfloat16, how.compiled)
    return fingerprint(data, "pool", _FORMAT, config, form, seed, where)[:32]
