"""A user's own arrays in an ``.npz`` file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedbits.data.assemble import Part, assemble, hold_out, own
from fedbits.data.tensors import DataSet
from fedbits.errors import DataError

_SPLIT = ("x_train", "y_train", "x_test", "y_test")
_WHOLE = (("samples", "labels"), ("x", "y"))
_CHANNELS = (1, 3, 4)
_MOST_CLASSES = 1 << 16  # a label beyond is more likely a mistake than a class


def load_npz(path: str) -> DataSet:
    """Samples and integer labels of any field, from arrays in one ``.npz`` file.

    Keys: ``x_train``, ``y_train``, ``x_test``, ``y_test``; or ``samples`` and ``labels`` (or ``x``, ``y``),
    of which a fixed, stratified fifth is then held out for testing.

    Samples are uint8 (0..255) or float (kept as float32), and their axes tell what they are:

    * ``[n, d]``: flat samples of ``d`` features, normalised each by itself;
    * ``[n, h, w]``: one channel;
    * ``[n, h, w, c]`` if the last axis has length 1, 3 or 4 and the second has none of these;
    * ``[n, c, h, w]`` otherwise.

    Labels ``[n]`` (or ``[n, 1]``) are integers from 0; the largest of both parts fixes the number of classes,
    and a class may be missing.

    Raises:
        DataError: no such file, keys, types, shapes or values; pickled arrays are never read.
    """
    file = Path(path).expanduser()
    arrays = _read(file)
    keys = tuple(arrays)
    parts = [_part(file, arrays, x, y) for x, y in zip(keys[::2], keys[1::2], strict=True)]
    name = f"npz:{file.stem}"
    train, test = parts if len(parts) == 2 else hold_out(parts[0], name)
    if train.samples.shape[1:] != test.samples.shape[1:] or train.samples.dtype != test.samples.dtype:
        raise DataError(
            f"{file}: x_train holds samples {tuple(train.samples.shape[1:])} of {train.samples.dtype}, "
            f"x_test {tuple(test.samples.shape[1:])} of {test.samples.dtype}: they must be alike"
        )
    classes = 1 + max(int(part.labels.max()) for part in (train, test))
    if classes < 2:
        raise DataError(f"{file}: every label is 0, but there must be at least two classes")
    return assemble(own(name, classes, train), train, test)


def _read(file: Path) -> dict[str, np.ndarray]:
    """The arrays of the first complete set of keys, in the order of the keys."""
    try:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{file} holds one bare array: save samples and labels with numpy.savez")
        with archive:
            for keys in (_SPLIT, *_WHOLE):
                if all(key in archive for key in keys):
                    return {key: archive[key] for key in keys}
            raise DataError(
                f"{file} has the keys {', '.join(archive) or '(none)'}: it needs {', '.join(_SPLIT)}, "
                f"or samples and labels"
            )
    except FileNotFoundError as error:
        raise DataError(f"{file} does not exist: give the path of an .npz file as npz:PATH") from error
    except DataError:
        raise
    except Exception as error:  # on a damaged file zipfile, its decompressors and NumPy raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{file} cannot be read as arrays of numbers saved by numpy.savez: {reason}"
        ) from error


def _part(file: Path, arrays: dict[str, np.ndarray], x: str, y: str) -> Part:
    samples = _samples(arrays.pop(x), f"{file}: {x}")  # popped: the original is freed once it is converted
    labels = _labels(arrays.pop(y), f"{file}: {y}")
    if len(samples) != len(labels):
        raise DataError(f"{file}: {x} has {len(samples):,} samples, {y} has {len(labels):,} labels")
    return Part(samples, labels)


def _samples(array: np.ndarray, source: str) -> Tensor:
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise DataError(f"{source} is of {array.dtype}: uint8 (0..255) or a float type is needed")
    if array.ndim not in (2, 3, 4) or not array.size:
        raise DataError(
            f"{source} has the shape {array.shape}: [n, features], [n, h, w], [n, c, h, w] or [n, h, w, c] "
            f"is needed, of no length 0"
        )
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in _CHANNELS and array.shape[1] not in _CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array))
    with np.errstate(over="ignore"):  # what is too large for float32 is found just below
        samples = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    if not np.isfinite(samples.numpy()).all():
        raise DataError(f"{source} has values that are NaN or infinite in float32: remove or replace them")
    return samples


def _labels(array: np.ndarray, source: str) -> Tensor:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise DataError(f"{source} is {array.dtype} of shape {array.shape}: integers of shape [n] are needed")
    wrong = ~((array >= 0) & (array < _MOST_CLASSES))  # also NaN
    if array.dtype.kind == "f":
        wrong |= array != np.floor(array)
    if wrong.any():
        position = int(np.argmax(wrong))
        raise DataError(
            f"{source} has the label {array[position]} at position {position}: "
            f"integers 0 to classes - 1 (at most {_MOST_CLASSES - 1}) are needed"
        )
    return torch.from_numpy(array.astype(np.int64))
