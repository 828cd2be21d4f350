"""Labels of views, compressed: what a receiver gets and trains with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fedbits.coding.columns import Rows, Table, code_table, smallest_table, table_work
from fedbits.coding.grid import least_stream
from fedbits.coding.range_coder import RangeWriter
from fedbits.coding.weights import encode_weights, weights_work
from fedbits.errors import ConfigError
from fedbits.labels.codec import LabelCodec
from fedbits.labels.views import Views, ViewsConfig

TEMPERATURE_STEPS = 16  # temperatures are multiples of 1/16
_MOST_TEMPERATURE = 64.0
_EPOCH_WORK = 600  # to know who is mixed with whom, in units of some 100 ns


@dataclass(frozen=True)
class ViewLabels:
    """A label for each view of each sample.

    Attributes:
        config: of the views.
        temperature: of the softmax that made labels of a teacher's logits, and under which students learn
            them; a multiple of 1/16, up to 64.
        codec: makes probabilities of symbols.
        table: the symbols, ``[epochs, samples, columns]`` uint16.
        classes: of the samples, ``[samples]`` int64.
    """

    config: ViewsConfig
    temperature: float
    codec: LabelCodec
    table: Table
    classes: Tensor

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where the temperature is not one that can travel."""
        check_temperature(self.temperature)

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def views(self) -> Views:
        return Views(self.config, len(self))

    @cached_property
    def rows(self) -> Rows:
        return known_rows(self.views, self.classes, self.codec.classes)

    def targets(self, epoch: int, index: Tensor) -> Tensor:
        """Probabilities ``[b, classes]`` for the views of samples ``index`` ``[b]`` in ``epoch``."""
        return self.codec.labels(self.table[epoch % self.config.epochs, index.cpu().numpy()])

    @cached_property
    def parts(self) -> tuple[bytes, bool, bytes]:
        """What travels: tensors, whether the stream is of mixed contexts, and the stream with its padding."""
        tensors = encode_weights(self.codec.tensors) if self.codec.tensors else b""
        levels = self.codec.columns(self.codec.config, self.codec.classes)
        zeros = weights_work([tensor.values.shape for tensor in self.codec.tensors], zeros=True)
        mixed, _ = smallest_table(levels, self.rows, self.table, zeros)
        writer = RangeWriter()
        code_table(writer, mixed, levels, self.rows, self.table)
        least = least_stream(table_work(mixed, levels, *self.table.shape[:2]) + zeros)
        return tensors, mixed, writer.bytes().ljust(least, b"\0")

    @property
    def size(self) -> int:
        """Bytes of tensors and stream."""
        tensors, _, stream = self.parts
        return len(tensors) + len(stream)


def rows_work(epochs: int, samples: int) -> int:
    """What :func:`known_rows` costs at most, in the unit of :func:`fedbits.coding.coding_work`."""
    return epochs * (_EPOCH_WORK + samples)


def known_rows(views: Views, classes: Tensor, count: int) -> Rows:
    """What both sides know of labels of samples of ``classes`` ``[samples]``, out of ``count``."""
    index = torch.arange(len(classes))
    mixed = torch.stack([classes[views.partners(epoch, index)] for epoch in range(views.config.epochs)])
    return Rows(classes.numpy(), count, mixed.numpy())


def check_temperature(temperature: float) -> None:
    """Raise :class:`ConfigError` unless ``temperature`` can travel."""
    steps = temperature * TEMPERATURE_STEPS
    if steps != round(steps) or not 0 < temperature <= _MOST_TEMPERATURE:
        raise ConfigError(
            f"the temperature of labels is {temperature}: expected a multiple of 1/{TEMPERATURE_STEPS} up to "
            f"{_MOST_TEMPERATURE:.0f}"
        )
