"""``beams`` as a data set."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from fedbits.data.assemble import Part, hold_out, published
from fedbits.data.beams.measurements import Measurements, inputs
from fedbits.data.beams.site import SITES
from fedbits.data.beams.store import Request, obtain
from fedbits.data.search import Places
from fedbits.data.tensors import DataSet, TensorData
from fedbits.errors import DataError
from fedbits.progress import SILENT, Progress

SAMPLES = 29_784  # of all four sites, as in QuADD's data set
_EACH = SAMPLES // len(SITES)
_FEWEST, _MOST = 20, 10_000_000
_FORM = "write beams, beams:SITE or beams:SITE,SITE, and after it ?samples=N, ?seed=S or ?samples=N&seed=S"
_OPTION = re.compile(r"(samples|seed)=(\d{1,18})")


@dataclass(frozen=True)
class Selection:
    """Which measurements: of ``sites``, ``each`` of every one, under ``seed``."""

    sites: tuple[str, ...] = tuple(SITES)
    each: int = _EACH
    seed: int = 0

    @classmethod
    def of(cls, sites: tuple[str, ...], samples: int | None, seed: int) -> Selection:
        """``samples`` in all, shared evenly among ``sites`` (7,446 of each when None).

        Raises:
            DataError: a site is unknown or comes twice, or there are too few or too many samples.
        """
        for site in sites:
            if site not in SITES:
                raise DataError(f"site {site!r} is unknown: known are {', '.join(SITES)}")
        if len(set(sites)) < len(sites) or not sites:
            raise DataError(f"sites {','.join(sites)!r} are not all different: name each once")
        each = _EACH if samples is None else samples // len(sites)
        if not _FEWEST <= each <= _MOST:
            raise DataError(
                f"{samples:,} samples are {each:,} for each of {len(sites)} sites: "
                f"expected {_FEWEST} to {_MOST:,} for each"
            )
        return cls(sites, each, seed)

    @classmethod
    def parse(cls, text: str) -> Selection:
        """``SITE,SITE?samples=N&seed=S``, all of which may be left out.

        Raises:
            DataError: it cannot be read.
        """
        names, mark, rest = text.partition("?")
        options: dict[str, int] = {}
        for option in rest.split("&") if mark else ():
            match = _OPTION.fullmatch(option)
            if match is None or match[1] in options:
                raise DataError(f"option {option!r} of beams is unknown or comes twice: {_FORM}")
            options[match[1]] = int(match[2])
        sites = tuple(names.split(",")) if names else tuple(SITES)
        return cls.of(sites, options.get("samples"), options.get("seed", 0))


def load_beams(text: str, places: Places) -> DataSet:
    """Measurements of sites, as :meth:`Selection.parse` reads them; each sample ``[1, 8, 8]``, 64 classes.

    All sites have one form and one normalisation, so their sets can be mixed. A fixed fifth of each site,
    stratified by class, is for testing; a selection of several sites has those of each.

    Raises:
        DataError: as :meth:`Selection.parse`, or a file that is damaged.
        ConfigError: they are not on this machine, and sionna-no-rt, which makes them, is not installed.
    """
    selection = Selection.parse(text)
    return assembled(selection, measured(selection, places))


def measured(selection: Selection, places: Places, progress: Progress = SILENT) -> dict[str, Measurements]:
    """The measurements of each site, from this machine or made for it."""
    return {
        site: obtain(Request(site, selection.each, selection.seed), places, progress)
        for site in selection.sites
    }


def assembled(selection: Selection, made: dict[str, Measurements]) -> DataSet:
    """Training and test part of all sites; sites are numbered as in :data:`SITES`."""
    spec, numbers = published("beams"), list(SITES)
    halves: tuple[list[Part], list[Part]] = ([], [])
    origins: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    for site in selection.sites:
        parts = hold_out(Part(inputs(made[site]), made[site].labels), f"beams:{site}")
        for which, part in enumerate(parts):
            halves[which].append(part)
            origins[which].append(torch.full_like(part.labels, numbers.index(site)))
    train, test = (
        TensorData(
            spec,
            torch.cat([part.samples for part in half]),
            torch.cat([part.labels for part in half]),
            torch.cat(origin),
        )
        for half, origin in zip(halves, origins, strict=True)
    )
    return DataSet(spec, train, test)
