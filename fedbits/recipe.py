"""What shapes a distilled set: all of it, as a dataclass to print and edit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from fedbits.errors import ConfigError, unknown
from fedbits.labels.network.config import LabellerConfig
from fedbits.labels.teaching import TeachingConfig
from fedbits.matching import (
    DistributionConfig,
    ObjectiveConfig,
    RecoveryConfig,
)
from fedbits.parameterization import EpitomeConfig, LatentConfig
from fedbits.parameterization.pixel import TRANSFORMS, Transform
from fedbits.quantization import QuantizerConfig
from fedbits.selection import SELECTIONS, Selection

FLOAT_BITS = 32
Labels = Literal["hard", "soft", "views", "network"]
Source = Literal["samples", "mosaics"]


@dataclass(frozen=True)
class OptimizerConfig:
    """How samples are optimised.

    Attributes:
        name: ``adam`` (β 0.5 and 0.9) or ``sgd``.
        learning_rate: of the samples, in units of normalised samples.
        momentum: of SGD.
        decay: whether learning rates fall to zero, linearly.
        labels_rate: learning rate of soft labels.
    """

    name: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 0.02
    momentum: float = 0.5
    decay: bool = True
    labels_rate: float = 1.0

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        if self.name not in ("adam", "sgd"):
            raise ConfigError(f"optimizer is {self.name!r}: expected adam or sgd")
        for name in ("learning_rate", "labels_rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected 0 or more")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum is {self.momentum}: expected 0 or more, and less than 1")


@dataclass(frozen=True)
class Recipe:
    """How to make a synthetic set.

    Attributes:
        name, summary: for people; the name travels in the blob.
        selection: which real samples the set starts from.
        steps: optimisation steps; 0 keeps the real samples.
        quantizer: how values become symbols, in the loop or afterwards.
        transform: what is quantised: samples (``none``) or their cosine transform (``dct``).
        penalty: of pixels, weight of the squared distance between what is trained and what is sent (BCDC's
            λ); of an epitome, weight of the magnitudes of its coefficients (SPEED's λ).
        objective: what the optimisation matches.
        optimizer: how samples move.
        labels: ``hard`` classes, ``soft`` labels learned with the samples, a teacher's labels of ``views`` of
            them, or a small ``network`` that travels with them and labels their views.
        source: what a set starts from: real ``samples``, or ``mosaics`` of crops that the teacher chooses
            (RDED), in place of ``selection``.
        teaching: settings of the teacher, and of labels of views.
        labeller: settings of the network that labels; None stands for its defaults.
        storage: what samples are stored as: ``pixel`` values, sparse codes over an ``epitome`` (SPEED), or
            ``latent`` grids of which a small network makes samples (RUO), of :data:`fedbits.plan.STORAGES`.
            Or ``none`` at all: the network that would label them is all that is sent.
        epitome, latent: settings of the two latter; None leaves them to the planner.
        overfill: samples are chosen to take this many times the budget at the start; optimisation makes
            them richer, and the rate term of the loss keeps them to the budget.
        ipc, bits, factor: samples per class, bits a value (1 to 8, or 32 for float32 numbers) and
            downsampling; None leaves the choice to the planner (:mod:`fedbits.plan`).
    """

    name: str
    summary: str = ""
    selection: Selection = "random"
    steps: int = 0
    quantizer: QuantizerConfig = QuantizerConfig()  # noqa: RUF009 - frozen
    transform: Transform = "none"
    storage: str = "pixel"
    epitome: EpitomeConfig | None = None
    latent: LatentConfig | None = None
    penalty: float = 0.0
    objective: ObjectiveConfig = DistributionConfig()  # noqa: RUF009 - frozen
    optimizer: OptimizerConfig = OptimizerConfig()
    labels: Labels = "hard"
    source: Source = "samples"
    teaching: TeachingConfig | None = None
    labeller: LabellerConfig | None = None
    overfill: float = 1.0
    ipc: int | None = None
    bits: int | None = None
    factor: int | None = None

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        if self.bits is not None and self.bits not in (*range(1, 9), FLOAT_BITS):
            raise ConfigError(f"bits is {self.bits}: expected 1 to 8, or {FLOAT_BITS} for float32 numbers")
        if self.ipc is not None and self.ipc < 1:
            raise ConfigError(f"ipc is {self.ipc}: expected at least one sample per class")
        if self.factor is not None and self.factor not in (1, 2, 4, 8):
            raise ConfigError(f"factor is {self.factor}: expected 1, 2, 4 or 8")
        if self.bits == FLOAT_BITS and self.factor not in (None, 1):
            raise ConfigError(f"factor is {self.factor}: float32 numbers are stored at full size, give 1")
        if self.transform not in TRANSFORMS:
            raise ConfigError(f"transform is {self.transform!r}: expected {' or '.join(TRANSFORMS)}")
        if self.bits == FLOAT_BITS and self.transform != "none":
            raise ConfigError(f"transform is {self.transform!r}: float32 numbers have none")
        self._check_storage()
        if self.steps < 0:
            raise ConfigError(f"steps is {self.steps}: expected 0 or more")
        if not 0 <= self.penalty < math.inf:
            raise ConfigError(f"penalty is {self.penalty}: expected 0 or more")
        if not 0 < self.overfill < math.inf:
            raise ConfigError(f"overfill is {self.overfill}: expected more than 0")
        if self.selection not in SELECTIONS:
            raise ConfigError(unknown("selection", self.selection, SELECTIONS))
        self._check_teaching()
        self._check_labeller()

    @property
    def labelling(self) -> LabellerConfig:
        """Settings of the network that labels."""
        return self.labeller or LabellerConfig()

    def _check_labeller(self) -> None:
        if self.labeller is not None and self.labels != "network":
            raise ConfigError(
                f"there is a [labeller], but labels is {self.labels!r}: give labels = 'network'"
            )
        if self.storage != "none":
            return
        if self.labels != "network":
            raise ConfigError(
                f"storage is 'none' and labels is {self.labels!r}: a network is all there can be"
            )
        for name in ("steps", "ipc"):
            if getattr(self, name):
                raise ConfigError(f"{name} is {getattr(self, name)}: it shapes samples, but there are none")

    def _check_teaching(self) -> None:
        for name, choices in (("labels", get_args(Labels)), ("source", get_args(Source))):
            if getattr(self, name) not in choices:
                expected = f"{', '.join(choices[:-1])} or {choices[-1]}"
                raise ConfigError(f"{name} is {getattr(self, name)!r}: expected {expected}")
        wanted = self.labels == "views" or self.source == "mosaics"
        if wanted and self.teaching is None:
            raise ConfigError("labels of views, and mosaics, need a teacher: give the table [teaching]")
        if self.teaching is not None and not wanted and not isinstance(self.objective, RecoveryConfig):
            raise ConfigError("there is a [teaching], but nothing to teach: give labels = 'views'")

    def _check_storage(self) -> None:
        for name, words in (("epitome", "an epitome"), ("latent", "latents")):
            if self.storage != name and getattr(self, name) is not None:
                raise ConfigError(
                    f"there are settings of {words}, but storage is {self.storage!r}: expected {name!r}"
                )
        for name, usual in (("bits", None), ("factor", None), ("transform", "none")):
            value = getattr(self, name)
            if self.storage != "pixel" and value != usual:
                raise ConfigError(
                    f"{name} is {value}: it shapes pixels, but the storage is {self.storage!r}; leave it out"
                )
