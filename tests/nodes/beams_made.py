"""Beam measurements that take no channel model: each site has a few beams of its own that are best."""

from __future__ import annotations

from pathlib import Path

import torch

from fedbits.data.beams import SITES, Measurements
from fedbits.data.beams.codebook import BEAMS
from fedbits.data.beams.measurements import measure
from fedbits.data.beams.store import Request, to_bytes
from fedbits.rng import torch_stream

EACH = 60
NAME = f"beams?samples={EACH * len(SITES)}"


def write_beams(root: Path) -> None:
    """The files in which ``NAME`` is looked for."""
    for number, site in enumerate(SITES):
        generator = torch_stream(0, "made", site)
        powers = -90 + torch.randn(EACH, BEAMS, generator=generator)
        best = 16 * number + torch.randint(4, (EACH,), generator=generator)
        powers[torch.arange(EACH), best] += 20
        sight = torch.ones(EACH, dtype=torch.bool)
        request = Request(site, EACH, 0)
        path = root / request.file()
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(to_bytes(Measurements(*measure(powers, generator), sight, ~sight), request))
