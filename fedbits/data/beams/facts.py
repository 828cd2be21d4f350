"""What a person wants to know of measurements before using them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fedbits.data.beams.codebook import BEAMS, SIDE
from fedbits.data.beams.measurements import Measurements

CLOSE = 1.0  # dB, about the error of a difference of two measurements, and half as much again


def histogram(labels: Tensor) -> Tensor:
    """Share of each class, float64 ``[BEAMS]``."""
    return torch.bincount(labels, minlength=BEAMS).double() / len(labels)


def total_variation(one: Tensor, other: Tensor) -> float:
    """Half the sum of the differences of two histograms, in [0, 1]."""
    return float((one - other).abs().sum() / 2)


def describe(made: dict[str, Measurements]) -> dict[str, Any]:
    """Facts of each site, of all together, and how far apart the sites' labels are."""
    shares = {name: histogram(site.labels) for name, site in made.items()}
    return {
        "sites": {name: _facts(site) for name, site in made.items()},
        "pooled": _facts(Measurements.joined(list(made.values()))),
        "total_variation": {
            name: {other: round(total_variation(one, two), 4) for other, two in shares.items()}
            for name, one in shares.items()
        },
    }


def _facts(site: Measurements) -> dict[str, Any]:
    """Of a site.

    ``full_sweep_right`` is how often the beam that measures best, of all 64, is the one received best (a
    network may do better, as it can weigh neighbours). ``close_second`` is how often another one measures
    less than :data:`CLOSE` below it, and ``close_above`` how often, of these times, that is the one above or
    below it.
    """
    best, second = site.powers.topk(2, 1).indices.T
    close = (site.powers.gather(1, best[:, None]) - site.powers.gather(1, second[:, None]))[:, 0] < CLOSE
    counts = torch.bincount(site.labels, minlength=BEAMS)
    seen = site.observed.gather(1, site.labels[:, None])
    return {
        "samples": len(site),
        "class_counts": counts.tolist(),
        "classes_present": int((counts > 0).sum()),
        "largest_class": int(counts.max()),
        "smallest_class": int(counts[counts > 0].min()),
        "line_of_sight": _share(site.line_of_sight),
        "indoor": _share(site.indoor),
        "best_beam_observed": _share(seen),
        "full_sweep_right": _share(best == site.labels),
        "close_second": _share(close),
        "close_above": _share((best - second)[close].abs() == SIDE),
        "median_best_power_dbm": round(float(site.powers.amax(1).median()), 2),
    }


def _share(which: Tensor) -> float:
    return round(float(which.double().mean()), 4) if len(which) else 0.0
