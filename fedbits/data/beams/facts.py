"""What a person wants to know of measurements before using them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fedbits.data.beams.codebook import BEAMS
from fedbits.data.beams.measurements import Measurements


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
    counts = torch.bincount(site.labels, minlength=BEAMS)
    seen = site.observed.gather(1, site.labels[:, None])
    return {
        "samples": len(site),
        "class_counts": counts.tolist(),
        "classes_present": int((counts > 0).sum()),
        "largest_class": int(counts.max()),
        "smallest_class": int(counts[counts > 0].min()),
        "line_of_sight": round(float(site.line_of_sight.double().mean()), 4),
        "indoor": round(float(site.indoor.double().mean()), 4),
        "best_beam_observed": round(float(seen.double().mean()), 4),
        "median_best_power_dbm": round(float(site.powers.amax(1).median()), 2),
    }
