"""What a terminal receives of each beam: TR 38.901 channels by sionna-no-rt."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fedbits.data.beams.codebook import SIDE, codebook
from fedbits.errors import ConfigError

if TYPE_CHECKING:
    from fedbits.data.beams.place import Places
    from fedbits.data.beams.site import Site

CARRIER = 28e9  # Hz
TRANSMITTED = 30.0  # dBm, of a beam
_SPEED_OF_LIGHT = 299_792_458.0
_FAINTEST = 1e-30  # of a path gain: -270 dBm, below any receiver
_DEVICE = "cpu"  # draws differ between devices

Sound = Callable[["Places", int], Tensor]


@contextmanager
def sounding(site: Site) -> Iterator[Sound]:
    """Gives a function from terminals and a seed to received powers ``[n, BEAMS]``, float32, in dBm.

    Powers are summed over delays, as a measurement over a wide band does. The same terminals and seed give
    the same powers, bit for bit: work is on one thread, and torch's generator is what it was afterwards.

    Raises:
        ConfigError: sionna-no-rt is not installed.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):  # Sionna seeds torch's own generator, even when it is imported
        phy = _sionna()
        before = phy.config.seed
        torch.set_num_threads(1)
        try:
            model, weights = _model(site)
            yield lambda places, seed: _powers(model, weights, site, places, seed)
        finally:
            torch.set_num_threads(threads)
            phy.config.seed = before


def _sionna() -> Any:
    try:
        import sionna.phy
        import sionna.phy.channel.tr38901
    except ImportError as error:
        raise ConfigError(
            f"beams are measured in channels by sionna-no-rt ({error}): install it with "
            f"pip install 'fedbits[beams]'"
        ) from error
    return sionna.phy


def _model(site: Site) -> tuple[Any, Tensor]:
    """The site's channel model, and the beams' weights ``[BEAMS, elements]``."""
    tr38901 = sys.modules["sionna.phy.channel.tr38901"]
    shared: dict[str, Any] = {
        "polarization": "single",
        "polarization_type": "V",
        "carrier_frequency": CARRIER,
        "precision": "single",
        "device": _DEVICE,
    }
    panel = tr38901.PanelArray(
        num_rows_per_panel=SIDE, num_cols_per_panel=SIDE, antenna_pattern="38.901", **shared
    )
    terminal = tr38901.PanelArray(
        num_rows_per_panel=1, num_cols_per_panel=1, antenna_pattern="omni", **shared
    )
    model = getattr(tr38901, site.scenario)(
        carrier_frequency=CARRIER,
        o2i_model="low",
        ut_array=terminal,
        bs_array=panel,
        direction="downlink",
        precision="single",
        device=_DEVICE,
    )
    return model, codebook(panel.ant_pos.cpu() * (CARRIER / _SPEED_OF_LIGHT))


def _powers(model: Any, weights: Tensor, site: Site, places: Places, seed: int) -> Tensor:
    """Each terminal has a drop of its own (one panel, one terminal), so that all are independent."""
    count = len(places.positions)
    sys.modules["sionna.phy"].config.seed = seed
    still = torch.zeros(count, 1, 3)
    turned = still.clone()
    turned[:, 0, 0] = places.headings
    panel = still.clone()
    panel[:, 0, 2] = site.height
    tilted = still.clone()
    tilted[:, 0, 1] = math.radians(site.tilt)
    # The model keeps what it is given and writes into it: every tensor is one of its own.
    model.set_topology(
        ut_loc=places.positions[:, None].clone(),
        bs_loc=panel,
        ut_orientations=turned,
        bs_orientations=tilted,
        ut_velocities=still.clone(),
        in_state=places.indoor[:, None].clone(),
        los=places.outdoor_sight[:, None, None].clone(),
    )
    paths, _ = model(num_time_samples=1, sampling_frequency=1.0)
    paths = paths[:, 0, 0, 0, :, :, 0]  # [n, elements, paths]
    gains = torch.einsum("be,nep->nbp", weights, paths).abs().square().sum(2)
    return TRANSMITTED + 10 * gains.clamp_min(_FAINTEST).log10()
