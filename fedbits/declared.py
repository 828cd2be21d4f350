"""What a message declares of its samples: facts for people, and what decoding will take before it does."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from fedbits.coding import CODERS, coding_work, least_stream
from fedbits.coding.grid import OWN
from fedbits.coding.own import most_parameters
from fedbits.coding.view import MARGIN
from fedbits.data.spec import DataSpec
from fedbits.errors import CorruptError
from fedbits.parameterization import (
    EpitomeParameterization,
    LatentParameterization,
    NoSamples,
    Parameterization,
    epitome,
    floats,
    latent,
)
from fedbits.parameterization.base import Part
from fedbits.parameterization.floats import FloatParameterization
from fedbits.parameterization.pixel import TRANSFORMS, PixelParameterization, stored_shape
from fedbits.parameterization.transform import transform_work
from fedbits.quantization.grid import SPACINGS
from fedbits.wire import distilled_set_pb2 as pb

_SAMPLE_BYTES = 40  # labels and orders
_CHANNEL_NUMBERS = 128  # what the objects of a channel's model take besides its counts
# Numbers that a stream of no bytes may stand for, and how many more for each of its bytes.
_FREE_NUMBERS, _NUMBERS_PER_BYTE = 1 << 22, 1 << 11
_INVERTING = 5  # numbers of 8 bytes, for each of those of a sample whose transform is inverted
_CLASS_WORK = 1 << 14  # of a stream of its own, besides that of its symbols: a model starts anew


def declared(message: pb.DistilledSet, spec: DataSpec) -> Declared:
    """What ``message``, of samples of ``spec``, declares.

    Raises:
        CorruptError: nothing that this fedbits knows.
    """
    kind = message.WhichOneof("parameterization")
    if kind is None and message.HasField("network_labels"):
        return DeclaredNothing(message.network_labels, spec)
    if kind not in _KINDS:
        raise CorruptError("the blob holds a parameterisation that this fedbits does not know")
    return _KINDS[kind](getattr(message, kind), spec)


@dataclass(frozen=True)
class Declared(ABC):
    """One stored set: a grid of symbols for each sample, and what turns them into samples.

    Attributes:
        message: what the blob says, as yet unchecked.
        spec: of the samples.
    """

    message: Any
    spec: DataSpec
    parameterization: ClassVar[type[Parameterization]]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Of the grid of symbols of a sample."""

    @property
    @abstractmethod
    def levels(self) -> int:
        """Of symbols."""

    @property
    def coder(self) -> int:
        """The number of what codes the symbols."""
        return int(self.message.coder)

    def check(self) -> None:  # noqa: B027 - there may be nothing to check
        """Raise :class:`CorruptError` where nothing of the kind exists, before sizes are computed of it."""

    @abstractmethod
    def facts(self, samples: int) -> dict[str, Any]:
        """JSON-able, of a set of ``samples``, for people; what does not exist is "unknown"."""

    def shares(self, parts: Callable[[], Iterable[Part]], bits: int) -> dict[str, int]:
        """The ``bits`` of the streams of ``parts``, by component; opened only where they must be."""
        return {"samples": bits}

    def side_information(self) -> dict[str, int]:
        """Bytes besides the stream, by component."""
        return {}

    def interpolated(self, samples: int) -> int:
        """Numbers of ``samples`` that are made before they are cut to size, where that is worth counting."""
        return 0

    def parameters(self, counts: list[int], per_class: bool) -> int:
        """Parameters of networks, at most."""
        networks = len(counts) - counts.count(0) if per_class else 1
        return networks * most_parameters(self.shape[0]) if self.coder == OWN else 0

    def sample_bytes(self) -> int:
        """Of each sample, bytes that decoding takes besides its symbols and their margins."""
        return 4 * math.prod(self.shape)

    def shared_elements(self, samples: int) -> int:
        """Numbers of 8 bytes that decoding ``samples`` takes once."""
        return 0

    def synthesis_work(self, samples: int) -> int:
        """Of making ``samples`` out of symbols, in units of some 100 ns."""
        return 0

    def elements(self, samples: int) -> int:
        """Numbers in all decoded samples, or an eighth of the bytes that decoding takes, if that is more.

        Those are, of each sample, its symbols with their margins, what is stored and what is made of that,
        and some for its label, and what it takes to make one sample; or those of an order-0 coder's
        statistics of every channel.
        """
        channels, height, width = self.shape
        symbols = channels * (height + MARGIN) * (width + 2 * MARGIN)
        sample = max(self.spec.elements, (symbols + self.sample_bytes() + _SAMPLE_BYTES) // 8)
        return max(
            samples * sample + self.shared_elements(samples), channels * (_CHANNEL_NUMBERS + self.levels)
        )

    def work(self, counts: list[int], per_class: bool) -> int:
        """Of decoding, in units of some 100 ns."""
        made = self.synthesis_work(sum(counts))
        if not per_class:
            return made + coding_work((sum(counts), *self.shape), self.levels, self.coder)
        sizes = Counter(count for count in counts if count)
        return made + sum(
            times * (_CLASS_WORK + coding_work((size, *self.shape), self.levels, self.coder))
            for size, times in sizes.items()
        )

    def payable(self, counts: list[int], per_class: bool) -> int:
        """The part of :meth:`work` for which the stream has to have bytes."""
        return self.work(counts, per_class)

    def least_stream(self, counts: list[int], per_class: bool) -> int:
        """Bytes that the stream has at least, so that no small blob takes long or much memory to decode."""
        numbers = max(sum(counts) * self.spec.elements, self.interpolated(sum(counts)))
        least = -(-(numbers - _FREE_NUMBERS) // _NUMBERS_PER_BYTE)
        return max(0, least, least_stream(self.payable(counts, per_class)))


class DeclaredPixels(Declared):
    """Quantised samples, or coefficients of their transform."""

    parameterization = PixelParameterization

    @property
    def shape(self) -> tuple[int, int, int]:
        return stored_shape(self.spec, self._factor)

    @property
    def levels(self) -> int:
        return 1 << self.message.bits

    @property
    def _factor(self) -> int:
        return 1 << min(self.message.factor_log2, 3) if self.spec.is_grid else 1

    @property
    def _transformed(self) -> bool:
        return self.message.transform > 0

    def check(self) -> None:
        if not 1 <= self.message.bits <= 8:
            raise CorruptError(f"the blob declares {self.message.bits} bits a value; 1 to 8 exist")

    def facts(self, samples: int) -> dict[str, Any]:
        stored = self.message
        return {
            "storage": "pixel",
            "bits": stored.bits,
            "factor": 1 << min(stored.factor_log2, 31),
            "spacing": SPACINGS[stored.spacing][0] if stored.spacing in SPACINGS else "unknown",
            "transform": TRANSFORMS[stored.transform] if stored.transform < len(TRANSFORMS) else "unknown",
            "coder": CODERS[stored.coder][0] if stored.coder in CODERS else "unknown",
        }

    def side_information(self) -> dict[str, int]:
        return {"side information": len(self.message.grid)}

    def interpolated(self, samples: int) -> int:
        return samples * math.prod(self.shape) * self._factor**2 if self._factor > 1 else 0

    def sample_bytes(self) -> int:
        besides = 4 * self.spec.elements if self._factor > 1 or self._transformed else 0
        return super().sample_bytes() + besides

    def shared_elements(self, samples: int) -> int:
        return _INVERTING * math.prod(self.shape) if self._transformed else 0

    def synthesis_work(self, samples: int) -> int:
        return transform_work(samples, self.shape) if self._transformed else 0


class DeclaredFloats(Declared):
    """Float32 samples: four symbols, their bytes, in each number."""

    parameterization = FloatParameterization
    levels = 256
    coder = floats.RAW

    @property
    def shape(self) -> tuple[int, int, int]:
        return floats.byte_grid(self.spec)

    def facts(self, samples: int) -> dict[str, Any]:
        return {"storage": "floats", "bits": floats.BITS, "factor": 1, "coder": CODERS[floats.RAW][0]}

    def sample_bytes(self) -> int:
        return math.prod(self.shape)


class _Synthesised(Declared):
    """Samples that a network makes of what is stored for each, and what that takes."""

    @property
    @abstractmethod
    def _cost(self) -> epitome.DecodingCost | latent.DecodingCost: ...

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._cost.shape

    @property
    def levels(self) -> int:
        return self._cost.levels

    def parameters(self, counts: list[int], per_class: bool) -> int:
        return self._cost.parameters

    def sample_bytes(self) -> int:
        return self._cost.sample_bytes

    def shared_elements(self, samples: int) -> int:
        return self._cost.shared_elements(samples)


class DeclaredEpitome(_Synthesised):
    """Sparse codes, tokens and a network."""

    parameterization = EpitomeParameterization

    @cached_property
    def _cost(self) -> epitome.DecodingCost:
        return epitome.DecodingCost.of(self.message, self.spec)

    def check(self) -> None:
        epitome.checked(self.message, self.spec)

    def facts(self, samples: int) -> dict[str, Any]:
        stored = self.message
        names = ("tokens", "width", "heads", "blocks", "nonzeros", "patch", "bits")
        coder = CODERS[stored.coder][0] if stored.coder in CODERS else "unknown"
        config = epitome.checked(stored, self.spec)
        return {
            "storage": "epitome",
            **{name: getattr(stored, name) for name in names},
            "parameters": self._cost.parameters,
            "float32_equivalents": config.float32_equivalents(samples, self.spec),
            "coder": coder,
        }

    def shares(self, parts: Callable[[], Iterable[Part]], bits: int) -> dict[str, int]:
        return epitome.shares(self.message, self.spec, parts(), bits)

    def side_information(self) -> dict[str, int]:
        return {"tokens": len(self.message.token_weights), "network": len(self.message.network_weights)}

    def synthesis_work(self, samples: int) -> int:
        return self._cost.shared_work + samples * self._cost.sample_work

    def least_stream(self, counts: list[int], per_class: bool) -> int:
        """As of any set; what tokens and weights take to decode, their own bytes pay for."""
        return max(0, super().least_stream(counts, per_class) - sum(self.side_information().values()))


class DeclaredLatent(_Synthesised):
    """Latents, and the networks that predict them and make samples of them."""

    parameterization = LatentParameterization

    @cached_property
    def _cost(self) -> latent.DecodingCost:
        return latent.DecodingCost.of(self.message, self.spec)

    def check(self) -> None:
        latent.checked(self.message, self.spec)

    def facts(self, samples: int) -> dict[str, Any]:
        config = latent.checked(self.message, self.spec)
        names = ("numbers", "group", "synthesis", "hidden", "convolutions", "upsampling")
        return {
            "storage": "latent",
            "scales": list(config.scales),
            **{name: getattr(config, name) for name in names},
            "context": config.context,
            "entropy_hidden": config.entropy_hidden,
            "latents": self._cost.form.latents,
            "reach": self.message.reach,
            "coder": "entropy network",
            "parameters": self._cost.parameters,
        }

    def shares(self, parts: Callable[[], Iterable[Part]], bits: int) -> dict[str, int]:
        """The explicit part (section 3.2 of RUO); both networks are the implicit one."""
        return {"latents": bits}

    def side_information(self) -> dict[str, int]:
        stored = self.message
        return {
            "entropy network": len(stored.entropy_weights),
            "synthesis network": len(stored.synthesis_weights),
        }

    def work(self, counts: list[int], per_class: bool) -> int:
        return self._cost.work(sum(counts), _streams(counts, per_class))

    def payable(self, counts: list[int], per_class: bool) -> int:
        """As if all weights were 0: what others take to decode, their own bits pay for."""
        return self._cost.work(sum(counts), _streams(counts, per_class), zeros=True)


class DeclaredNothing(Declared):
    """No samples: the blob holds a network alone."""

    parameterization = NoSamples
    shape = (0, 0, 0)
    levels = 0
    coder = 0

    def facts(self, samples: int) -> dict[str, Any]:
        return {"storage": "none", "coder": "none"}

    def shares(self, parts: Callable[[], Iterable[Part]], bits: int) -> dict[str, int]:
        """A stream, if there is one, is not read: it is the container's."""
        return {}

    def elements(self, samples: int) -> int:
        return 0

    def work(self, counts: list[int], per_class: bool) -> int:
        return 0


def _streams(counts: list[int], per_class: bool) -> int:
    """How many there are, if each is of a class."""
    return len(counts) - counts.count(0) if per_class else 0


_KINDS: dict[str, type[Declared]] = {
    "pixel": DeclaredPixels,
    "floats": DeclaredFloats,
    "epitome": DeclaredEpitome,
    "latent": DeclaredLatent,
}
