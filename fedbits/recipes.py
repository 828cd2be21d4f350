"""Recipes by name: the papers' own, ours, and what they are compared with."""

from __future__ import annotations

from dataclasses import fields, replace

from fedbits.errors import ConfigError, unknown
from fedbits.labels.network.config import LabellerConfig
from fedbits.labels.teaching import TeachingConfig
from fedbits.matching import (
    BilevelConfig,
    DistributionConfig,
    GradientConfig,
    RecoveryConfig,
    RegressionConfig,
    TrajectoryConfig,
)
from fedbits.matching.pool import PoolConfig
from fedbits.parameterization import EpitomeConfig
from fedbits.quantization import QuantizerConfig
from fedbits.recipe import FLOAT_BITS, OptimizerConfig, Recipe

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
_ALONE = LabellerConfig(mix="none")

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
        overfill=1.1,
        objective=_LEARNING,
    ),
    Recipe(
        "ruo",
        "latents on grids of several scales, and small networks that predict them and make samples of them",
        steps=400,
        storage="latent",
        overfill=1.15,
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
    if name == "auto":
        raise ConfigError(
            "recipe 'auto' is a choice by trial, which distill makes: name the recipe itself here"
        )
    if name not in RECIPES:
        raise ConfigError(unknown("recipe", name, RECIPES))
    given = {key: value for key, value in overrides.items() if value is not None}
    others = set(given) - {field.name for field in fields(Recipe)}
    if others:
        raise ConfigError(f"recipe {name!r} has no setting {sorted(others)[0]!r}")
    return replace(RECIPES[name], **given)  # type: ignore[arg-type]
