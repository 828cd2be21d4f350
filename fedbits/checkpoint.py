"""Where long work can be taken up again."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedbits.data.tensors import TensorData
from fedbits.errors import ConfigError
from fedbits.files import write_atomic

_VERSION = 1  # of what a state holds: a run is only resumed by code that would have written the same


def fingerprint(data: TensorData, *settings: object) -> str:
    """A digest of everything that shapes a run: resuming under another one is refused."""
    digest = hashlib.sha256(repr((_VERSION, torch.__version__, *settings)).encode())
    digest.update(repr(data.spec).encode())
    for tensor in (data.samples, data.labels):
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def weights_digest(network: nn.Module | None) -> str:
    """A digest of the weights of ``network``; empty without one."""
    digest = hashlib.sha256()
    if network is None:
        return ""
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def save(path: Path, settings: str, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors, numbers, containers of them) whole or not at all."""
    buffer = io.BytesIO()
    torch.save({"settings": settings, "state": state}, buffer)
    write_atomic(path, buffer.getvalue())


def load(path: Path, settings: str) -> dict[str, Any]:
    """The state saved at ``path``.

    Raises:
        ConfigError: there is none, it is damaged, or it belongs to a run with other settings.
    """
    if not path.is_file():
        raise ConfigError(f"no checkpoint at {path}: leave out --resume to start over")
    try:
        saved = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ConfigError(f"checkpoint {path} is damaged: delete it and start over") from error
    if not isinstance(saved, dict) or saved.get("settings") != settings:
        raise ConfigError(
            f"checkpoint {path} belongs to a run with other data or settings: give the same, or delete it"
        )
    return saved["state"]
