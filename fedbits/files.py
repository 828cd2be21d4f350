"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from fedbits.errors import FedbitsError

CACHE_ENVIRONMENT = "FEDBITS_CACHE"
CACHE = Path("~/.cache/fedbits")


def cache_folder(kind: str) -> Path:
    """Where one ``kind`` is kept between runs: in ``$FEDBITS_CACHE``, or in ``~/.cache/fedbits``."""
    return Path(os.environ.get(CACHE_ENVIRONMENT) or CACHE).expanduser() / kind


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write ``data`` beside ``path`` and rename it over, so that no reader ever sees half a file.

    Raises:
        FedbitsError: the folder cannot be made or written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())  # a rename may outlive a crash that the bytes do not
        temporary.replace(path)
    except OSError as error:
        raise FedbitsError(
            f"cannot write {path}: {error.strerror}; give a path that can be written"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # not even there, where its folder is none
            temporary.unlink()
