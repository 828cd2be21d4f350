"""Fetching a public data set by torchvision's published addresses and checksums."""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fedbits.data.search import Layout, Places
from fedbits.errors import DataError

_READERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}
_PATIENCE = 60.0  # seconds without an answer


def download(layout: Layout, places: Places) -> list[Path]:
    """Fetch the data set into ``places.download_folder()`` and return the paths of its files.

    It is fetched beside its place and moved there when it is whole.

    Raises:
        DataError: it may not be fetched (then the error says where it was looked for), or the fetch failed.
    """
    if not places.download:
        raise layout.missing(places)
    folder = places.download_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
            _fetch(layout.name, Path(scratch))
            _move(Path(scratch) / layout.subfolders[0], folder / layout.subfolders[0])
    except (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{layout.name} could not be downloaded into {folder}: {reason}; "
            f"check the network and the folder, or {layout.advice}"
        ) from error
    paths = layout.locate(places)
    if paths is None:
        raise layout.missing(places)
    return paths


def _fetch(name: str, folder: Path) -> None:
    from torchvision import datasets

    # what torchvision prints belongs with the messages, not with a command's output
    with contextlib.redirect_stdout(sys.stderr), _timeout(_PATIENCE):
        getattr(datasets, _READERS[name])(str(folder), download=True)


def _move(source: Path, target: Path) -> None:
    """Every file of ``source`` into ``target``, over what an earlier attempt left there."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        path.replace(target / path.name)


@contextlib.contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """torchvision offers no time limit of its own, so the sockets' default is lent to it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
