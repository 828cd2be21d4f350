"""Utility objectives: how much a synthetic set is worth beside the real one."""

from fedbits.matching.base import Objective
from fedbits.matching.distribution import DistributionConfig, DistributionMatching

__all__ = ["DistributionConfig", "DistributionMatching", "Objective"]
