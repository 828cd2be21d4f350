"""A network that labels views in the message of a blob: written, checked against limits, read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fedbits.coding.grid import least_stream
from fedbits.coding.weights import Shape, decode_weights, weights_work
from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError, CorruptError
from fedbits.labels.network import known as knowledge
from fedbits.labels.network.config import UNLIMITED
from fedbits.labels.network.form import KINDS, NetworkForm
from fedbits.labels.network.labeller import NetworkLabels
from fedbits.labels.view_labels import TEMPERATURE_STEPS, check_temperature
from fedbits.labels.views import AREA_STEPS, MIXES, ViewsConfig
from fedbits.wire import distilled_set_pb2 as pb

_PARAMETER_NUMBERS = 6  # of 8 bytes, that a number of the tensors takes


def write_network(message: pb.NetworkLabels, labels: NetworkLabels) -> None:
    """Fill ``message``."""
    config = labels.config
    message.kind, message.width = KINDS.index(labels.form.kind), labels.form.width
    message.tensors = labels.stored
    message.seed = config.seed
    message.cropped = AREA_STEPS - round(config.least_area * AREA_STEPS)
    message.rotation = config.rotation
    message.mirrored, message.mix = config.flipped, MIXES.index(config.mix)
    temperature = round(labels.temperature * TEMPERATURE_STEPS)
    message.temperature = 0 if temperature == TEMPERATURE_STEPS else temperature
    message.known = labels.known


@dataclass(frozen=True)
class DeclaredNetwork:
    """What ``message`` declares for samples of ``spec``.

    Only :meth:`check` may be called before it was; until then nothing takes memory for what is declared.
    """

    message: pb.NetworkLabels
    spec: DataSpec

    def check(self) -> None:
        """Raise :class:`CorruptError` unless there is such a network."""
        message = self.message
        if message.kind >= len(KINDS) or message.mix >= len(MIXES) or message.cropped >= AREA_STEPS:
            raise CorruptError("the blob's network is of a kind, or of views, that do not exist")
        if not knowledge.is_told(message.known, self.spec.classes):
            raise CorruptError(
                f"the blob's network tells of {len(message.known)} classes, and there are {self.spec.classes}"
            )
        try:
            self._views()
            check_temperature(self._temperature)
            self._form.check(self.spec)
        except ConfigError as error:
            raise CorruptError(f"the blob declares a network that does not exist: {error}") from error

    def facts(self) -> dict[str, Any]:
        """JSON-able, for people."""
        self.check()
        views = self._views()
        return {
            "kind": self._form.kind,
            "width": self._form.width,
            "parameters": self.parameters,
            "temperature": self._temperature,
            "mix": views.mix,
            "least_area": views.least_area,
            "rotation": views.rotation,
            "mirrored": views.flipped,
        }

    @property
    def parameters(self) -> int:
        """Numbers of the network."""
        return sum(math.prod(shape) for shape in self._shapes)

    @property
    def elements(self) -> int:
        """An eighth of the bytes that decoding takes."""
        return _PARAMETER_NUMBERS * self.parameters

    @property
    def work(self) -> int:
        """Of decoding, in units of some 100 ns."""
        return weights_work(self._shapes)

    def read(self) -> NetworkLabels:
        """The network.

        Raises:
            CorruptError: no encoder writes its tensors, or they are shorter than they may be.
        """
        if len(self.message.tensors) < least_stream(weights_work(self._shapes, zeros=True)):
            raise CorruptError("the blob declares a larger network than its tensors have bytes for")
        tensors = decode_weights(self.message.tensors, self._shapes, self.parameters + 99)
        return NetworkLabels(self._views(), self._temperature, self._form, tuple(tensors), self.message.known)

    @property
    def _form(self) -> NetworkForm:
        return NetworkForm(KINDS[self.message.kind], self.message.width)

    @property
    def _shapes(self) -> list[Shape]:
        return self._form.shapes(self.spec)

    @property
    def _temperature(self) -> float:
        return self.message.temperature / TEMPERATURE_STEPS if self.message.temperature else 1.0

    def _views(self) -> ViewsConfig:
        message = self.message
        area = 1 - message.cropped / AREA_STEPS
        return ViewsConfig(
            UNLIMITED, message.seed, area, message.rotation, message.mirrored, MIXES[message.mix]
        )
