"""Utility objectives: how much a synthetic set is worth beside the real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fedbits.matching.base import Objective, Setting, Synthetic
from fedbits.matching.bilevel import BilevelConfig, BilevelMatching
from fedbits.matching.distribution import DistributionConfig, DistributionMatching
from fedbits.matching.gradient import GradientConfig, GradientMatching
from fedbits.matching.recovery import Recovery, RecoveryConfig
from fedbits.matching.regression import RegressionConfig, RegressionMatching
from fedbits.matching.trajectory import TrajectoryConfig, TrajectoryMatching

__all__ = [
    "OBJECTIVES",
    "BilevelConfig",
    "BilevelMatching",
    "DistributionConfig",
    "DistributionMatching",
    "GradientConfig",
    "GradientMatching",
    "Objective",
    "ObjectiveConfig",
    "Recovery",
    "RecoveryConfig",
    "RegressionConfig",
    "RegressionMatching",
    "Setting",
    "Synthetic",
    "TrajectoryConfig",
    "TrajectoryMatching",
    "build",
]

ObjectiveConfig = (
    DistributionConfig | GradientConfig | TrajectoryConfig | BilevelConfig | RegressionConfig | RecoveryConfig
)

# By the name that recipes give them: the settings, and what is made of them.
OBJECTIVES: dict[str, tuple[type[ObjectiveConfig], Callable[[Any, Setting], Objective]]] = {
    "bilevel": (BilevelConfig, BilevelMatching),
    "distribution": (DistributionConfig, DistributionMatching),
    "gradient": (GradientConfig, GradientMatching),
    "recovery": (RecoveryConfig, Recovery),
    "regression": (RegressionConfig, RegressionMatching),
    "trajectory": (TrajectoryConfig, TrajectoryMatching),
}


def build(config: ObjectiveConfig, setting: Setting) -> Objective:
    """The objective that ``config`` describes."""
    for settings, objective in OBJECTIVES.values():
        if type(config) is settings:
            return objective(config, setting)
    raise TypeError(f"no objective has settings of the type {type(config).__name__}")
