"""The task in a blob: a known one by its number, any other with its form and its normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedbits.data.known import KNOWN, known_number
from fedbits.data.spec import DataSpec
from fedbits.errors import CorruptError
from fedbits.wire import distilled_set_pb2 as pb

_DROPPED = 7  # bits of a deviation's float16 that a scale leaves out
_SCALES = range(14, 248)  # of a deviation that is above DataSpec's least, and finite
_PARTS = 8  # into which a deviation is divided to tell a mean
_LARGEST = 65504.0

Pair = tuple[tuple[float, ...], tuple[float, ...]]  # means and deviations


def write_task(message: pb.DistilledSet, spec: DataSpec) -> None:
    """Put ``spec`` into ``message``."""
    number = known_number(spec)
    if number is not None:
        message.known_task = number
        return
    task = message.task_described
    task.name, task.classes, task.floating = spec.name, spec.classes, spec.dtype == "float32"
    task.shape.extend(spec.shape)
    _write_normalisation(task, spec)


def read_task(message: pb.DistilledSet) -> DataSpec:
    """The inverse of :func:`write_task`.

    Raises:
        CorruptError: the task is unknown, or its description is not well-formed.
    """
    if message.WhichOneof("task") == "known_task":
        if message.known_task not in KNOWN:
            raise CorruptError(
                f"the blob names data set {message.known_task}, which this fedbits does not know"
            )
        return KNOWN[message.known_task]
    task = message.task_described
    shape = tuple(task.shape[:4])  # no more of it than it takes to see that it is too long
    well_formed = (
        len(shape) in (1, 3) and all(0 < side < 1 << 24 for side in shape) and 0 < task.classes <= 1 << 20
    )
    normalisation = _read_normalisation(task, shape[0]) if well_formed else None
    if normalisation is None:
        raise CorruptError("the blob's description of its task is not well-formed")
    mean, std = normalisation
    dtype = "float32" if task.floating else "uint8"
    return DataSpec(task.name, shape, task.classes, mean, std, dtype)  # type: ignore[arg-type]


def _write_normalisation(task: pb.Task, spec: DataSpec) -> None:
    """Write the means and deviations of ``spec`` in whichever way takes fewer bytes."""
    whole = np.array([*spec.mean, *spec.std], dtype="<f2").tobytes()
    short = _short(np.array(spec.mean), np.array(spec.std))
    if short is None or short.ByteSize() >= pb.Task(normalisation=whole).ByteSize():
        task.normalisation = whole
    else:
        task.MergeFrom(short)


def _read_normalisation(task: pb.Task, count: int) -> Pair | None:
    """``count`` means and deviations, all finite and the latter positive; None if ``task`` has no such."""
    if task.normalisation:
        if len(task.normalisation) != 4 * count:
            return None
        mean, std = np.frombuffer(task.normalisation, dtype="<f2").astype(float).reshape(2, count)
    else:
        if not len(task.scales) == len(task.offsets) == count:
            return None
        scales = np.frombuffer(task.scales, dtype=np.uint8)
        if scales.min() < _SCALES.start or scales.max() >= _SCALES.stop:
            return None
        std = _deviations(scales)
        mean = _means(np.array(task.offsets), std)
    if not (np.isfinite(mean).all() and (abs(mean) <= _LARGEST).all() and np.isfinite(std).all()):
        return None
    return (tuple(mean.tolist()), tuple(std.tolist())) if (std > 0).all() else None


def _short(mean: NDArray[np.float64], std: NDArray[np.float64]) -> pb.Task | None:
    """Scales and offsets that give exactly ``mean`` and ``std``, if there are any."""
    scales = std.astype("<f2").view("<u2") >> _DROPPED
    offsets = np.rint(mean * _PARTS / std)
    exact = (
        (scales >= _SCALES.start).all()
        and (scales < _SCALES.stop).all()
        and (abs(offsets) < 1 << 31).all()
        and np.array_equal(_deviations(scales), std)
        and np.array_equal(_means(offsets, std), mean)
    )
    if not exact:
        return None
    return pb.Task(scales=scales.astype(np.uint8).tobytes(), offsets=offsets.astype(int).tolist())


def _deviations(scales: NDArray[Any]) -> NDArray[np.float64]:
    return (scales.astype("<u2") << _DROPPED).view("<f2").astype(float)


def _means(offsets: NDArray[Any], std: NDArray[np.float64]) -> NDArray[np.float64]:
    means = offsets * std / _PARTS
    return np.where(abs(means) <= _LARGEST, means, np.inf).astype("<f2").astype(float)
