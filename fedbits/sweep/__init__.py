"""Which bits, sizes, quantisers and recipes are worth the bytes: a grid of them, judged on held-out data.

The two modes of the papers: the *same memory* (a budget, and as many samples as the bits allow) and the *same
images* (a number of samples of each class, at whatever bytes the bits take).
"""

from __future__ import annotations

from fedbits.sweep.grid import Point, SweepConfig
from fedbits.sweep.measure import Sweep, run
from fedbits.sweep.result import Result, best_by_group, ranked

__all__ = ["Point", "Result", "Sweep", "SweepConfig", "best_by_group", "ranked", "run"]
