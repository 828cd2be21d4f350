"""A replay memory whose capacity is bytes of blobs, and which holds nothing else.

Free of Avalanche: :mod:`scenarios.buffer` makes a storage policy of it. What an experience leaves behind is
one blob with the samples of its classes, distilled by any recipe; :data:`POLICIES` say what becomes of it as
more is to be remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fedbits import container, cut
from fedbits.budget import Budget
from fedbits.data import DataSpec, TensorData
from fedbits.data.union import Union
from fedbits.distill import distill
from fedbits.distilled_set import DistilledSet
from fedbits.errors import BudgetError, ConfigError, MismatchError, unknown
from fedbits.labels import SoftLabels
from fedbits.progress import SILENT, Progress
from fedbits.recipe import Recipe
from fedbits.rng import derive_seed
from fedbits.selection import select

# fixed: every class (of every experience that brings it) has the same quota from the start, so what is stored
#   is never touched again. The number of quotas must be known.
# progressive: what has been seen shares the capacity; older sets are cut to their shrinking share. Samples
#   stand in herding order, so that any first ones of a class follow its mean.
# redistil: as progressive, but all is distilled again, the memory as decoded and the new samples together.
# online: a reservoir for a single pass over the stream (:class:`scenarios.online.OnlineMemory`).
Policy = Literal["fixed", "progressive", "redistil", "online"]
POLICIES: tuple[str, ...] = get_args(Policy)

Teacher = Callable[[Tensor], Tensor]
"""Logits ``[n, classes]`` of normalised samples ``[n, *shape]``."""

_LOGIT_BYTES = 2  # a stored logit is a float16
_SLACK = 16  # bytes by which a message with labels may be larger than the message and the labels
_SHARED = 40  # bytes of a blob, about, that do not come and go with samples
_TRIALS, _CLOSE = 4, 0.03  # to leave room for logits, and the share of the bytes that may stay empty


@dataclass(frozen=True)
class MemoryConfig:
    """What a memory is filled with, and how it shares its bytes.

    Attributes:
        capacity: of all blobs together, in bytes.
        recipe: how samples become a blob.
        policy: one of :data:`POLICIES`.
        quotas: of the fixed policy, how many there will be: classes, counted again for every experience
            that brings them.
        device: where distillation computes.
    """

    capacity: int
    recipe: Recipe
    policy: Policy = "fixed"
    quotas: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        if self.policy not in POLICIES:
            raise ConfigError(unknown("memory policy", self.policy, POLICIES))
        if self.capacity < 1:
            raise ConfigError(f"the memory's capacity is {self.capacity} bytes: expected 1 or more")
        if self.policy == "fixed" and (self.quotas is None or self.quotas < 1):
            raise ConfigError(f"the fixed policy has {self.quotas} quotas: give the number of classes")
        if self.recipe.storage == "none":
            raise ConfigError(f"recipe {self.recipe.name!r} has no samples to replay: take another")
        if self.policy != "fixed" and self.quotas is not None:
            raise ConfigError(f"the policy {self.policy!r} has no quotas, but {self.quotas} were given")


@dataclass(frozen=True)
class Entry:
    """What one experience left behind.

    Attributes:
        blob: as :func:`fedbits.encode` makes it.
        counts: samples of each class in it.
        seen: real samples of each class that it stands for.
    """

    blob: bytes
    counts: tuple[int, ...]
    seen: tuple[int, ...]

    @classmethod
    def of(cls, distilled: DistilledSet, seen: Sequence[int]) -> Entry:
        return cls(container.encode(distilled), tuple(distilled.class_counts()), tuple(seen))

    def decode(self) -> DistilledSet:
        return container.decode(self.blob)


@dataclass
class CompressedMemory:
    """Blobs of at most ``config.capacity`` bytes in all; samples exist only while a decoded set is held.

    Attributes:
        entries: oldest first.
    """

    config: MemoryConfig
    entries: list[Entry] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all blobs."""
        return sum(len(entry.blob) for entry in self.entries)

    def __len__(self) -> int:
        """Samples in memory."""
        return sum(sum(entry.counts) for entry in self.entries)

    def add(
        self, data: TensorData, seed: int, teacher: Teacher | None = None, progress: Progress = SILENT
    ) -> None:
        """Remember an experience: what ``data`` (real samples) leaves behind takes its share of the bytes.

        Args:
            seed: decides everything that is random in it.
            teacher: gives the logits that are stored with samples, and count (DER); where the recipe has a
                network label them, that gives the logits, and none are stored.

        Raises:
            BudgetError: a share is too small for one sample of each of its classes; nothing has changed.
            ConfigError: there are more classes than quotas, or the recipe has other labels than logits.
            MismatchError: ``data`` is of another task than what is remembered.
        """
        if self.entries and not (held := container.task(self.entries[0].blob)).same_task(data.spec):
            raise MismatchError(f"the memory holds samples of {held.name}, not of {data.spec.name}")
        seen = tuple(data.class_counts())
        filling = _Filling(self.config, seed, self._storing(teacher), progress)
        if self.config.policy == "redistil" and self.entries:
            joint = self._with(data)
            every = [
                sum(column) for column in zip(seen, *(entry.seen for entry in self.entries), strict=True)
            ]
            self.entries = [Entry.of(filling.distilled(joint, self.config.capacity), every)]
            return
        *older, share = self.shares([*(entry.seen for entry in self.entries), seen])
        added = filling.distilled(data, share)
        if self.config.policy != "fixed":
            added = filling.ordered(added, share)
        kept = [filling.shrunk(entry, limit) for entry, limit in zip(self.entries, older, strict=True)]
        self.entries = [*kept, Entry.of(added, seen)]

    def resize(self, capacity: int, seed: int) -> None:
        """Give the memory another capacity; what no longer fits is cut.

        Raises:
            BudgetError: a share is too small for one sample of each of its classes; nothing has changed.
        """
        before = self.config
        self.config = replace(before, capacity=capacity)
        try:
            filling = _Filling(self.config, seed)
            limits = self.shares([entry.seen for entry in self.entries])
            self.entries = [filling.shrunk(e, limit) for e, limit in zip(self.entries, limits, strict=True)]
        except BudgetError:
            self.config = before
            raise

    def shares(self, seen: Sequence[Sequence[int]]) -> list[int]:
        """Bytes for each of several sets that stand for ``seen`` real samples of each class.

        Fixed: one quota for each class of each. Otherwise every class has the same share of the capacity,
        and a set that part of it which it has seen of the class.

        Raises:
            ConfigError: there are more classes than quotas.
        """
        capacity, quotas = self.config.capacity, self.config.quotas
        if quotas is not None:
            taken = [sum(count > 0 for count in counts) for counts in seen]
            if sum(taken) > quotas:
                raise ConfigError(
                    f"the memory has {quotas} quotas, but {sum(taken)} classes (of all experiences) to hold: "
                    f"give as many quotas, or another policy"
                )
            return [capacity * many // quotas for many in taken]
        counts = torch.tensor([list(row) for row in seen], dtype=torch.float64)
        totals = counts.sum(0)
        parts = (counts / totals.clamp_min(1)).sum(1) / (totals > 0).sum().clamp_min(1)
        return [int(part) for part in (capacity * parts).tolist()]

    def decode(self) -> list[DistilledSet]:
        """The sets, oldest first; their samples live as long as the caller holds them."""
        return [entry.decode() for entry in self.entries]

    def union(self, spec: DataSpec) -> Union:
        """All samples as one set to train on, decoded: hold it no longer than an epoch needs it."""
        return Union(spec, self.decode())

    def blobs(self) -> Iterator[bytes]:
        return (entry.blob for entry in self.entries)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: the blobs as uint8 tensors, and the counts."""
        return {
            "blobs": [torch.frombuffer(bytearray(entry.blob), dtype=torch.uint8) for entry in self.entries],
            "counts": [list(entry.counts) for entry in self.entries],
            "seen": [list(entry.seen) for entry in self.entries],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.entries = [
            Entry(blob.numpy().tobytes(), tuple(counts), tuple(seen))
            for blob, counts, seen in zip(state["blobs"], state["counts"], state["seen"], strict=True)
        ]

    def _storing(self, teacher: Teacher | None) -> Teacher | None:
        """Who gives logits to store."""
        labels = self.config.recipe.labels
        if teacher is None or labels == "network":
            return None
        if labels != "hard":
            raise ConfigError(
                f"recipe {self.config.recipe.name!r} has labels of its own ({labels}) where the strategy "
                f"stores logits: take one with hard labels or those of a network"
            )
        return teacher

    def _with(self, data: TensorData) -> TensorData:
        """``data`` and all that is remembered, as decoded."""
        sets = self.decode()
        samples = [data.samples, *(one.raw().to(data.samples.device) for one in sets)]
        labels = [data.labels, *(one.labels.to(data.labels.device) for one in sets)]
        return TensorData(data.spec, torch.cat(samples), torch.cat(labels))


@dataclass(frozen=True)
class _Filling:
    """How sets are made for a memory, once."""

    config: MemoryConfig
    seed: int
    teacher: Teacher | None = None
    progress: Progress = SILENT

    def distilled(self, data: TensorData, limit: int) -> DistilledSet:
        """A set of at most ``limit`` bytes, with the teacher's logits if there is one."""
        if self.teacher is None:
            return self._distil(data, self.config.recipe, limit)
        taught = self._taught(self._distil(data, self.config.recipe, self._besides_logits(data, limit)))
        return _fitting(cut.within(taught, limit), limit)

    def _besides_logits(self, data: TensorData, limit: int) -> int:
        """Bytes for samples, so that with their logits they take about ``limit``.

        Found on real samples by the same recipe, which take no time to optimise: the share of logits depends
        on the form that the planner chooses for so many bytes.
        """
        recipe, logits, room = real_samples(self.config.recipe), _LOGIT_BYTES * data.spec.classes, limit
        for _ in range(_TRIALS):
            try:
                trial = self._distil(data, recipe, room)
            except BudgetError:
                return (room + limit) // 2
            size = len(container.encode(trial))
            left = limit - _SLACK - size - logits * len(trial)
            if 0 <= left <= _CLOSE * limit:
                break
            each = max(size - _SHARED, 1) / len(trial)
            room = max(1, min(limit, room + int(left * each / (each + logits))))
        return room

    def shrunk(self, entry: Entry, limit: int) -> Entry:
        """In at most ``limit`` bytes: cut, or distilled again where what samples share is too much."""
        if len(entry.blob) <= limit:
            return entry
        decoded = entry.decode()
        smaller = cut.within(decoded, limit)
        size = len(container.encode(smaller))
        if size > limit:
            if decoded.soft_labels is not None and self.teacher is None:
                raise BudgetError(
                    f"a share of {limit:,} bytes is too small for a set whose logits nobody is there to give "
                    f"again: the smallest that would do is {size:,} bytes"
                )
            again = TensorData(decoded.spec, decoded.raw(), decoded.labels)
            smaller = self.ordered(self.distilled(again, limit), limit)
        return Entry.of(smaller, entry.seen)

    def ordered(self, distilled: DistilledSet, limit: int) -> DistilledSet:
        """In herding order, and still in at most ``limit`` bytes: another order may take a few more."""
        return _fitting(cut.within(in_herding_order(distilled, self.seed), limit), limit)

    def _distil(self, data: TensorData, recipe: Recipe, limit: int) -> DistilledSet:
        return distill(
            data,
            recipe,
            Budget(limit),
            seed=derive_seed(self.seed, "distil"),
            device=self.config.device,
            progress=self.progress,
        )

    def _taught(self, distilled: DistilledSet) -> DistilledSet:
        if self.teacher is None:
            return distilled
        with torch.no_grad():
            logits = self.teacher(distilled.samples)
        distilled.soft_labels = SoftLabels(logits.cpu())
        return distilled


def real_samples(recipe: Recipe) -> Recipe:
    """The recipe without its optimisation: what it starts from."""
    return replace(recipe, steps=0, labels="hard")


def _fitting(distilled: DistilledSet, limit: int) -> DistilledSet:
    size = len(container.encode(distilled))
    if size > limit:
        raise BudgetError(
            f"a share of {limit:,} bytes is too small for one sample of each class, with all that is stored "
            f"of it: the smallest that would do is {size:,} bytes, so give the memory more"
        )
    return distilled


def in_herding_order(distilled: DistilledSet, seed: int) -> DistilledSet:
    """The same samples, in each class such that the mean of the first ones follows that of all.

    Features are those of a network with random weights (:mod:`fedbits.selection.herding`).
    """
    counts = distilled.class_counts()
    data = TensorData(distilled.spec, distilled.raw(), distilled.labels)
    chosen = select(data, "herding", max(counts), derive_seed(seed, "order"))
    order = [
        torch.cat([best, index[~torch.isin(index, best)]])
        for best, index in zip(chosen, data.class_indices(), strict=True)
    ]
    return cut.selected(distilled, torch.cat(order), counts)
