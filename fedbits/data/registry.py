"""Data sets by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from fedbits.data.arrays import load_npz
from fedbits.data.beams import load_beams
from fedbits.data.cifar import load_cifar10, load_cifar100
from fedbits.data.digits import load_digits
from fedbits.data.folder import load_folder
from fedbits.data.mnist import load_fashion_mnist, load_mnist
from fedbits.data.search import Places
from fedbits.data.tensors import DataSet
from fedbits.errors import DataError

_PUBLISHED: dict[str, Callable[[Places], DataSet]] = {
    "digits": lambda places: load_digits(),
    "mnist": load_mnist,
    "fashion_mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "beams": lambda places: load_beams("", places),
}
_OWN: dict[str, Callable[[str], DataSet]] = {"folder": load_folder, "npz": load_npz}

NAMES: tuple[str, ...] = tuple(_PUBLISHED)


def load(name: str, root: str | Path | None = None, download: bool = False) -> DataSet:
    """The data set ``name``.

    Args:
        name: one of :data:`NAMES`, ``beams:SITE`` (see :func:`fedbits.data.beams.load_beams`; options may
            follow ``beams``, too), ``folder:PATH`` (class folders of images, see
            :func:`fedbits.data.folder.load_folder`) or ``npz:PATH`` (arrays, see
            :func:`fedbits.data.arrays.load_npz`).
        root: searched first for the files of a published data set, before ``$FEDBITS_DATA``,
            ``~/.cache/fedbits`` and ``/usr/share/datasets``.
        download: fetch a published data set that is in none of them into the first.

    Raises:
        DataError: an unknown name; files that are not there, cannot be fetched, or are damaged; data that
            is not of the expected form.
    """
    places = Places(Path(root) if root else None, download)
    if name.startswith(("beams:", "beams?")):
        return load_beams(name.removeprefix("beams").removeprefix(":"), places)
    kind, colon, path = name.partition(":")
    if colon and kind in _OWN:
        if not path:
            raise DataError(f"data set {name!r} lacks its path: write {kind}:PATH")
        return _OWN[kind](path)
    if name not in _PUBLISHED:
        raise _unknown(name)
    return _PUBLISHED[name](places)


def anchored(name: str) -> str:
    """``name`` as it must be written elsewhere: a path in it is absolute."""
    kind, _, path = name.partition(":")
    return f"{kind}:{Path(path).expanduser().absolute()}" if kind in _OWN and path else name


def _unknown(name: str) -> DataError:
    plain = name.lower().replace("-", "_").replace(" ", "_")
    close = difflib.get_close_matches(plain, [*NAMES, *(f"{kind}:PATH" for kind in _OWN)], 1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    known = ", ".join([*NAMES, *(f"{kind}:PATH" for kind in _OWN)])
    return DataError(f"data set {name!r} is unknown{hint}: known are {known}")
