"""Messages that no encoder writes, by what is wrong with them, for the tests of the wire format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from making import make_data, make_set, message_of, packed, small_blob
from storing import in_epitome
from viewed import viewed

from fedbits.coding import CODERS
from fedbits.coding.weights import QuantisedTensor, encode_weights
from fedbits.container import encode, inspect, ledger
from fedbits.errors import FormatError
from fedbits.wire import distilled_set_pb2 as pb

BLOB = small_blob()
HEADER = 14
Change = Callable[[pb.DistilledSet], object]


def _with_grid(*values: float) -> Change:
    return lambda m: setattr(m.pixel, "grid", np.array(values, "<f2").tobytes())


def _shape(*sides: int) -> Change:
    def change(message: pb.DistilledSet) -> None:
        message.task_described.shape[:] = sides

    return change


def _counts(*counts: int) -> Change:
    def change(message: pb.DistilledSet) -> None:
        message.class_counts[:] = counts

    return change


def _normalisation(*values: float) -> Change:
    return lambda m: setattr(m.task_described, "normalisation", np.array(values, "<f2").tobytes())


def _short(scales: list[int], offsets: list[int]) -> Change:
    """Means and deviations in two bytes a channel."""

    def change(message: pb.DistilledSet) -> None:
        message.task_described.normalisation = b""
        message.task_described.scales = bytes(scales)
        message.task_described.offsets[:] = offsets

    return change


def _logits(*values: float) -> Change:
    return lambda m: setattr(m.soft_labels, "logits", np.array(values, "<f2").tobytes())


def _taught_many(message: pb.DistilledSet) -> None:
    """In streams of their own, of which only a small one is asked for: what is not read is not limited."""
    message.class_counts[:] = [1, 2**32 - 1, 2**32 - 1]
    message.class_lengths[:] = [4, 4]
    message.soft_labels.logits = bytes(30)


def _floats(stream: bytes) -> Change:
    def change(message: pb.DistilledSet) -> None:
        message.floats.SetInParent()
        message.stream = stream

    return change


def _banded(band: int, halves: int = 2) -> Change:
    """Coefficients, on a grid of two pairs for each of ``halves``."""

    def change(message: pb.DistilledSet) -> None:
        message.pixel.transform, message.pixel.band = 1, band
        message.pixel.grid = message.pixel.grid[: 4 * halves] * (2 if halves == 2 else 1)

    return change


def _many_coefficients(message: pb.DistilledSet) -> None:
    """Of samples that hardly cost more to read than they cost to invert."""
    message.task_described.shape[:] = (2, 256, 256)
    message.class_counts[:] = [2]
    message.pixel.coder = 1
    _banded(2)(message)


def _many_floats(message: pb.DistilledSet) -> None:
    message.floats.SetInParent()
    message.task_described.shape[:] = (2, 60, 60)
    message.class_counts[:] = [50]


_SIZES = {"tokens": 2, "width": 2, "heads": 2, "blocks": 1, "nonzeros": 3, "patch": 2, "bits": 3}
EPITOME = encode(
    in_epitome(make_data((2, 3, 4), [2, 1, 2]), 2, **_SIZES)
)  # of the same task and counts as BLOB


def _epitome(**fields: Any) -> Change:
    """A valid epitome in place of what there is, and then other ``fields``."""

    def change(message: pb.DistilledSet) -> None:
        valid = message_of(EPITOME)
        message.epitome.CopyFrom(valid.epitome)
        message.stream = valid.stream
        for name, value in fields.items():
            if name == "stream":
                message.stream = value
            elif name == "fraction_bits":
                message.epitome.fraction_bits[:] = value
            else:
                setattr(message.epitome, name, value)

    return change


def _tensors(place: int, largest: int, fraction_bits: int = 4, width: int = 2) -> bytes:
    """The network of :data:`EPITOME`, of zeros, but for one tensor of ``largest`` throughout."""
    square, row = (width, width), (width,)
    shapes = [square, row, row, row, square, row, square, row, row, row, (8, width), (8,)]
    sizes = [largest * (number == place) for number in range(len(shapes))]
    bits = [fraction_bits if number == place else 4 for number in range(len(shapes))]
    return encode_weights(
        [
            QuantisedTensor(np.full(*of), b)
            for of, b in zip(zip(shapes, sizes, strict=True), bits, strict=True)
        ]
    )


def _tokens(largest: int) -> bytes:
    return encode_weights([QuantisedTensor(np.full((2, 2), largest), 4)])


VIEWED = encode(viewed(make_set(make_data((2, 3, 4), [2, 1, 2])), "vqae"))  # of the same samples as BLOB


def _viewed(**fields: Any) -> Change:
    """Labels of views, valid but for ``fields``."""

    def change(message: pb.DistilledSet) -> None:
        message.view_labels.CopyFrom(message_of(VIEWED).view_labels)
        for name, value in fields.items():
            setattr(message.view_labels, name, value)

    return change


def _many_viewed(count: int, **fields: Any) -> Change:
    """Of so many samples of each class, which are next to nothing themselves."""

    def change(message: pb.DistilledSet) -> None:
        message.task_described.shape[:] = (2, 1, 1)
        message.pixel.bits = message.pixel.coder = 1
        message.class_counts[:] = [count]
        message.stream = bytes(5000)
        _viewed(**fields)(message)

    return change


def _viewed_classes(classes: int, **fields: Any) -> Change:
    """In so many classes, of which one has a sample."""

    def change(message: pb.DistilledSet) -> None:
        message.task_described.classes = classes
        message.class_counts[:] = [1] + [0] * (classes - 1)
        _viewed(**{"width": 0, "segment": 0, "levels": 0, **fields})(message)

    return change


def _lengths(*lengths: int) -> Change:
    return lambda m: m.class_lengths.extend(lengths)


def _classes(classes: int) -> Change:
    return lambda m: setattr(m.task_described, "classes", classes)


def _large_samples(*sides: int) -> Change:
    def change(message: pb.DistilledSet) -> None:
        message.task_described.shape[:] = sides
        message.class_counts[:] = [1 << 14]

    return change


def _many_small_samples_of_one_bit(message: pb.DistilledSet) -> None:
    message.task_described.shape[:] = (2, 3, 4)
    message.class_counts[:] = [900_000]
    message.pixel.bits = 1
    message.pixel.coder = 1


def _upsampled(message: pb.DistilledSet) -> None:
    """Samples of one pixel that are interpolated to 8×8 before they are cut."""
    message.task_described.shape[:] = (2, 1, 1)
    message.class_counts[:] = [1 << 18]
    message.pixel.factor_log2 = 3


def _many_classes_of_their_own(message: pb.DistilledSet) -> None:
    message.task_described.classes = 20_000
    message.class_counts[:] = [1]
    message.class_lengths[:] = [0] * 19_999
    message.task_described.shape[:] = (2, 1, 1)
    message.pixel.coder = 0


def _by_counts(change: Change) -> Change:
    """The change, in a blob of a coder that takes little work."""

    def changed(message: pb.DistilledSet) -> None:
        message.pixel.coder = 2
        change(message)

    return changed


CORRUPT: dict[str, Change] = {
    "no class": _classes(0),
    "more classes than counts": _classes(4),
    "2^32 - 1 classes": _classes(2**32 - 1),
    "no counts": _counts(),
    "zero counts": _counts(0, 0, 0),
    "a zero for all": _counts(0),
    "too many counts": _counts(1, 1, 1, 1),
    "no shape": _shape(),
    "two axes": _shape(2, 3),
    "four axes": _shape(2, 3, 4, 5),
    "a side of 0": _shape(2, 0, 4),
    "a side of 2^24": _shape(2, 1 << 24, 4),
    "a side of 2^32 - 1": _shape(2, 3, 2**32 - 1),
    "other channels": _shape(3, 3, 4),
    "flat": _shape(24),
    "no normalisation": _normalisation(),
    "a deviation of 0": _normalisation(0, 0, 1, 0),
    "a negative deviation": _normalisation(0, 0, 1, -1),
    "a mean that is no number": _normalisation(np.nan, 0, 1, 1),
    "an infinite deviation": _normalisation(0, 0, 1, np.inf),
    "half a number": lambda m: setattr(m.task_described, "normalisation", b"\0" * 7),
    "scales without offsets": _short([100, 100], []),
    "offsets without scales": _short([], [0, 0]),
    "a scale too few": _short([100], [0, 0]),
    "an offset too many": _short([100, 100], [0, 0, 0]),
    "a deviation below the least": _short([13, 100], [0, 0]),
    "a deviation beyond the largest": _short([100, 248], [0, 0]),
    "a mean beyond the largest": _short([100, 247], [0, 9]),
    "a mean far beyond": _short([247, 247], [2**31 - 1, -(2**31)]),
    "a length too few": _lengths(1),
    "a length too many": _lengths(1, 1, 1),
    "lengths beyond the stream": _lengths(1, 10_000),
    "lengths of 2^32 - 1": _lengths(2**32 - 1, 2**32 - 1),
    "an unknown data set": lambda m: setattr(m, "known_task", 0),
    "a far data set": lambda m: setattr(m, "known_task", 2**32 - 1),
    "no task": lambda m: m.ClearField("task_described"),
    "no parameterisation": lambda m: m.ClearField("pixel"),
    "an empty parameterisation": lambda m: m.pixel.Clear() or m.pixel.SetInParent(),
    "no bits": lambda m: setattr(m.pixel, "bits", 0),
    "9 bits": lambda m: setattr(m.pixel, "bits", 9),
    "2^32 - 1 bits": lambda m: setattr(m.pixel, "bits", 2**32 - 1),
    "factor 16": lambda m: setattr(m.pixel, "factor_log2", 4),
    "factor 2^(2^32 - 1)": lambda m: setattr(m.pixel, "factor_log2", 2**32 - 1),
    "an unknown coder": lambda m: setattr(m.pixel, "coder", max(CODERS) + 1),
    "a far coder": lambda m: setattr(m.pixel, "coder", 2**32 - 1),
    "no grid": _with_grid(),
    "three quarters of a grid": _with_grid(0, 1, 0),
    "one pair that is no number": _with_grid(0, np.nan),
    "one pair with a step of 0": _with_grid(0, 0),
    "an unknown spacing": lambda m: setattr(m.pixel, "spacing", 2),
    "a far spacing": lambda m: setattr(m.pixel, "spacing", 2**32 - 1),
    "soft labels of nothing": lambda m: m.soft_labels.SetInParent(),
    "a logit too few": _logits(*[0] * 14),
    "a logit too many": _logits(*[0] * 16),
    "a logit that is no number": _logits(*[0] * 14, np.nan),
    "an infinite logit": _logits(*[0] * 14, -np.inf),
    "soft labels of a huge set": _taught_many,
    "a learning rate that is no number": lambda m: setattr(m, "learning_rate", np.nan),
    "an infinite learning rate": lambda m: setattr(m, "learning_rate", np.inf),
    "a negative learning rate": lambda m: setattr(m, "learning_rate", -1e-3),
    "an unknown transform": lambda m: setattr(m.pixel, "transform", 2),
    "a far transform": lambda m: setattr(m.pixel, "transform", 2**32 - 1),
    "a transform without a band": _banded(0),
    "a band beyond the sides": _banded(7),
    "a far band": _banded(2**32 - 1),
    "a transform with the grid of one band": _banded(2, halves=1),
    "a transform with half a number": lambda m: _banded(2)(m) or setattr(m.pixel, "grid", m.pixel.grid[1:]),
    "a high band with a step of 0": lambda m: _banded(2)(m) or _with_grid(0, 1, 0, 1, 0, 1, 0, 0)(m),
    "a transform of flat samples": lambda m: _banded(2)(m) or _shape(2)(m),
    "a transform of a side of 257": lambda m: _banded(2)(m) or _by_counts(_shape(2, 1, 257))(m),
    **{
        f"an epitome of {value} {name}": _epitome(**{name: value})
        for name, beyond in {
            "tokens": 4097,
            "width": 1025,
            "heads": 3,
            "blocks": 17,
            "patch": 257,
            "nonzeros": (1 << 20) + 1,
            "bits": 9,
            "coder": 8,
        }.items()
        for value in (0, beyond, 2**32 - 1)
        if (name, value) not in (("blocks", 0), ("coder", 0))  # which exist
    },
    "an epitome of 1 bit": _epitome(bits=1),
    "an epitome with a step too few": _epitome(fraction_bits=[1]),
    "an epitome with a step too many": _epitome(fraction_bits=[1] * 3),
    "an epitome with a step too large": _epitome(fraction_bits=[1, -17]),
    "an epitome with a step too small": _epitome(fraction_bits=[48, 1]),
    "an epitome with far steps": _epitome(fraction_bits=[2**31 - 1, -(2**31)]),
    "an epitome with more coefficients than it says": _epitome(nonzeros=1),
    "an epitome of coefficients that none can be": _epitome(coder=0, stream=bytes(100)),
    "an epitome of a stream of ones": _epitome(stream=b"\xff" * 100),
    "an epitome with tokens of ones": _epitome(token_weights=b"\xff" * 40),
    "an epitome with weights of ones": _epitome(network_weights=b"\xff" * 40),
    "an epitome without weights": _epitome(network_weights=b""),  # all are zeros, at a step of 2^16
    "an epitome with a token too large": _epitome(token_weights=_tokens((1 << 23) + 1)),
    "an epitome with a far token": _epitome(token_weights=_tokens(2**31 - 1)),
    **{
        f"an epitome with tensor {place} too large": _epitome(network_weights=_tensors(place, -(1 << 23) - 1))
        for place in range(12)
    },
    "an epitome with a row too large": _epitome(network_weights=_tensors(10, (1 << 23) - 1, -16)),
    "an epitome with a gain too fine": _epitome(network_weights=_tensors(2, 1, 31)),
    "an epitome with a gain too coarse": _epitome(network_weights=_tensors(8, 1, -1)),
    "labels of no view": _viewed(epochs=0),
    "labels of samples and of views": lambda m: _viewed()(m) or _logits(*[0] * 15)(m),
    "labels without a message": lambda m: m.view_labels.SetInParent(),
    **{
        f"labels of {value} {name}": _viewed(**{name: value})
        for name, least in (
            ("cropped", 64),
            ("mix", 3),
            ("temperature", 1025),
            ("codec", 6),
            ("rotation", 46),
        )
        for value in (least, 2**32 - 1)
    },
    **{
        f"labels of a {name} of {value}": _viewed(**{name: value})
        for name, values in (("width", (0, 3, 2**14 + 2)), ("segment", (0, 3)), ("levels", (0, 1, 4097)))
        for value in (*values, 2**32 - 1)
    },
    "labels of a width that they do not have": _viewed(codec=4),
    "labels of too many symbols": _viewed(codec=5, width=512, segment=1, levels=4096),
    "labels of float16 in too many classes": _viewed_classes(2049, codec=0),
    "labels of levels in too many classes": _viewed_classes(1 << 13, codec=1, levels=256),
    "labels in more classes than two bytes count": _viewed_classes((1 << 16) + 1, codec=2, width=1, levels=2),
    "labels in the most classes": _viewed_classes(1 << 20, codec=4, segment=1 << 20, levels=2),
    "labels of a stream of ones": _viewed(stream=b"\xff" * 40),
    "labels of counted ones": _viewed(stream=b"\xff" * 40, counted=True),
    "labels of tensors of ones": _viewed(tensors=b"\xff" * 40),
    "floats that are no numbers": _floats(b"\xff" * 500),
    "a grid too long": _with_grid(0, 1, 0, 1, 0, 1),
    "a grid that is no number": _with_grid(np.nan, 1, 0, 1),
    "an infinite step": _with_grid(0, 1, 0, np.inf),
    "a step of 0": _with_grid(0, 1, 0, 0),
    "a negative step": _with_grid(0, -1, 0, 1),
    "a step too small to matter": _with_grid(60000, 0.001, 0, 1),
}
TOO_MUCH: dict[str, Change] = {
    "2^32 - 1 of each class": _counts(2**32 - 1),
    "a class of 2^32 - 1": _counts(1, 1, 2**32 - 1),
    "vast samples": _shape(2, (1 << 24) - 1, (1 << 24) - 1),
    "large samples, many": _large_samples(2, 512, 512),
    "one sample of many positions": _shape(2, 2000, 2000),
    "an epitome of vast samples": lambda m: _epitome()(m) or _shape(2, (1 << 24) - 1, (1 << 24) - 1)(m),
    "an epitome of the largest network": _epitome(width=1024, blocks=16),
    "an epitome of all there is": _epitome(tokens=4096, width=1024, blocks=16, patch=256),
    "an epitome of the most coefficients": lambda m: (
        _epitome(tokens=4096, patch=1)(m) or _shape(2, 2000, 2000)(m)
    ),
    "an epitome of 2^32 - 1 of each class": lambda m: _epitome()(m) or _counts(2**32 - 1)(m),
    "labels of 2^32 - 1 epochs": _viewed(epochs=2**32 - 1),
    "counted labels of 2^32 - 1 epochs": _viewed(epochs=2**32 - 1, counted=True),
    "labels of 2^32 - 1 epochs of views that are not mixed": _viewed(epochs=2**32 - 1, mix=0),
    "labels of epochs that work alone limits": _viewed(epochs=1 << 20, counted=True),
    "labels of the most codes": _viewed(width=2**14, segment=2**14, levels=4096),
    "labels of many samples": _many_viewed(1 << 18, epochs=2000, counted=True),
    "labels of a large decoder": _viewed_classes(2000, codec=5, width=1 << 14, segment=1 << 14, levels=2),
    "labels of the largest table": _viewed_classes(2048, codec=0, epochs=1 << 18, counted=True),
    "vast samples of floats": lambda m: _floats(b"")(m) or _shape(2, (1 << 24) - 1, (1 << 24) - 1)(m),
}
STARVED: dict[str, Change] = {
    "224 by 224": _by_counts(_shape(2, 224, 224)),
    "300,000 samples": _by_counts(_counts(100_000)),
    "many small samples": _many_small_samples_of_one_bit,
    "small samples that grow": _upsampled,
    "streams of many classes": _many_classes_of_their_own,
    "a long row": _by_counts(_shape(2, 1, 60_000)),
    "sides that mixing would take long for": _shape(2, 70, 70),
    "an epitome of many weights": _epitome(width=64),
    "an epitome of many coefficients": _epitome(tokens=600),
    "an epitome of many samples": lambda m: _epitome(coder=1)(m) or _counts(100_000)(m),
    "an epitome of large patches": _epitome(patch=128, width=2, blocks=0),
    "many floats": _many_floats,
    "many coefficients": _many_coefficients,
    "labels of many epochs": _viewed(epochs=2000, counted=False),
    "counted labels of many epochs": _viewed(epochs=5000, counted=True),
    "labels of many rows": _many_viewed(3000, epochs=90, counted=True, stream=bytes(100)),
    "labels of many columns": _viewed_classes(2000, codec=0, stream=b"", tensors=b""),
    "labels of many weights": _viewed(width=2**10, segment=2**10, levels=4096),
}


def changed(change: Change) -> bytes:
    """``BLOB`` after ``change``, under a valid checksum."""
    message = message_of(BLOB)
    change(message)
    return packed(message)


def inspects_or_refuses(blob: bytes) -> None:
    """What reads the message alone may or may not see what is wrong; it raises nothing else."""
    for read in (inspect, ledger):
        try:
            read(blob)
        except FormatError:
            continue
