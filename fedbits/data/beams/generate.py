"""Measurements of a site, made batch by batch, each from a seed of its own."""

from __future__ import annotations

from fedbits.data.beams.channel import sounding
from fedbits.data.beams.measurements import Measurements, measure
from fedbits.data.beams.place import draw_places
from fedbits.data.beams.site import Site
from fedbits.progress import SILENT, Progress
from fedbits.rng import derive_seed, torch_stream

BATCH = 256  # terminals made at once; it shapes the draws, so a different one gives different samples


def generate(site: Site, count: int, seed: int, progress: Progress = SILENT) -> Measurements:
    """``count`` measurements of ``site``: the same bits in every process, and the first ones of any more.

    Raises:
        ConfigError: sionna-no-rt is not installed.
    """
    made = []
    with sounding(site) as sound, progress.task(f"beams of {site.name}", count) as task:
        for batch in range(-(-count // BATCH)):
            path = ("beams", site.name, batch)
            places = draw_places(site, BATCH, torch_stream(seed, *path, "places"))
            powers = sound(places, derive_seed(seed, *path, "channel"))
            measured, observed, labels = measure(powers, torch_stream(seed, *path, "measure"))
            sight = places.outdoor_sight & ~places.indoor
            made.append(Measurements(measured, observed, labels, sight, places.indoor))
            task.advance(min(BATCH, count - batch * BATCH))
    return Measurements.joined(made).first(count)
