"""Sites: what a base station stands on and looks at, as far as it shapes which beams are best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedbits.errors import ConfigError

LOWEST = 1.5  # metres, of a terminal on the ground (TR 38.901)
STOREY = 3.0  # metres, from floor to floor (TR 38.901)


@dataclass(frozen=True)
class Hotspot:
    """A place where many terminals are, seen from the panel.

    Attributes:
        azimuth, spread: its direction and standard deviation, degrees from the panel's boresight.
        distance, reach: along the ground, and its standard deviation, metres.
    """

    azimuth: float
    spread: float
    distance: float
    reach: float


@dataclass(frozen=True)
class Site:
    """One cell and who is in it.

    Attributes:
        name: as in ``beams:NAME``.
        scenario: of TR 38.901: ``UMa`` (above the roofs) or ``UMi`` (a street canyon).
        height: of the panel, metres.
        tilt: downwards, degrees.
        line_of_sight: probability that a terminal outdoors sees the panel.
        nearest, farthest: distance along the ground, metres.
        sector: terminals outside hotspots are within this many degrees of boresight.
        gathered: share of terminals that are in ``hotspots``, each of which has as many.
        indoor: share of terminals that are indoors; never in line of sight.
        floors: highest floor that terminals indoors are on, from 1.
    """

    name: str
    scenario: Literal["UMa", "UMi"]
    height: float
    tilt: float
    line_of_sight: float
    nearest: float
    farthest: float
    sector: float = 70.0
    gathered: float = 0.0
    hotspots: tuple[Hotspot, ...] = ()
    indoor: float = 0.0
    floors: int = 1

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        if self.scenario not in ("UMa", "UMi"):
            raise ConfigError(f"scenario of site {self.name!r} is {self.scenario!r}: expected UMa or UMi")
        for what in ("line_of_sight", "gathered", "indoor"):
            if not 0 <= getattr(self, what) <= 1:
                raise ConfigError(f"{what} of site {self.name!r} is {getattr(self, what)}: expected 0 to 1")
        if not 0 < self.nearest < self.farthest:
            raise ConfigError(
                f"site {self.name!r} reaches from {self.nearest} to {self.farthest} m: "
                "expected distances above 0, the second one larger"
            )
        if self.gathered and not self.hotspots:
            raise ConfigError(f"{self.gathered:.0%} of site {self.name!r} are in hotspots, but it has none")


SITES: dict[str, Site] = {
    site.name: site
    for site in (
        Site(
            name="macro",
            scenario="UMa",
            height=25.0,
            tilt=15.0,
            line_of_sight=0.95,
            nearest=25.0,
            farthest=200.0,
            gathered=0.35,
            hotspots=(Hotspot(-22.0, 8.0, 90.0, 25.0),),
            indoor=0.05,
            floors=4,
        ),
        Site(
            name="canyon",
            scenario="UMi",
            height=10.0,
            tilt=12.0,
            line_of_sight=0.95,
            nearest=8.0,
            farthest=150.0,
            gathered=0.7,
            hotspots=(Hotspot(-58.0, 9.0, 35.0, 25.0), Hotspot(46.0, 10.0, 25.0, 12.0)),
            indoor=0.05,
            floors=2,
        ),
        Site(
            name="plaza",
            scenario="UMi",
            height=10.0,
            tilt=18.0,
            line_of_sight=0.95,
            nearest=8.0,
            farthest=60.0,
            gathered=0.5,
            hotspots=(Hotspot(5.0, 14.0, 14.0, 3.0), Hotspot(-32.0, 8.0, 24.0, 6.0)),
        ),
        Site(
            name="offices",
            scenario="UMi",
            height=10.0,
            tilt=4.0,
            line_of_sight=0.95,
            nearest=15.0,
            farthest=70.0,
            gathered=0.4,
            hotspots=(Hotspot(24.0, 14.0, 28.0, 8.0),),
            indoor=0.2,
            floors=8,
        ),
    )
}
