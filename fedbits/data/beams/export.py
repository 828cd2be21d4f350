"""Measurements as a file for other programs."""

from __future__ import annotations

import io

import numpy as np

from fedbits.data.beams.load import Selection, assembled
from fedbits.data.beams.measurements import Measurements
from fedbits.data.beams.site import SITES


def to_npz(selection: Selection, made: dict[str, Measurements]) -> bytes:
    """An ``.npz`` file of all measurements, and of what networks see of them.

    ``powers_dbm`` ``[n, 64]`` float32, ``observed`` ``[n, 64]`` bool, ``best_beam`` ``[n]``,
    ``line_of_sight``, ``indoor`` and ``site`` (a position in ``sites``) are as measured, one site after the
    other; ``x_train`` ``[m, 64]``, ``y_train``, ``x_test`` and ``y_test`` are the parts of ``--data beams``,
    flat.
    """
    data, names = assembled(selection, made), list(SITES)
    whole = Measurements.joined([made[site] for site in selection.sites])
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        powers_dbm=whole.powers.numpy(),
        observed=whole.observed.numpy(),
        best_beam=whole.labels.numpy(),
        line_of_sight=whole.line_of_sight.numpy(),
        indoor=whole.indoor.numpy(),
        site=np.repeat([names.index(site) for site in selection.sites], selection.each),
        sites=np.array(names),
        x_train=data.train.samples.flatten(1).numpy(),
        y_train=data.train.labels.numpy(),
        x_test=data.test.samples.flatten(1).numpy(),
        y_test=data.test.labels.numpy(),
    )
    return buffer.getvalue()
