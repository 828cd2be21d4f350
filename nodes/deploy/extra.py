"""What a deployment needs besides the core, and how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fedbits.errors import ConfigError


@contextmanager
def needing_the_extra() -> Iterator[None]:
    """Say how to get what is not installed; raises :class:`ConfigError` in place of ImportError."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"a deployment needs Flower and cryptography ({error}): "
            "install them with pip install 'fedbits[federated]'"
        ) from error
