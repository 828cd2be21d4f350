"""Where the terminals of a site are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedbits.data.beams.site import LOWEST, STOREY, Site


@dataclass(frozen=True)
class Places:
    """Terminals as seen from below the panel, whose boresight is the x axis.

    Attributes:
        positions: ``[n, 3]`` float32, metres.
        indoor, outdoor_sight: ``[n]`` bool; the latter, whether the way outdoors is in line of sight.
        headings: ``[n]`` float32, radians, the way a terminal is turned.
    """

    positions: Tensor
    indoor: Tensor
    outdoor_sight: Tensor
    headings: Tensor


def draw_places(site: Site, count: int, generator: torch.Generator) -> Places:
    """``count`` terminals of ``site``; all else follows from the state of ``generator``."""
    even, normal = torch.rand(7, count, generator=generator), torch.randn(2, count, generator=generator)
    azimuth = (2 * even[0] - 1) * site.sector
    # even over the area, not over the distance
    distance = (site.nearest**2 + even[1] * (site.farthest**2 - site.nearest**2)).sqrt()
    if site.hotspots:
        spots = torch.tensor([[s.azimuth, s.spread, s.distance, s.reach] for s in site.hotspots])
        spot = spots[(even[2] * len(spots)).long().clamp(max=len(spots) - 1)].T
        gathered = even[3] < site.gathered
        azimuth = torch.where(gathered, spot[0] + normal[0] * spot[1], azimuth)
        distance = torch.where(gathered, spot[2] + normal[1] * spot[3], distance)
    azimuth = torch.deg2rad(azimuth.clamp(-site.sector, site.sector))
    distance = distance.clamp(site.nearest, site.farthest)
    indoor = even[4] < site.indoor
    floor = torch.where(indoor, (even[5] * site.floors).floor().clamp(max=site.floors - 1), 0.0)
    turned = torch.rand(count, generator=generator) * 2 * torch.pi
    positions = torch.stack([distance * azimuth.cos(), distance * azimuth.sin(), LOWEST + STOREY * floor], 1)
    return Places(positions, indoor, even[6] < site.line_of_sight, turned)
