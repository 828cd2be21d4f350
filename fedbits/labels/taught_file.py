"""What a teacher said of all views of a set, in a file: to compress it in more than one way."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedbits.errors import ConfigError, DataError, MismatchError
from fedbits.files import write_atomic
from fedbits.labels.fitting import TaughtLabels
from fedbits.labels.views import ViewsConfig


def samples_digest(samples: Tensor) -> str:
    """SHA-256 of a set's samples, by which labels know whose they are."""
    return hashlib.sha256(samples.contiguous().cpu().numpy().tobytes()).hexdigest()


def write_taught(path: Path, taught: TaughtLabels, samples: Tensor) -> None:
    """Write labels of the views of ``samples`` as an ``.npz`` file, whole or not at all."""
    facts = {
        "views": asdict(taught.config),
        "temperature": taught.temperature,
        "samples": samples_digest(samples),
    }
    held = io.BytesIO()
    np.savez(
        held,
        probabilities=taught.probabilities.numpy(),
        classes=taught.classes.numpy(),
        facts=np.array(json.dumps(facts)),
    )
    write_atomic(path, held.getvalue())


def read_taught(path: Path) -> tuple[TaughtLabels, str]:
    """The labels in a file, and the digest of the samples whose views they are of.

    Raises:
        DataError: the file is not there, or was not written by :func:`write_taught`.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            probabilities, classes = stored["probabilities"], stored["classes"]
            config = ViewsConfig(**facts["views"])
            if probabilities.shape[:2] != (config.epochs, len(classes)) or probabilities.ndim != 3:
                raise ValueError("labels are not of all views")
            taught = TaughtLabels(
                config,
                float(facts["temperature"]),
                torch.from_numpy(probabilities.astype(np.float16)),
                torch.from_numpy(classes.astype(np.int64)),
            )
            return taught, str(facts["samples"])
    except OSError as error:
        raise DataError(f"cannot read the labels {path}: {error.strerror or error}") from error
    except (KeyError, ValueError, TypeError, EOFError, ConfigError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} holds no labels that 'fedbits labels make' wrote: {error}") from error


def check_samples(path: Path, digest: str, samples: Tensor) -> None:
    """Raise :class:`MismatchError` unless the labels of ``path`` are of views of ``samples``."""
    if samples_digest(samples) != digest:
        raise MismatchError(f"the labels in {path} are of another set: make them anew for this one")
