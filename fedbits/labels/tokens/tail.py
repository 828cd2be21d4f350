"""What the tokens beyond the likeliest share: one distribution for all labels, in octaves.

The teacher's probability outside its top tokens is far from even. Its mean over some labels, rounded to
powers of two, says how a label's remaining mass is spread, and which tokens are expected among the likeliest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedbits.coding.prefix import PrefixCode
from fedbits.coding.weights import QuantisedTensor, decode_weights, encode_weights
from fedbits.errors import CorruptError

OCTAVES = 32


@dataclass(frozen=True)
class Tail:
    """``octaves`` ``[vocabulary]`` int64, 0 to 31: a token is as much as 2**-octave of the likeliest."""

    octaves: NDArray[np.int64]

    @classmethod
    def of(cls, mass: NDArray[np.float64]) -> Tail:
        """The tail nearest to ``mass`` ``[vocabulary]``, not negative; the smallest counts as 2**-31."""
        largest = max(float(mass.max()), 1e-300)
        octaves = -np.log2(np.maximum(mass / largest, 2.0 ** (1 - OCTAVES)))
        return cls(np.rint(octaves).astype(np.int64))

    @cached_property
    def weights(self) -> NDArray[np.int64]:
        """``[vocabulary]``: 1 to 2**31."""
        return np.int64(1) << (OCTAVES - 1 - self.octaves)

    @cached_property
    def probabilities(self) -> Tensor:
        """``[vocabulary]`` float32, summing to 1."""
        return torch.from_numpy(self.weights / self.weights.sum()).float()

    @cached_property
    def code(self) -> PrefixCode:
        """Under which tokens are written."""
        return PrefixCode(self.weights)

    def parts(self) -> tuple[bytes, int]:
        """What travels: a stream, and the centre around which octaves lie."""
        centre = int(np.median(self.octaves))
        return encode_weights([QuantisedTensor(self.octaves - centre, 0)]), centre

    @classmethod
    def read(cls, stream: bytes, centre: int, vocabulary: int) -> Tail:
        """Raises :class:`CorruptError` unless :meth:`parts` could have given ``stream`` and ``centre``."""
        if centre >= OCTAVES:
            raise CorruptError(f"the tail of the labels is around octave {centre}: expected below {OCTAVES}")
        (tensor,) = decode_weights(stream, [(vocabulary,)], vocabulary + 1)
        octaves = tensor.values + centre
        if tensor.fraction_bits or octaves.min() < 0 or octaves.max() >= OCTAVES:
            raise CorruptError(f"the tail of the labels has octaves beyond 0 to {OCTAVES - 1}")
        return cls(octaves)
