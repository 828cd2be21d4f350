"""Small synthetic files in the published layouts, and a machine that has no others."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedbits.data import search

IDX_NAMES = {"train": "train", "test": "t10k"}


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a system folder of the test's own; returns the system folder."""
    system = tmp_path / "system"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv(search.ENVIRONMENT, raising=False)
    monkeypatch.setattr(search, "SYSTEM", system)
    return system


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx_set(folder: Path, packed: bool = False, train: int = 40, test: int = 20) -> np.ndarray:
    """The four files of a set of the MNIST family; the training images are returned."""
    folder.mkdir(parents=True, exist_ok=True)
    images = {}
    for part, count in (("train", train), ("test", test)):
        rng = np.random.default_rng(count)
        images[part] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images[part]), ("labels-idx1", labels)):
            path = folder / f"{IDX_NAMES[part]}-{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))
    return images["train"]


@pytest.fixture
def write_cifar(monkeypatch: pytest.MonkeyPatch) -> Callable[..., np.ndarray]:
    """Writes a small CIFAR in the published layout, and tells torchvision its checksums instead."""

    def write(root: Path, reader: type, key: str = "labels", classes: int = 10) -> np.ndarray:
        folder = root / reader.base_folder
        folder.mkdir(parents=True)
        rng = np.random.default_rng(0)
        first = rng.integers(0, 256, (classes, 3072), dtype=np.uint8)
        for attribute in ("train_list", "test_list"):
            sums = []
            for name, _ in getattr(reader, attribute):
                entry = {"data": first, key: list(range(classes))}
                sums.append([name, _write_pickle(folder / name, entry)])
            monkeypatch.setattr(reader, attribute, sums)
        names = [f"class {i}" for i in range(classes)]
        meta = dict(reader.meta)
        meta["md5"] = _write_pickle(folder / meta["filename"], {meta["key"]: names})
        monkeypatch.setattr(reader, "meta", meta)
        return first.reshape(-1, 3, 32, 32)

    return write


def _write_pickle(path: Path, entry: dict) -> str:
    blob = pickle.dumps(entry, protocol=2)
    path.write_bytes(blob)
    return hashlib.md5(blob).hexdigest()


def write_image(path: Path, size: tuple[int, int] = (6, 5), value: int | tuple[int, ...] = 7) -> None:
    """An image of ``size`` (height, width); grey for one value, RGB for three, RGBA for four."""
    mode = "L" if isinstance(value, int) else {3: "RGB", 4: "RGBA"}[len(value)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size[1], size[0]), value).save(path)
