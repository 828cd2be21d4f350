"""Expert trajectories (MTT, Cazenavette et al., CVPR 2022): networks trained on real data, at every epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad_and_value, vmap

from fedbits import networks
from fedbits.acceleration import Acceleration, choose
from fedbits.augment import Draw, augment, draw
from fedbits.checkpoint import fingerprint
from fedbits.data.tensors import TensorData
from fedbits.errors import ConfigError
from fedbits.matching.functional import FlatNetwork
from fedbits.matching.store import NetworkStore
from fedbits.progress import Progress, Task
from fedbits.rng import derive_seed, torch_stream

_FORMAT = 1  # of what training does with its settings: another number, and older files are left alone
_KEEP_EVERY = 60.0  # seconds between what an interrupted run is resumed from
# Under vmap a convolution becomes a grouped one. On a CPU that takes 2 to 3.3 times as long as one expert
# after the other (measured: widths 32 and 128, batches of 64 and 256), and an MLP gains nothing to speak of.
_TOGETHER_ON_GPU = 8


@dataclass(frozen=True)
class ExpertConfig:
    """How expert networks are trained, by SGD on cross-entropy.

    Attributes:
        experts: how many, each from its own initial weights.
        epochs: passes over the real data; parameters are kept before the first and after each.
        batch: real samples per step; the last batch of an epoch takes what is left.
        learning_rate, momentum: of SGD, constant; MTT's are 0.01 and 0.
        augmented: by DSA, one operation a batch, each sample with its own draw; flat samples never are.
        network, width: of the experts; ``auto`` follows the samples.
        together: how many are trained at once (vmap), None for what suits the device. Results differ by
            rounding alone, so it is no part of what cached experts are found by.
    """

    experts: int = 100
    epochs: int = 50
    batch: int = 256
    learning_rate: float = 0.01
    momentum: float = 0.0
    augmented: bool = True
    network: str = "auto"
    width: int = 128
    together: int | None = None

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        for name in ("experts", "epochs", "batch", "width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} of experts is {getattr(self, name)}: expected at least 1")
        if self.together is not None and self.together < 1:
            raise ConfigError(f"together is {self.together}: expected at least 1, or None")
        if not self.learning_rate > 0 or not 0 <= self.momentum < 1:
            raise ConfigError(
                f"experts' learning rate is {self.learning_rate} and momentum {self.momentum}: expected a "
                "positive rate and a momentum from 0 to below 1"
            )


class Experts:
    """Parameters ``[p]`` float32 of each expert at each epoch, read when they are asked for."""

    def __init__(self, trajectories: Sequence[np.ndarray], device: torch.device) -> None:
        """``trajectories`` ``[epochs + 1, p]`` each, in memory or mapped from files."""
        self._trajectories, self._device = trajectories, device

    def __len__(self) -> int:
        return len(self._trajectories)

    @property
    def epochs(self) -> int:
        """The last epoch there is; epoch 0 is before training."""
        return len(self._trajectories[0]) - 1

    def theta(self, expert: int, epoch: int) -> Tensor:
        """A copy of the parameters of ``expert`` after ``epoch`` epochs."""
        return torch.from_numpy(np.array(self._trajectories[expert][epoch])).to(self._device)


def build_network(data: TensorData, config: ExpertConfig, seed: int = 0) -> torch.nn.Module:
    """A network as the experts are, freshly initialised from ``seed``.

    Raises:
        ConfigError: there is no such network, or it cannot take such samples.
    """
    name = networks.default_network(data.spec) if config.network == "auto" else config.network
    return networks.build(name, data.spec, config.width, seed)


def train_experts(
    data: TensorData,
    config: ExpertConfig,
    seed: int,
    device: torch.device,
    progress: Progress,
    cache: Path | None,
) -> Experts:
    """The experts of ``data``: from ``cache`` those that are there, the others trained and left there.

    Every draw follows from (``seed``, expert, epoch), so an interrupted training ends as an uninterrupted
    one does, bit for bit; one cut short goes on from an epoch of the last minute. Experts that are trained
    together are numbered in a row and are always trained in the same company, even where only one of them
    is lost: their rounding depends on it.

    Args:
        cache: a folder with one subfolder for each set of experts, found by a digest of everything that
            shapes them; None keeps them in memory only. A folder that cannot be written to is warned of
            once and done without; a damaged file is trained anew.
    """
    data = data.to(device)
    how = choose(device, 0.0)
    network = FlatNetwork(build_network(data, config).to(device))
    key = experts_key(data, config, seed, how)
    store = NetworkStore(None if cache is None else cache / key, config.epochs + 1, network.size, "experts")
    found = [store.load(expert) for expert in range(config.experts)]
    blocks = [block for block in _blocks(config, device) if any(found[i] is None for i in block)]
    if blocks:
        training = _Training(network, data, config, seed, how)
        total = sum(map(len, blocks)) * config.epochs * training.steps
        with progress.task("training experts", total) as task:
            for block in blocks:
                for expert, trajectory in zip(block, _train_block(training, block, store, task), strict=True):
                    found[expert] = store.save(expert, trajectory)
                store.forget_partial(block)
    return Experts([trajectory for trajectory in found if trajectory is not None], device)


def experts_key(data: TensorData, config: ExpertConfig, seed: int, how: Acceleration) -> str:
    """The name of a set of experts: a digest of the data, the settings, the seed, torch and the device."""
    settings = replace(config, together=None)
    return fingerprint(data, "experts", _FORMAT, settings, seed, how.device.type, how.bfloat16)[:32]


def _blocks(config: ExpertConfig, device: torch.device) -> Iterator[range]:
    """Experts that are trained together."""
    together = config.together or (1 if device.type == "cpu" else _TOGETHER_ON_GPU)
    for first in range(0, config.experts, together):
        yield range(first, min(first + together, config.experts))


def _train_block(training: _Training, block: range, store: NetworkStore, task: Task) -> np.ndarray:
    """Trajectories ``[len(block), epochs + 1, p]``, from where an interrupted run left them."""
    epochs = training.config.epochs
    trajectories = np.empty((len(block), epochs + 1, training.network.size), np.float32)
    partial = store.load_partial(block)
    if partial is None:
        done, theta = 0, training.start(block)
        velocity = torch.zeros_like(theta)
        trajectories[:, 0] = theta.cpu().numpy()
    else:
        done = partial.shape[1] - 2
        trajectories[:, : done + 1] = partial[:, :-1]
        theta, velocity = (torch.from_numpy(partial[:, row].copy()).to(training.device) for row in (-2, -1))
        task.advance(len(block) * done * training.steps, "resumed")
    kept = time.monotonic()
    for epoch in range(done, epochs):
        theta, velocity = training.epoch(block, epoch, theta, velocity, task)
        trajectories[:, epoch + 1] = theta.cpu().numpy()
        if epoch + 1 < epochs and time.monotonic() - kept >= _KEEP_EVERY:
            last = velocity.cpu().numpy()[:, None]
            store.save_partial(block, np.concatenate([trajectories[:, : epoch + 2], last], axis=1))
            kept = time.monotonic()
    return trajectories


class _Training:
    """SGD of several experts at once: one row of parameters ``[experts, p]`` each."""

    def __init__(
        self, network: FlatNetwork, data: TensorData, config: ExpertConfig, seed: int, how: Acceleration
    ) -> None:
        self.network, self.config, self.device = network, config, how.device
        self._data, self._seed, self._how = data, seed, how
        self.steps = math.ceil(len(data) / config.batch)  # per epoch

    def start(self, block: range) -> Tensor:
        """Initial parameters ``[len(block), p]``."""
        rows = []
        for expert in block:
            seed = derive_seed(self._seed, "expert", expert)
            rows.append(FlatNetwork(build_network(self._data, self.config, seed)).vector())
        return torch.stack(rows).to(self.device)

    def epoch(
        self, block: range, epoch: int, theta: Tensor, velocity: Tensor, task: Task
    ) -> tuple[Tensor, Tensor]:
        """Parameters and velocities after one more pass over the data."""
        streams = [torch_stream(self._seed, "expert", expert, "epoch", epoch) for expert in block]
        order = torch.stack([torch.randperm(len(self._data), generator=stream) for stream in streams])
        for index in order.to(self.device).split(self.config.batch, dim=1):
            samples, labels = self._batch(index, streams)
            slope, loss = self._slope(theta, samples, labels)
            velocity = self.config.momentum * velocity + slope
            theta = theta - self.config.learning_rate * velocity
            task.advance(len(block))
        task.advance(0, f"expert {block[-1] + 1}, epoch {epoch + 1}: loss {float(loss):.3f}")
        if not theta.isfinite().all():
            raise ConfigError(
                f"experts diverged in epoch {epoch + 1}: give less than their learning rate of "
                f"{self.config.learning_rate}"
            )
        return theta, velocity

    def _batch(self, index: Tensor, streams: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        """Samples ``[experts, batch, *shape]``, as each expert sees them, and labels ``[experts, batch]``."""
        samples, labels = self._data.batch(index.flatten())
        samples = samples.view(*index.shape, *samples.shape[1:])
        if self.config.augmented:
            samples = augment_each(samples, [draw(index.shape[1], stream) for stream in streams])
        return samples, labels.view(index.shape)

    def _slope(self, theta: Tensor, samples: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients ``[experts, p]`` of the experts' losses, and the mean loss."""
        if len(theta) == 1:
            leaf = theta[0].detach().requires_grad_()
            loss = self._loss(leaf, samples[0], labels[0])
            (slope,) = torch.autograd.grad(loss, leaf)
            return slope[None], loss.detach()
        slopes, losses = vmap(grad_and_value(self._loss))(theta, samples, labels)
        return slopes, losses.mean()

    def _loss(self, theta: Tensor, samples: Tensor, labels: Tensor) -> Tensor:
        with self._how.autocast():
            logits = self.network.logits(theta, samples)
        return F.cross_entropy(logits.float(), labels)


def augment_each(samples: Tensor, draws: list[Draw]) -> Tensor:
    """``samples`` ``[experts, n, *shape]`` by the draw of each expert; equal operations go in one call."""
    augmented = torch.empty_like(samples)
    for operation in sorted({drawn.operation for drawn in draws}):
        which = [i for i, drawn in enumerate(draws) if drawn.operation == operation]
        together = Draw(operation, torch.cat([draws[i].uniform for i in which]).to(samples.device))
        some = samples[which]
        augmented[which] = augment(some.flatten(0, 1), together).view(some.shape)
    return augmented
