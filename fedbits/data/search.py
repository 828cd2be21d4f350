"""Where a public data set may lie on this machine, and what to say when it does not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fedbits.errors import DataError

ENVIRONMENT = "FEDBITS_DATA"
CACHE = Path("~/.cache/fedbits")
SYSTEM = Path("/usr/share/datasets")  # where Debian's dataset packages put their files


@dataclass(frozen=True)
class Places:
    """What is searched, in order: ``root``, ``$FEDBITS_DATA``, ``~/.cache/fedbits``, ``/usr/share/datasets``.

    Attributes:
        root: what the user named (``--data-root``), or None.
        download: whether a data set that is in none of them may be fetched.
    """

    root: Path | None = None
    download: bool = False

    def folders(self) -> list[Path]:
        chosen = [self.root] if self.root else []
        from_environment = os.environ.get(ENVIRONMENT)
        if from_environment:
            chosen.append(Path(from_environment))
        return [folder.expanduser() for folder in (*chosen, CACHE, SYSTEM)]

    def download_folder(self) -> Path:
        """Where a fetched data set goes: the first of the folders that is the user's own."""
        return self.folders()[0]


@dataclass(frozen=True)
class Layout:
    """How a published data set lies on disk.

    Attributes:
        name: the data set.
        subfolders: below a data folder; the first that has every file is read.
        files: what must be there, all of it.
        suffixes: what may follow a file's name (``.gz``), in order of preference.
        advice: how to get the data set other than by ``--download``.
    """

    name: str
    subfolders: tuple[str, ...]
    files: tuple[str, ...]
    advice: str
    suffixes: tuple[str, ...] = ("",)

    def locate(self, places: Places) -> list[Path] | None:
        """The paths of ``files`` in the first complete folder, or None."""
        for folder in self._candidates(places):
            found = [self._file(folder, name) for name in self.files]
            paths = [path for path in found if path is not None]
            if len(paths) == len(self.files):
                return paths
        return None

    def missing(self, places: Places) -> DataError:
        """The error that says what was looked for, where, and how to get it."""
        files = ", ".join(name + "".join(f"[{s}]" for s in self.suffixes if s) for name in self.files)
        partial = "".join(self._partial(folder) for folder in self._candidates(places))
        return DataError(
            f"{self.name} is not on this machine: looked for {files} in {' and '.join(self.subfolders)} "
            f"below {', '.join(_shown(folder) for folder in places.folders())}{partial}; "
            f"get it with --download, or {self.advice}"
        )

    def _candidates(self, places: Places) -> list[Path]:
        return [folder / sub for folder in places.folders() for sub in self.subfolders]

    def _file(self, folder: Path, name: str) -> Path | None:
        paths = (folder / (name + suffix) for suffix in self.suffixes)
        return next((path for path in paths if path.is_file()), None)

    def _partial(self, folder: Path) -> str:
        lacking = [name for name in self.files if self._file(folder, name) is None]
        if not lacking or len(lacking) == len(self.files):
            return ""
        return f" ({folder} lacks {', '.join(lacking)})"


def _shown(folder: Path) -> str:
    return f"{folder}" if folder.is_dir() else f"{folder} (no such folder)"
