"""Labels of views in the message of a blob: written, checked against limits, read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fedbits.coding.columns import code_table, table_counters, table_work
from fedbits.coding.grid import least_stream
from fedbits.coding.range_coder import RangeReader
from fedbits.coding.weights import Shape, decode_weights, weights_work
from fedbits.errors import ConfigError, CorruptError
from fedbits.labels.codec import CodecConfig, LabelCodec
from fedbits.labels.linear import Principal
from fedbits.labels.simple import Float16, Scalar, Top
from fedbits.labels.vector import Vector, VectorAutoencoder
from fedbits.labels.view_labels import (
    TEMPERATURE_STEPS,
    ViewLabels,
    check_temperature,
    known_rows,
    rows_work,
)
from fedbits.labels.views import AREA_STEPS, MIXES, Views, ViewsConfig
from fedbits.wire import distilled_set_pb2 as pb

_KINDS = {kind.number: kind for kind in (Float16, Scalar, Top, Principal, Vector, VectorAutoencoder)}
_MOST_CLASSES = 1 << 16  # symbols may be classes, and take two bytes each
_MOST_SYMBOLS = 1 << 20  # that the columns of a table have together
_ROW_NUMBERS, _SAMPLE_NUMBERS = 8, 32  # of 2 bytes, that rows and samples take besides their symbols
_PARAMETER_NUMBERS = 6  # of 8 bytes, that a number of the tensors takes


def write_labels(message: pb.ViewLabels, labels: ViewLabels) -> None:
    """Fill ``message``.

    Raises:
        ConfigError: a receiver would not take such labels.
    """
    config, codec = labels.config, labels.codec
    message.epochs, message.seed = config.epochs, config.seed
    message.cropped = AREA_STEPS - round(config.least_area * AREA_STEPS)
    message.rotation = config.rotation
    message.mirrored, message.mix = config.flipped, MIXES.index(config.mix)
    temperature = round(labels.temperature * TEMPERATURE_STEPS)
    message.temperature = 0 if temperature == TEMPERATURE_STEPS else temperature
    message.codec = codec.number
    size = codec.config
    message.width, message.segment, message.levels = size.width, size.segment, size.levels
    try:
        DeclaredLabels(message, len(labels), codec.classes).check()
    except CorruptError as error:
        raise ConfigError(f"such labels cannot travel: {error}") from error
    message.tensors, mixed, message.stream = labels.parts
    message.counted = not mixed


@dataclass(frozen=True)
class DeclaredLabels:
    """What ``message`` declares for ``samples`` of a task of so many ``classes``.

    Only :meth:`check` may be called before it was; until then nothing takes memory for what is declared.
    """

    message: pb.ViewLabels
    samples: int
    classes: int

    def check(self) -> None:
        """Raise :class:`CorruptError` unless there are such labels."""
        if self.classes > _MOST_CLASSES:
            raise CorruptError(
                f"the blob has labels of views in {self.classes:,} classes: at most {_MOST_CLASSES:,} exist"
            )
        if self.message.codec not in _KINDS:
            raise CorruptError(f"the blob's labels are of codec {self.message.codec}, which does not exist")
        if self.message.mix >= len(MIXES) or self.message.cropped >= AREA_STEPS:
            raise CorruptError("the blob's labels are of views that do not exist")
        try:
            self._views()
            check_temperature(self._temperature)
            self._kind.check(self._size, self.classes)
        except ConfigError as error:
            raise CorruptError(f"the blob declares labels that do not exist: {error}") from error
        if sum(self._columns) > _MOST_SYMBOLS:
            raise CorruptError(f"the columns of the blob's labels have more than {_MOST_SYMBOLS:,} symbols")

    def facts(self) -> dict[str, Any]:
        """JSON-able, for people."""
        self.check()
        size = {name: getattr(self._size, name) for name in ("width", "segment", "levels")}
        return {
            "epochs": self.message.epochs,
            "codec": self._kind.name,
            **{name: value for name, value in size.items() if value},
            "temperature": self._temperature,
            "mix": MIXES[self.message.mix],
            "least_area": self._views().least_area,
            "rotation": self.message.rotation,
            "mirrored": self.message.mirrored,
            "published_bytes": round(
                self._kind.published_bytes(self._size, self.classes, self.message.epochs * self.samples)
            ),
        }

    @property
    def elements(self) -> int:
        """An eighth of the bytes that decoding takes."""
        columns = self._columns
        table = self.samples * (self.message.epochs * (len(columns) + _ROW_NUMBERS) + _SAMPLE_NUMBERS)
        counters = table_counters(not self.message.counted, columns, self.classes)
        return -(-table // 4) + counters + _PARAMETER_NUMBERS * self.parameters

    @property
    def parameters(self) -> int:
        """Numbers of the tensors."""
        return sum(math.prod(shape) for shape in self._shapes)

    @property
    def work(self) -> int:
        """Of decoding, in units of some 100 ns."""
        known = rows_work(self.message.epochs, self.samples)
        return known + self.payable + weights_work(self._shapes) - weights_work(self._shapes, zeros=True)

    @property
    def payable(self) -> int:
        """The part of it for which the stream has to have bytes."""
        table = table_work(not self.message.counted, self._columns, self.message.epochs, self.samples)
        return table + weights_work(self._shapes, zeros=True)

    def read(self, classes: Tensor) -> ViewLabels:
        """The labels of samples of ``classes`` ``[samples]``.

        Raises:
            CorruptError: no encoder writes the stream, or it is shorter than it may be.
        """
        if len(self.message.stream) < least_stream(self.payable):
            raise CorruptError("the blob declares more labels than their stream has bytes for")
        shapes = self._shapes
        tensors = decode_weights(self.message.tensors, shapes, self.parameters + 9) if shapes else []
        codec = self._kind(self._size, self.classes, tensors)
        config = self._views()
        rows = known_rows(Views(config, self.samples), classes, self.classes)
        reader = RangeReader(self.message.stream)
        table = code_table(reader, not self.message.counted, self._columns, rows)
        return ViewLabels(config, self._temperature, codec, table, classes)

    @property
    def _kind(self) -> type[LabelCodec]:
        return _KINDS[self.message.codec]

    @property
    def _size(self) -> CodecConfig:
        return CodecConfig(self._kind.name, self.message.width, self.message.segment, self.message.levels)

    @property
    def _columns(self) -> Sequence[int]:
        return self._kind.columns(self._size, self.classes)

    @property
    def _shapes(self) -> list[Shape]:
        return self._kind.shapes(self._size, self.classes)

    @property
    def _temperature(self) -> float:
        return self.message.temperature / TEMPERATURE_STEPS if self.message.temperature else 1.0

    def _views(self) -> ViewsConfig:
        message = self.message
        area = 1 - message.cropped / AREA_STEPS
        return ViewsConfig(
            message.epochs, message.seed, area, message.rotation, message.mirrored, MIXES[message.mix]
        )
