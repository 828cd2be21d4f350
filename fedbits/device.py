"""Where the arithmetic happens."""

from __future__ import annotations

import torch

from fedbits.errors import ConfigError


def pick(name: str) -> torch.device:
    """``auto`` is the GPU where there is one; raises :class:`ConfigError` for a device that is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"unknown device {name!r}: expected auto, cpu or cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ConfigError("device 'cuda' was asked for, but torch sees no GPU: use --device cpu or auto")
    return torch.device("cuda" if available and name != "cpu" else "cpu")
