"""Named compositions: everything that shapes a distilled set, as a dataclass to print and edit."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from fedbits.errors import ConfigError
from fedbits.labels.network.config import LabellerConfig
from fedbits.labels.teaching import TeachingConfig
from fedbits.matching import (
    BilevelConfig,
    DistributionConfig,
    GradientConfig,
    ObjectiveConfig,
    RecoveryConfig,
    RegressionConfig,
    TrajectoryConfig,
)
from fedbits.matching.pool import PoolConfig
from fedbits.parameterization import EpitomeConfig, LatentConfig
from fedbits.parameterization.pixel import TRANSFORMS, Transform
from fedbits.quantization import QuantizerConfig
from fedbits.selection import SELECTIONS, Selection

FLOAT_BITS = 32
Labels = Literal["hard", "soft", "views", "network"]
Source = Literal["samples", "mosaics"]
Storage = Literal["pixel", "epitome", "latent", "none"]


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
            ``latent`` grids of which a small network makes samples (RUO). Or ``none`` at all: the network
            that would label them is all that is sent.
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
    storage: Storage = "pixel"
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
            raise ConfigError(
                f"unknown selection {self.selection!r}: expected one of {', '.join(SELECTIONS)}"
            )
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
        if self.storage not in get_args(Storage):
            raise ConfigError(f"storage is {self.storage!r}: expected {' or '.join(get_args(Storage))}")
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


# What students would learn: far stronger than matching distributions, at twice the time a step.
_LEARNING = RegressionConfig()
# Characteristic functions of features by a pool of partly trained networks: as cheap as DM, and stronger.
_MATCHING = DistributionConfig(
    width=64, statistic="characteristic", pool=PoolConfig(networks=4, stages=(0, 50, 200, 500))
)
_SGD = OptimizerConfig("sgd", learning_rate=1.0, decay=False)  # as DM has it
_DM = DistributionConfig(real_batch=256)
_BEST_LEVELS = QuantizerConfig(start="least_squares")  # of samples that are not optimised
# Ours quantise samples once they have taken shape; the grid then follows them as closely as it can.
_LEVELS = QuantizerConfig(start="least_squares", warmup=0.5)
# BCDC: soft cells over the whole range, and a pull towards the levels.
_CELLS = QuantizerConfig("ddq", tail=0.0, start="range")
# SPEED's settings for storage of 10 images per class of CIFAR-10, in as fine steps as float32 was used for.
_PUBLISHED_EPITOME = EpitomeConfig(
    tokens=64,
    width=96,
    heads=3,
    blocks=1,
    nonzeros=48,
    patch=4,
    bits=8,
    precision=0.01,
    sparsify="end",
    start="random",
    tokens_rate=0.1,
    codes_rate=1.0,
    network_rate=1e-4,
)
# Settings for 10 images per class of CIFAR-10; others are in the papers, and in a file of one's own.
_MTT = TrajectoryConfig(synthetic_steps=30, max_start=20, learning_rate_rate=0.1)
_DATM = TrajectoryConfig(
    synthetic_steps=80,
    min_start=10,
    max_start=20,
    current_max=10,
    expansion_end=1000,
    batch=100,
    threshold=1.0,
)

# A network that is to know samples as they are, not views of degraded ones.
_ALONE = LabellerConfig(least_area=1.0, rotation=0, flipped=False, mix="none")

_RECIPES = (
    Recipe(
        "quadd",
        "neural feature regression with a uniform quantiser inside the loop",
        steps=400,
        quantizer=_LEVELS,
        objective=_LEARNING,
        overfill=0.95,
    ),
    Recipe(
        "bcdc",
        "the same with BCDC's differentiable quantiser and quantisation penalty",
        steps=400,
        quantizer=_CELLS,
        penalty=1e-4,
        objective=_LEARNING,
        overfill=0.95,
    ),
    Recipe(
        "ptq",
        "the same, but quantised only after the optimisation (post-training quantisation)",
        steps=400,
        quantizer=QuantizerConfig("post", start="least_squares"),
        objective=_LEARNING,
        overfill=0.95,
    ),
    Recipe(
        "speed",
        "sparse codes over tokens that all samples share, a small network that makes samples of them",
        steps=400,
        storage="epitome",
        objective=_LEARNING,
    ),
    Recipe(
        "ruo",
        "latents on grids of several scales, and small networks that predict them and make samples of them",
        steps=400,
        storage="latent",
        objective=_LEARNING,
    ),
    Recipe("random", "random real samples through the same codec", quantizer=_BEST_LEVELS),
    Recipe(
        "herding",
        "real samples whose mean feature follows that of their class",
        selection="herding",
        quantizer=_BEST_LEVELS,
    ),
    Recipe(
        "rded",
        "RDED: mosaics of the crops that a teacher finds most typical, and its labels of their views",
        quantizer=_BEST_LEVELS,
        labels="views",
        source="mosaics",
        teaching=TeachingConfig(),
    ),
    Recipe(
        "sre2l",
        "SRe2L: samples that recover a teacher's statistics, and its labels of their views",
        steps=400,
        quantizer=_LEVELS,
        objective=RecoveryConfig(),
        labels="views",
        teaching=TeachingConfig(),
        overfill=0.95,
    ),
    Recipe(
        "network",
        "no samples, but a small network that knows the task: what any set has to be compared with",
        storage="none",
        labels="network",
        labeller=_ALONE,
    ),
    Recipe(
        "quadd-cf",
        "quadd with another objective: characteristic functions of features by partly trained networks",
        steps=400,
        quantizer=_LEVELS,
        objective=_MATCHING,
        overfill=0.95,
    ),
    Recipe(
        "quadd-tm",
        "QuADD as published: additive powers of two in DATM's trajectory matching, hard labels",
        selection="graphcut",
        steps=5000,
        quantizer=QuantizerConfig("apot", scope="tensor", learning_rate=1e-4),
        objective=_DATM,
        optimizer=OptimizerConfig("sgd", learning_rate=1000.0, decay=False),
    ),
    Recipe(
        "speed-tm",
        "SPEED as published: epitomic tokens in MTT's trajectory matching, sparse at the end",
        steps=10_000,
        storage="epitome",
        epitome=_PUBLISHED_EPITOME,
        penalty=3e-7,
        objective=_MTT,
        optimizer=OptimizerConfig("sgd", learning_rate=100.0, momentum=0.95, decay=False),
        ipc=124,
    ),
    Recipe(
        "bcdc-dm",
        "BCDC as published (Algorithm 2): differentiable quantiser and penalty in distribution matching",
        steps=20_000,
        quantizer=_CELLS,
        penalty=0.2,
        objective=_DM,
        optimizer=_SGD,
    ),
    Recipe(
        "bcdc-bilevel",
        "BCDC as published (Algorithm 1): differentiable quantiser and penalty in bi-level optimisation",
        steps=5000,
        quantizer=_CELLS,
        penalty=1e-4,
        objective=BilevelConfig(),
    ),
    Recipe(
        "dm",
        "DM as published: distribution matching with random networks, float32 samples",
        steps=20_000,
        objective=_DM,
        optimizer=_SGD,
        bits=FLOAT_BITS,
    ),
    Recipe(
        "dc",
        "DC as published: gradient matching without augmentation, float32 samples",
        steps=10_000,
        objective=GradientConfig(augmented=False),
        optimizer=OptimizerConfig("sgd", learning_rate=0.1, decay=False),
        bits=FLOAT_BITS,
    ),
    Recipe(
        "dsa",
        "DSA as published: gradient matching under siamese augmentation, float32 samples",
        steps=10_000,
        objective=GradientConfig(),
        optimizer=OptimizerConfig("sgd", learning_rate=0.1, decay=False),
        bits=FLOAT_BITS,
    ),
    Recipe(
        "mtt",
        "MTT as published: trajectory matching with a learned step size, float32 samples",
        steps=5000,
        objective=_MTT,
        optimizer=OptimizerConfig("sgd", learning_rate=100.0, decay=False),
        bits=FLOAT_BITS,
    ),
    Recipe(
        "datm",
        "DATM as published: difficulty-aligned trajectories, learned soft labels, float32 samples",
        selection="correct",
        steps=10_000,
        objective=_DATM,
        optimizer=OptimizerConfig("sgd", learning_rate=1000.0, decay=False, labels_rate=2.0),
        labels="soft",
        bits=FLOAT_BITS,
    ),
)
RECIPES = {recipe.name: recipe for recipe in _RECIPES}


def get(name: str, **overrides: object) -> Recipe:
    """The recipe ``name`` with the given fields replaced (those that are None are left as they are).

    Raises:
        ConfigError: no such recipe or field, or a value out of range.
    """
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, 1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigError(f"unknown recipe {name!r}{hint}: expected one of {', '.join(RECIPES)}")
    given = {key: value for key, value in overrides.items() if value is not None}
    unknown = set(given) - {field.name for field in fields(Recipe)}
    if unknown:
        raise ConfigError(f"recipe {name!r} has no setting {sorted(unknown)[0]!r}")
    return replace(RECIPES[name], **given)  # type: ignore[arg-type]
