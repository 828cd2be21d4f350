"""The folder of a run: what arrived, as it arrived, before anything is done with it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path

from fedbits.errors import ConfigError
from fedbits.files import write_atomic

REJECTED_BYTES = 1 << 20  # of what a node sent in vain, at most so much is kept
MAX_NAMES = 100_000


@dataclass(frozen=True)
class RunFolder:
    """``blobs/`` holds what the nodes sent, ``rejected/`` what was refused, beside the log and the report."""

    path: Path

    @classmethod
    def create(cls, out: Path, name: str, default: str) -> RunFolder:
        """A new folder ``out/name``; without a name ``out/default``, with a counter where that is taken.

        Raises:
            ConfigError: ``out/name`` is there already, or the folder cannot be made.
        """
        names = [name] if name else (f"{default}-{n}" if n > 1 else default for n in count(1))
        for candidate, _ in zip(names, range(MAX_NAMES), strict=False):
            path = out / candidate
            if _make(out, path):
                return cls(path)
        raise ConfigError(f"the run's folder {out / name} is there already: choose another --name")

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder ``path``, made if it is not there, of a run that has not left anything in it yet.

        Raises:
            ConfigError: a run has left its report or blobs in it, or it cannot be made.
        """
        if (path / "report.json").exists() or (path / "blobs").exists():
            raise ConfigError(f"{path} holds another run: take another name or --out")
        _make(path.parent, path)
        return cls(path)

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    def keep(self, turn: int, node: int, blob: bytes, name: str = "") -> Path:
        """Save a received blob, whole and unseen; ``name`` tells several of a node in a round apart."""
        path = self.path / "blobs" / f"round-{turn}" / f"{_stem(node, name)}.fbit"
        write_atomic(path, blob)
        return path

    def reject(self, turn: int, node: int, blob: bytes, name: str = "") -> Path:
        """Save (the beginning of) a blob that is refused, apart from the others."""
        path = self.path / "rejected" / f"round-{turn}" / f"{_stem(node, name)}.bin"
        write_atomic(path, blob[:REJECTED_BYTES])
        kept = self.path / "blobs" / f"round-{turn}" / f"{_stem(node, name)}.fbit"
        kept.unlink(missing_ok=True)
        return path


def _stem(node: int, name: str) -> str:
    return f"node-{node:03}-{name}" if name else f"node-{node:03}"


def _make(out: Path, path: Path) -> bool:
    """Make the folder ``path`` in ``out``; False if it is there already."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the folder {out} cannot be made: {error.strerror}; choose another --out"
        ) from error
    try:
        path.mkdir()
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(
            f"the folder {path} cannot be made: {error.strerror}; choose another --out"
        ) from error
    return True
