"""The compressed memory as an Avalanche storage policy."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from avalanche.training.storage_policy import ExemplarsBuffer
from torch import Tensor
from torch.utils.data import Dataset

from fedbits.data import DataSpec
from fedbits.data.union import Union
from fedbits.distilled_set import DistilledSet
from fedbits.errors import ConfigError
from fedbits.progress import SILENT, Progress
from fedbits.rng import derive_seed
from scenarios.datasets import AvalancheDataset, as_dataset, as_samples
from scenarios.memory import Entry, MemoryConfig, Teacher
from scenarios.online import make_memory

_BATCH = 256
_AT_ONCE = 1024  # samples whose logits a network gives at a time


class ReplayedSamples(Dataset[tuple[Tensor, int]]):
    """The samples of some blobs, decoded when the first is asked for, and gone with this object."""

    def __init__(self, spec: DataSpec, entries: list[Entry]) -> None:
        self.spec, self.entries = spec, entries
        classes = torch.arange(spec.classes)
        self.targets: list[int] = [
            label
            for entry in entries
            for label in classes.repeat_interleave(torch.tensor(entry.counts)).tolist()
        ]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.samples[index], self.targets[index]

    @property
    def samples(self) -> Tensor:
        """Normalised float32 ``[n, *shape]``."""
        return self._decoded[0]

    @property
    def logits(self) -> Tensor | None:
        """float32 ``[n, classes]``, of samples that came with such."""
        return self._decoded[1]

    @cached_property
    def _decoded(self) -> tuple[Tensor, Tensor | None]:
        sets = [entry.decode() for entry in self.entries]
        known = [_logits(one) for one in sets]
        taught = [logits for logits in known if logits is not None]
        return Union(self.spec, sets).batch().samples, torch.cat(taught) if taught else None


def _logits(one: DistilledSet) -> Tensor | None:
    """``[n, classes]`` of a set's samples: those that came with them, or what their network makes of them."""
    if one.network is not None:
        with torch.no_grad():
            return torch.cat([one.network.network(part) for part in one.samples.split(_AT_ONCE)])
    return None if one.soft_labels is None else one.soft_labels.logits.detach()


class CompressedBuffer(ExemplarsBuffer):
    """A storage policy of at most ``max_size`` bytes, for ``ReplayPlugin``, ``GDumbPlugin`` and ``DER``.

    It holds blobs and nothing of the stream. :attr:`buffer` is decoded when its first sample is asked for,
    and released with the last data loader over it: Avalanche lets go of it after each experience.

    Args:
        spec: the task; the stream's samples are normalised by it.
        config: capacity, recipe and policy; ``max_size`` is the capacity, in bytes.
        seed: of all that is random in filling it.
        logits: whether samples are stored with the logits that the strategy's network gives them (DER).
        progress: shown while samples are distilled; not a part of what is pickled.
    """

    def __init__(
        self,
        spec: DataSpec,
        config: MemoryConfig,
        seed: int = 0,
        logits: bool = False,
        progress: Progress = SILENT,
    ) -> None:
        # Not the base class's: it would keep a data set.
        self.max_size = config.capacity
        self.spec, self.seed, self.logits = spec, seed, logits
        self.memory = make_memory(config)
        self.added = 0  # experiences
        self._progress = progress
        self._decoded: weakref.ref[ReplayedSamples] | None = None

    @property
    def size(self) -> int:
        """Bytes of all blobs."""
        return self.memory.size

    @property
    def buffer(self) -> AvalancheDataset:
        """The samples as a data set, of (sample, class, task 0) and perhaps logits."""
        samples = None if self._decoded is None else self._decoded()
        if samples is None:
            samples = ReplayedSamples(self.spec, list(self.memory.entries))
            self._decoded = weakref.ref(samples)
        return as_dataset(samples, samples.targets, samples.logits if self.logits and len(samples) else None)

    @buffer.setter
    def buffer(self, new_buffer: AvalancheDataset) -> None:
        raise ConfigError("samples cannot be put into a compressed buffer as they are: let it adapt to them")

    def update(self, strategy: Any, **kwargs: Any) -> None:
        """What Avalanche's plugins call; the base class's warns that it is deprecated."""
        self.post_adapt(strategy, strategy.experience)

    def post_adapt(self, agent: Any, exp: Any) -> None:
        """Remember the experience ``exp``.

        Raises:
            FedbitsError: as of :meth:`CompressedMemory.add`.
        """
        data, _ = as_samples(exp.dataset, self.spec)
        seed = derive_seed(self.seed, "memory", self.added)
        teacher = _teacher(agent) if self.logits else None
        self.memory.add(data, seed, teacher, self._progress)
        self.added += 1
        self._decoded = None

    def resize(self, strategy: Any, new_size: int) -> None:
        """Change the capacity, in bytes.

        Raises:
            BudgetError: as of :meth:`CompressedMemory.resize`.
        """
        self.memory.resize(new_size, derive_seed(self.seed, "resize", self.added))
        self.max_size = new_size
        self._decoded = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_decoded": None, "_progress": SILENT}


def _teacher(agent: Any) -> Teacher:
    """Logits of the strategy's network, as it is used for testing."""

    def logits(samples: Tensor) -> Tensor:
        with _evaluating(agent.model), torch.no_grad():
            return torch.cat([agent.model(part.to(agent.device)).cpu() for part in samples.split(_BATCH)])

    return logits


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
