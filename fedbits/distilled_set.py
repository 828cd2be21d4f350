"""A synthetic set as it is sent and as it is received."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from fedbits.data.spec import DataSpec
from fedbits.data.tensors import Batch, Lesson
from fedbits.labels import NetworkLabels, SoftLabels, ViewLabels
from fedbits.parameterization import NoSamples, Parameterization

_CHUNK = 1 << 18  # numbers that are denormalised at once


class DistilledSet(Dataset[tuple[Tensor, int]]):
    """Samples by a parameterisation, in the order of their classes.

    A ``torch.utils.data.Dataset`` of (normalised float32 sample, class).

    Attributes:
        labels: the class of each sample, ``[n]`` int64, ascending.
        soft_labels: what networks learn for each sample, where that is more than its class.
        view_labels: what networks learn for each view of each sample, in place of both.
        network: what labels any view of any sample, in place of all three; or, of a set without samples, all
            that there is.
        learning_rate: learned with the samples, to train on them (trajectory matching), or None.
    """

    def __init__(
        self,
        spec: DataSpec,
        parameterization: Parameterization,
        class_counts: list[int],
        recipe: str = "",
        soft_labels: SoftLabels | None = None,
        learning_rate: float | None = None,
        view_labels: ViewLabels | None = None,
        network: NetworkLabels | None = None,
    ) -> None:
        if sum(class_counts) != len(parameterization) or len(class_counts) != spec.classes:
            raise ValueError(f"class counts {class_counts} do not fit {len(parameterization)} samples")
        if soft_labels is not None and len(soft_labels) != len(parameterization):
            raise ValueError(f"{len(soft_labels)} soft labels do not fit {len(parameterization)} samples")
        if view_labels is not None and (soft_labels is not None or view_labels.codec.classes != spec.classes):
            raise ValueError("labels of views are of other classes, or stand beside labels of samples")
        if network is not None:
            if soft_labels is not None or view_labels is not None:
                raise ValueError("a network that labels views stands beside other labels")
            if not network.fits(spec):
                raise ValueError("the network that labels views is of another task")
        self.spec = spec
        self.parameterization = parameterization.eval()
        self.recipe = recipe
        self.soft_labels = soft_labels
        self.learning_rate = learning_rate
        self.view_labels = view_labels
        self.network = network
        self._class_counts = list(class_counts)
        self.labels = torch.repeat_interleave(torch.arange(spec.classes), torch.tensor(class_counts))
        if view_labels is not None and not torch.equal(view_labels.classes, self.labels):
            raise ValueError("labels of views are of other samples")  # and would be read as something else

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.samples[index], int(self.labels[index])

    @cached_property
    def samples(self) -> Tensor:
        """Normalised float32 samples ``[n, *spec.shape]``, the same on every machine.

        Not to be written to: they may be a view of what the parameterisation stores.
        """
        with torch.no_grad():
            return self.parameterization().cpu()

    @cached_property
    def targets(self) -> Tensor:
        """What a network learns: classes ``[n]`` int64, or probabilities ``[n, classes]`` float32."""
        if self.soft_labels is None:
            return self.labels
        with torch.no_grad():
            return self.soft_labels().cpu()

    def batch(self, index: Tensor | None = None) -> Batch:
        if index is None:
            return Batch(self.samples, self.labels)
        return Batch(self.samples[index], self.labels[index])

    def lesson(self, index: Tensor, epoch: int, device: torch.device | str = "cpu") -> Lesson:
        """What a network learns in ``epoch`` of the samples ``index`` ``[b]``: views, if they have labels.

        Where a network labels views, a sample is a view in every other epoch, and itself with its class in
        between: what labels are worth depends on the network, and classes are certain.
        """
        if self.network is not None:
            return self._in_turn(self.network, index, epoch, torch.device(device))
        labels = self.view_labels
        if labels is None:
            return Lesson.plain(self.batch(index).samples, self.targets[index])
        views = labels.views.make(lambda places: self.samples[places], epoch, index)
        viewed = torch.ones(len(index), dtype=torch.bool)
        temperature = torch.full((len(index),), labels.temperature)
        return Lesson(views, labels.targets(epoch, index), viewed, temperature)

    def _in_turn(self, labels: NetworkLabels, index: Tensor, epoch: int, device: torch.device) -> Lesson:
        """Samples, and in their turn views, labelled on ``device``, where the network is that learns them."""
        viewed = (index + epoch) % 2 == 1
        samples = self.samples[index].to(device)
        targets = self._certain(index).to(device)
        if bool(viewed.any()):
            views, chosen = labels.views(len(self)), index[viewed]
            made = views.make(lambda places: self.samples[places].to(device), epoch, chosen)
            here = viewed.nonzero().flatten().to(device)
            samples = samples.index_copy(0, here, made)
            known = labels.label(made, views.made_of(self._certain, epoch, chosen).to(device))
            targets = targets.index_copy(0, here, known)
        return Lesson(samples, targets, viewed, torch.where(viewed, labels.temperature, 1.0))

    def _certain(self, index: Tensor) -> Tensor:
        """Classes as probabilities ``[b, classes]``."""
        return F.one_hot(self.labels[index], self.spec.classes).float()

    def raw(self) -> Tensor:
        """Samples as the data itself is stored: uint8 or float32 ``[n, *spec.shape]``."""
        parts = self.samples.split(max(1, _CHUNK // self.spec.elements))
        raw = torch.empty(self.samples.shape, dtype=getattr(torch, self.spec.dtype))
        for part, there in zip(parts, raw.split(len(parts[0])), strict=True):
            there.copy_(self.spec.denormalise(part))
        return raw

    def class_counts(self) -> list[int]:
        """Samples of each class, ``spec.classes`` numbers."""
        return list(self._class_counts)

    def storing(self, parameterization: Parameterization) -> DistilledSet:
        """The same set with its samples stored otherwise."""
        labels = {"soft_labels": self.soft_labels, "view_labels": self.view_labels, "network": self.network}
        return self._made_of(parameterization, **labels)

    def bare(self) -> DistilledSet:
        """The same samples, of which only the classes are learnt."""
        return self._made_of(self.parameterization)

    def taught(self, view_labels: ViewLabels) -> DistilledSet:
        """The same samples with labels of their views, in place of what they had."""
        return self._made_of(self.parameterization, view_labels=view_labels)

    def labelled(self, network: NetworkLabels) -> DistilledSet:
        """The same samples with a network that labels their views, in place of what they had."""
        return self._made_of(self.parameterization, network=network)

    def _made_of(self, parameterization: Parameterization, **labels: Any) -> DistilledSet:
        """A set of the same classes and rate, with such ``labels`` and no others."""
        counts, rate = self._class_counts, self.learning_rate
        return DistilledSet(self.spec, parameterization, counts, self.recipe, learning_rate=rate, **labels)

    @classmethod
    def alone(cls, spec: DataSpec, network: NetworkLabels, recipe: str = "") -> DistilledSet:
        """A network, and no samples."""
        return cls(spec, NoSamples(spec), [0] * spec.classes, recipe, network=network)

    def describe(self) -> dict[str, Any]:
        """JSON-able facts for people."""
        facts = {"recipe": self.recipe, "samples": len(self), **self.parameterization.describe()}
        facts["labels"] = "hard" if self.soft_labels is None else "soft"
        if self.view_labels is not None:
            facts["labels"] = "views"
        if self.network is not None:
            facts["labels"] = "network"
        return facts
