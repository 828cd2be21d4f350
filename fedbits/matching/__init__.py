"""Utility objectives: how much a synthetic set is worth beside the real one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from fedbits.data.spec import DataSpec
from fedbits.matching.base import Objective, ObjectiveConfig, Setting, Synthetic
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
    "suited",
]

# By the name that recipes give them: the settings, and what is made of them.
OBJECTIVES: dict[str, tuple[type[ObjectiveConfig], Callable[[Any, Setting], Objective]]] = {
    "distribution": (DistributionConfig, DistributionMatching),
    "gradient": (GradientConfig, GradientMatching),
    "trajectory": (TrajectoryConfig, TrajectoryMatching),
    "bilevel": (BilevelConfig, BilevelMatching),
    "regression": (RegressionConfig, RegressionMatching),
    "recovery": (RecoveryConfig, Recovery),
}


_Config = TypeVar("_Config")


def suited(config: _Config, spec: DataSpec) -> _Config:
    """``config`` of an objective, or of a part of it, without augmentation unless ``spec`` is of pictures."""
    if spec.pictures:
        return config
    changes: dict[str, Any] = {}
    for entry in fields(config):  # type: ignore[arg-type]
        value = getattr(config, entry.name)
        if entry.name == "augmented":
            changes[entry.name] = False
        elif is_dataclass(value):
            changes[entry.name] = suited(value, spec)
    return replace(config, **changes)  # type: ignore[type-var]


def build(config: ObjectiveConfig, setting: Setting) -> Objective:
    """The objective that ``config`` describes."""
    for settings, objective in OBJECTIVES.values():
        if type(config) is settings:
            return objective(config, setting)
    raise TypeError(f"no objective has settings of the type {type(config).__name__}")
