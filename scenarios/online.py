"""A memory for streams that are seen once, sample by sample, without tasks: a reservoir that is a blob.

Each class is sampled uniformly from all that has been seen of it, and classes share the bytes as evenly as
their samples allow. A sample is coded when it is taken, on a grid that is fixed from the start; then only
whole samples are dropped, so nothing is ever quantised twice. There is no staging area: what is held between
two batches is one blob and a few numbers for each class. A batch itself is not memory: whoever trains holds
it anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from fedbits import container, cut
from fedbits.data import DataSpec, TensorData
from fedbits.data.union import Union
from fedbits.distilled_set import DistilledSet
from fedbits.errors import BudgetError, ConfigError, MismatchError
from fedbits.parameterization import PixelConfig, PixelParameterization
from fedbits.progress import SILENT, Progress
from fedbits.recipe import FLOAT_BITS
from fedbits.rng import derive_seed, torch_stream
from scenarios.memory import CompressedMemory, Entry, MemoryConfig, Teacher

BATCH = 256  # samples that arrive at once, where an experience arrives as a whole
_BITS = 2
_HALVED = 14  # pixels of the shorter side from which samples are stored at half resolution


@dataclass
class OnlineMemory:
    """Has what :class:`scenarios.memory.CompressedMemory` has; its capacity is that of one blob.

    A sample of class c stays while its random key, uniform in [0, 1), is below the class's threshold, which
    falls when bytes run out (priority sampling). Keys are not stored: given the threshold, those of the
    samples held are uniform below it and tell nothing else, so that they can be drawn anew for each batch.

    Attributes:
        blob: empty before the first sample.
        thresholds: of each class, in (0, 1].
        seen: real samples of each class so far.
    """

    config: MemoryConfig
    blob: bytes = b""
    counts: tuple[int, ...] = ()
    thresholds: list[float] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where the recipe cannot work in a single pass."""
        recipe = self.config.recipe
        real = not recipe.steps and recipe.storage == "pixel" and recipe.bits != FLOAT_BITS
        real = real and recipe.labels == "hard"
        if not real or recipe.selection != "random" or recipe.ipc is not None:
            raise ConfigError(
                f"recipe {recipe.name!r} needs more than a single pass over the data: the online policy "
                f"takes 'random', without a number of samples"
            )

    @property
    def size(self) -> int:
        """Bytes of the blob."""
        return len(self.blob)

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def entries(self) -> list[Entry]:
        return [Entry(self.blob, self.counts, tuple(self.seen))] if self.blob else []

    def blobs(self) -> Iterator[bytes]:
        return (entry.blob for entry in self.entries)

    def decode(self) -> list[DistilledSet]:
        return [entry.decode() for entry in self.entries]

    def union(self, spec: DataSpec) -> Union:
        """All samples as one set to train on, decoded: hold it no longer than an epoch needs it."""
        return Union(spec, self.decode())

    def add(
        self, data: TensorData, seed: int, teacher: Teacher | None = None, progress: Progress = SILENT
    ) -> None:
        """See ``data`` once, in its order, :data:`BATCH` samples at a time.

        Raises:
            BudgetError, ConfigError, MismatchError: as of :meth:`observe`.
        """
        if teacher is not None:
            raise ConfigError("the online policy stores no logits: give another policy")
        parts = torch.arange(len(data)).split(BATCH)
        with progress.task("remembering", len(parts)) as task:
            for number, part in enumerate(parts):
                self.observe(data.subset(part), derive_seed(seed, "batch", number))
                task.advance(note=f"{len(self):,} samples")

    def observe(self, batch: TensorData, seed: int) -> None:
        """Let samples that just arrived take their chance.

        Raises:
            BudgetError: not even one sample of each class seen fits; nothing has changed.
            ConfigError: the recipe's bits or factor cannot be had of such samples.
            MismatchError: samples are of another task than what is remembered.
        """
        spec, labels = batch.spec, batch.labels.cpu()
        limits = self._limits(spec)
        if len(limits) != spec.classes:
            raise MismatchError(f"the memory is of {len(limits)} classes, but {spec.name} has {spec.classes}")
        keys = torch.rand(len(batch), generator=torch_stream(seed, "arriving"), dtype=torch.float64)
        taken = torch.nonzero(keys < limits[labels]).flatten()
        if len(taken):
            self._keep(*self._joined(batch.subset(taken.to(batch.labels.device)), keys[taken], seed))
        new = torch.bincount(labels, minlength=spec.classes)
        self.seen = (new + torch.tensor(self.seen)).tolist() if self.seen else new.tolist()

    def resize(self, capacity: int, seed: int) -> None:
        """Give the memory another capacity; samples that no longer fit go.

        Raises:
            BudgetError: not even one sample of each class seen fits; nothing has changed.
        """
        before, self.config = self.config, replace(self.config, capacity=capacity)
        try:
            for held in self.decode():
                keys = self._drawn(held, seed)
                order = _by_class(keys, held.labels)
                self._keep(cut.selected(held, order, held.class_counts()), keys[order])
        except BudgetError:
            self.config = before
            raise

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "blob": torch.frombuffer(bytearray(self.blob), dtype=torch.uint8) if self.blob else None,
            "counts": list(self.counts),
            "thresholds": list(self.thresholds),
            "seen": list(self.seen),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.blob = b"" if state["blob"] is None else state["blob"].numpy().tobytes()
        self.counts, self.thresholds, self.seen = tuple(state["counts"]), state["thresholds"], state["seen"]

    def _limits(self, spec: DataSpec) -> Tensor:
        """Thresholds ``[classes]``."""
        return torch.tensor(self.thresholds or [1.0] * spec.classes, dtype=torch.float64)

    def _drawn(self, held: DistilledSet, seed: int) -> Tensor:
        """Keys ``[n]`` for the samples held."""
        uniform = torch.rand(len(held), generator=torch_stream(seed, "held"), dtype=torch.float64)
        return uniform * self._limits(held.spec)[held.labels]

    def _joined(self, batch: TensorData, keys: Tensor, seed: int) -> tuple[DistilledSet, Tensor]:
        """What is held and ``batch``, the smallest keys of a class first; and all keys in that order."""
        samples, labels = batch.batch()
        samples, labels = samples.cpu(), labels.cpu()
        if not self.blob:
            order = _by_class(keys, labels)
            stored = _coded(samples[order], batch.spec, pixel_config(self.config, batch.spec))
        else:
            held = self.decode()[0]
            if not held.spec.same_task(batch.spec):
                raise MismatchError(f"the memory holds samples of {held.spec.name}, not of {batch.spec.name}")
            keys, every = torch.cat([self._drawn(held, seed), keys]), torch.cat([held.labels, labels])
            order = _by_class(keys, every)
            stored = held.parameterization.joined(samples, labels, order)  # type: ignore[assignment]
            labels = every
        counts = torch.bincount(labels, minlength=batch.spec.classes).tolist()
        return DistilledSet(batch.spec, stored, counts, self.config.recipe.name), keys[order]

    def _keep(self, joined: DistilledSet, keys: Tensor) -> None:
        """Hold as many of ``joined``, ordered by ``keys``, as fit; thresholds fall to what went first."""
        kept = cut.within(joined, self.config.capacity)
        blob = container.encode(kept)
        if len(blob) > self.config.capacity:
            raise BudgetError(
                f"a memory of {self.config.capacity:,} bytes is too small for one sample of each of "
                f"{sum(count > 0 for count in joined.class_counts())} classes: the smallest that would do is "
                f"{len(blob):,} bytes"
            )
        limits, counts = self._limits(joined.spec), kept.class_counts()
        for label, (count, own) in enumerate(zip(counts, keys.split(joined.class_counts()), strict=True)):
            if count < len(own):
                limits[label] = own[count]
        self.blob, self.counts, self.thresholds = blob, tuple(counts), limits.tolist()


def make_memory(config: MemoryConfig) -> CompressedMemory | OnlineMemory:
    """The memory for the policy of ``config``.

    Raises:
        ConfigError: the recipe cannot work in a single pass, but the policy is online.
    """
    return OnlineMemory(config) if config.policy == "online" else CompressedMemory(config)


def pixel_config(config: MemoryConfig, spec: DataSpec) -> PixelConfig:
    """How samples are stored: as the recipe says, or two bits, at half the resolution of larger images."""
    recipe = config.recipe
    bears = spec.is_grid and min(spec.grid_shape[1:]) >= _HALVED
    levels = replace(recipe.quantizer, start="range", tail=0.0)
    return PixelConfig(recipe.bits or _BITS, recipe.factor or (2 if bears else 1), levels, recipe.transform)


def _coded(samples: Tensor, spec: DataSpec, config: PixelConfig) -> PixelParameterization:
    """``samples`` on levels over the whole range of uint8 data (of float data, over that of ``samples``).

    The first samples of a stream do not tell what will come: levels that suit them would cut off others.
    """
    extremes = samples[:0]
    if spec.dtype == "uint8":
        darkest = torch.zeros(1, *spec.shape, dtype=torch.uint8)
        extremes = spec.normalise(torch.cat([darkest, darkest.bitwise_not()]))
    every = PixelParameterization.from_samples(torch.cat([samples, extremes]), spec, config)
    return every.selected(torch.arange(len(samples)))


def _by_class(keys: Tensor, labels: Tensor) -> Tensor:
    """The order in which classes ascend, and keys within each."""
    order = keys.argsort()
    return order[labels[order].argsort(stable=True)]
