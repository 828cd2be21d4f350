"""Measurements of a site in a file: whole or not there, and of exactly the settings that are asked for."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedbits.data.beams import channel, codebook, generate, measurements
from fedbits.data.beams.measurements import Measurements
from fedbits.data.beams.site import SITES
from fedbits.data.search import Places
from fedbits.errors import DataError
from fedbits.files import write_atomic
from fedbits.progress import SILENT, Progress

FOLDER = "beams"  # below a data folder
_VERSION = 1  # of how measurements are made: whatever changes them and is in no setting must change it
_KEYS = ("powers", "observed", "labels", "line_of_sight", "indoor")


@dataclass(frozen=True)
class Request:
    """The first ``count`` measurements of ``site`` (one of :data:`SITES`) under ``seed``."""

    site: str
    count: int
    seed: int

    def settings(self) -> str:
        """All that shapes them, as text."""
        what: dict[str, Any] = {
            "version": _VERSION,
            "count": self.count,
            "seed": self.seed,
            "site": asdict(SITES[self.site]),
            "carrier": channel.CARRIER,
            "transmitted": channel.TRANSMITTED,
            "azimuths": codebook.AZIMUTHS,
            "elevations": codebook.ELEVATIONS,
            "observed": measurements.OBSERVED,
            "error": measurements.ERROR,
            "batch": generate.BATCH,
        }
        return json.dumps(what, sort_keys=True)

    def digest(self) -> str:
        return hashlib.sha256(self.settings().encode()).hexdigest()

    def file(self) -> Path:
        """Relative to a data folder."""
        return Path(FOLDER) / f"{self.site}-{self.count}-seed{self.seed}-{self.digest()[:16]}.npz"


def obtain(request: Request, places: Places, progress: Progress = SILENT) -> Measurements:
    """Measurements from the first data folder that has them; made, and kept in the first one, if none does.

    Raises:
        ConfigError: they must be made, and sionna-no-rt is not installed.
        DataError: a file that is there is damaged.
        FedbitsError: they cannot be written.
    """
    for folder in places.folders():
        if (folder / request.file()).is_file():
            return _read(folder / request.file(), request)
    made = generate.generate(SITES[request.site], request.count, request.seed, progress)
    write_atomic(places.download_folder() / request.file(), to_bytes(made, request))
    return made


def to_bytes(made: Measurements, request: Request) -> bytes:
    """An ``.npz`` file; the same measurements give the same bytes."""
    arrays = {key: part.numpy() for key, part in zip(_KEYS, made.parts(), strict=True)}
    buffer = io.BytesIO()
    np.savez(
        buffer,
        settings=np.array(request.settings()),
        digest=np.array(request.digest()),
        **arrays,  # type: ignore[arg-type]
    )
    return buffer.getvalue()


def _read(path: Path, request: Request) -> Measurements:
    try:
        with np.load(path, allow_pickle=False) as archive:
            digest = str(archive["digest"])
            parts = [torch.from_numpy(archive[key]) for key in _KEYS]
    except Exception as error:  # on a damaged file zipfile, its decompressors and NumPy raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is damaged ({reason}): delete it, and it is made again") from error
    beams = (request.count, codebook.BEAMS)
    flags, alone = torch.bool, (request.count,)
    forms = [(beams, torch.float32), (beams, flags), (alone, torch.int64), (alone, flags), (alone, flags)]
    if digest != request.digest() or [(tuple(p.shape), p.dtype) for p in parts] != forms:
        raise DataError(f"{path} does not hold what its name says: delete it, and it is made again")
    return Measurements(*parts)
