"""MNIST and Fashion-MNIST, from torchvision's layout or Debian's."""

from __future__ import annotations

from pathlib import Path

import torch

from fedbits.data.assemble import Part, assemble, published
from fedbits.data.download import download
from fedbits.data.idx import read_idx
from fedbits.data.search import Layout, Places
from fedbits.data.tensors import DataSet
from fedbits.errors import DataError

_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_SUFFIXES = ("", ".gz")
_SIDE = 28
_CLASSES = 10

_MNIST = Layout(
    "mnist",
    ("MNIST/raw", "mnist"),
    _FILES,
    "put the four published files into mnist/ in one of these folders",
    _SUFFIXES,
)
_FASHION = Layout(
    "fashion_mnist",
    ("FashionMNIST/raw", "fashion-mnist"),
    _FILES,
    "install Debian's package dataset-fashion-mnist",
    _SUFFIXES,
)


def load_mnist(places: Places) -> DataSet:
    """60,000 training and 10,000 test images ``[1, 28, 28]`` of handwritten digits.

    Raises:
        DataError: the files are not there, cannot be fetched, or are damaged.
    """
    return _load(_MNIST, places)


def load_fashion_mnist(places: Places) -> DataSet:
    """60,000 training and 10,000 test images ``[1, 28, 28]`` of garments; raises as :func:`load_mnist`."""
    return _load(_FASHION, places)


def _load(layout: Layout, places: Places) -> DataSet:
    paths = layout.locate(places) or download(layout, places)
    return assemble(published(layout.name), _part(paths[0], paths[1]), _part(paths[2], paths[3]))


def _part(images: Path, labels: Path) -> Part:
    samples = read_idx(images, (_SIDE, _SIDE)).unsqueeze(1)
    values = read_idx(labels, ()).to(torch.int64)
    if len(samples) != len(values) or int(values.max()) >= _CLASSES:
        raise DataError(
            f"{labels} ({len(values):,} labels up to {int(values.max())}) does not belong to "
            f"{images} ({len(samples):,} images): delete both and get the data set again"
        )
    return Part(samples, values)
