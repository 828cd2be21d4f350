"""CIFAR-10 and CIFAR-100, by torchvision's reader.

The published files are pickles. torchvision unpickles them only after it has found the published MD5 of each,
so a file that is not one of those is never unpickled.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedbits.data.assemble import Part, assemble, published
from fedbits.data.download import download
from fedbits.data.search import Layout, Places
from fedbits.data.tensors import DataSet
from fedbits.errors import DataError

_CIFAR10 = Layout(
    "cifar10",
    ("cifar-10-batches-py",),
    (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
    "unpack the published cifar-10-python.tar.gz in one of these folders",
)
_CIFAR100 = Layout(
    "cifar100",
    ("cifar-100-python",),
    ("train", "test", "meta"),
    "unpack the published cifar-100-python.tar.gz in one of these folders",
)


def load_cifar10(places: Places) -> DataSet:
    """50,000 training and 10,000 test images ``[3, 32, 32]`` of ten classes.

    Raises:
        DataError: the files are not there, cannot be fetched, or are not the published ones.
    """
    from torchvision.datasets import CIFAR10

    return _load(_CIFAR10, CIFAR10, places)


def load_cifar100(places: Places) -> DataSet:
    """As :func:`load_cifar10`, with a hundred classes (the fine labels)."""
    from torchvision.datasets import CIFAR100

    return _load(_CIFAR100, CIFAR100, places)


def _load(layout: Layout, reader: Any, places: Places) -> DataSet:
    paths = layout.locate(places) or download(layout, places)
    train, names = _read(reader, paths, train=True)
    test, _ = _read(reader, paths, train=False)
    return assemble(dataclasses.replace(published(layout.name), class_names=names), train, test)


def _read(reader: Any, paths: list[Path], train: bool) -> tuple[Part, tuple[str, ...]]:
    try:
        with warnings.catch_warnings():
            # the pickles are of NumPy 1; NumPy 2.4 and later say so of each array
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            data = reader(str(paths[0].parent.parent), train=train)
    except (OSError, RuntimeError) as error:
        raise _damaged(reader, paths, error) from error
    images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))  # as stored: torchvision's is a view
    return Part(torch.from_numpy(images), torch.tensor(data.targets)), tuple(data.classes)


def _damaged(reader: Any, paths: list[Path], error: Exception) -> DataError:
    from torchvision.datasets.utils import check_integrity

    sums = dict([*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"])])
    for path in paths:
        if not check_integrity(str(path), sums[path.name]):
            return DataError(
                f"{path} is damaged (its MD5 is not the published {sums[path.name]}): "
                f"delete it and get the data set again"
            )
    return DataError(f"{paths[0].parent} cannot be read: {error}")
