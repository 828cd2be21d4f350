"""A user's own images in class folders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from fedbits.data.assemble import Part, assemble, hold_out, own
from fedbits.data.tensors import DataSet
from fedbits.errors import DataError

_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
_GRAY = frozenset(("1", "L", "LA", "La"))
_WIDE = frozenset(("I", "F"))  # and the I;16 family: more than 8 bits
_LARGEST = 4096
_ORIENTATION = 0x0112  # EXIF: 5 to 8 are turned by a quarter
_SIZE = re.compile(r"size=([1-9]\d*)(?:x([1-9]\d*))?")


@dataclass(frozen=True)
class _Found:
    """One image file: its class, and what its header says of it (``size`` is height, width)."""

    path: Path
    label: int
    size: tuple[int, int]
    gray: bool


def load_folder(path: str) -> DataSet:
    """Images in ``PATH/train/CLASS/`` and ``PATH/test/CLASS/``, or in ``PATH/CLASS/``.

    Without a test folder, a fixed, stratified fifth of each class is held out for testing. Folders below a
    class folder belong to it; hidden files and files that are not images are left alone. Classes are in order
    of their names, by number if every name is one. All samples are uint8: of one channel if every image is
    grey, RGB otherwise (palettes are resolved, transparency is dropped).

    Images of different sizes need ``PATH?size=32`` or ``PATH?size=HEIGHTxWIDTH``: each is resized to it
    (bilinear, with antialiasing; the aspect is not kept). Without it all must have one size.

    Raises:
        DataError: no such folder or layout, an image that cannot be read, or images of different sizes.
    """
    folder, size = _parse(path)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: give one with class folders of images, as folder:PATH")
    parted = _is_parted(folder)
    names = _class_names(folder / "train" if parted else folder)
    found = [_scan(part, names) for part in ((folder / "train", folder / "test") if parted else (folder,))]
    for label, name in enumerate(names):
        if all(image.label != label for image in found[0]):
            raise DataError(f"{folder}: the class folder {name!r} has no images to train on")
    every = [image for part in found for image in part]
    size = size or _common_size(every)
    gray = all(image.gray for image in every)
    parts = [_decode(part, size, gray) for part in found]
    source = f"folder:{folder.resolve().name}"
    train, test = parts if parted else hold_out(parts[0], source)
    return assemble(own(source, len(names), train, tuple(names)), train, test)


def _parse(text: str) -> tuple[Path, tuple[int, int] | None]:
    plain = Path(text).expanduser()
    base, mark, option = text.rpartition("?")
    if not mark or plain.is_dir():
        return plain, None
    match = _SIZE.fullmatch(option)
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 0 < max(size) <= _LARGEST:
        raise DataError(
            f"option {option!r} of folder:{text} is unknown: write ?size=32 or ?size=32x24 (height x width, "
            f"at most {_LARGEST})"
        )
    return Path(base).expanduser(), size


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _is_parted(folder: Path) -> bool:
    """Whether there are ``train/`` and ``test/``; one alone, with class folders in it, is a mistake."""
    parts = {
        name: (folder / name).is_dir() and bool(_subfolders(folder / name)) for name in ("train", "test")
    }
    if parts["train"] == parts["test"]:
        return parts["train"]
    there, lacking = ("train", "test") if parts["train"] else ("test", "train")
    raise DataError(
        f"{folder} has {there}/ but no {lacking}/ with class folders: add it, or give {folder / there} itself"
    )


def _class_names(folder: Path) -> list[str]:
    names = [path.name for path in _subfolders(folder)]
    if len(names) < 2:
        raise DataError(f"{folder} has {len(names)} class folders, but there must be at least two")
    numbered = all(name.isascii() and name.isdecimal() for name in names)
    return sorted(names, key=lambda name: (int(name) if numbered else 0, name))


def _scan(folder: Path, names: list[str]) -> list[_Found]:
    """Every image below the class folders of ``folder``, class by class, in order of their paths."""
    strangers = {path.name for path in _subfolders(folder)} - set(names)
    if strangers:
        raise DataError(f"{folder} has the class {min(strangers)!r}, which the training part lacks")
    found = [
        _header(path, label)
        for label, name in enumerate(names)
        for path in sorted((folder / name).rglob("*"))
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not found:
        raise DataError(f"{folder} has no images: files that end in {', '.join(sorted(_SUFFIXES))} are read")
    return found


def _header(path: Path, label: int) -> _Found:
    with _readable(path), Image.open(path) as image:
        if image.mode in _WIDE or image.mode.startswith("I;16"):
            raise DataError(f"{path} has more than 8 bits a channel: convert it to 8 bits, or use npz:PATH")
        width, height = image.size
        turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        return _Found(path, label, (width, height) if turned else (height, width), image.mode in _GRAY)


def _common_size(images: list[_Found]) -> tuple[int, int]:
    first = images[0]
    for other in images:
        if other.size != first.size:
            raise DataError(
                f"images differ in size: {first.path} is {_shown(first.size)}, {other.path} is "
                f"{_shown(other.size)} (height x width): give one for all, as in folder:PATH?size=32"
            )
    if max(first.size) > _LARGEST:
        raise DataError(
            f"{first.path} is {_shown(first.size)}, larger than {_LARGEST}: add ?size=32 to the folder's path"
        )
    return first.size


def _decode(images: list[_Found], size: tuple[int, int], gray: bool) -> Part:
    height, width = size
    samples = torch.empty(len(images), 1 if gray else 3, height, width, dtype=torch.uint8)
    for sample, found in zip(samples, images, strict=True):
        with _readable(found.path), Image.open(found.path) as image:
            plain = ImageOps.exif_transpose(image).convert("L" if gray else "RGB")
            if plain.size != (width, height):
                plain = plain.resize((width, height), Image.Resampling.BILINEAR)
            sample.copy_(torch.from_numpy(np.array(plain).reshape(height, width, -1)).permute(2, 0, 1))
    return Part(samples, torch.tensor([found.label for found in images]))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever Pillow raises on a file that is no whole image, as one sentence."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # on a damaged file Pillow's readers raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read as an image: {reason}") from error


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
