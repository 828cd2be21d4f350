"""What makes the same arithmetic faster where the machine allows it: bfloat16, compiled networks, chunks.

All are decided once per run from the machine and the work ahead, so that one machine gives one result.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

# Compiling on a machine without a GPU would otherwise tell the user that there is none.
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)

COMPILE_PAYS_AFTER = (
    3e9  # activations of the first block; eager needs about a minute for these, compiling 10-25 s
)


# Larger tensors are given back to the system when freed, and a CPU then spends more time on getting their
# pages anew than on computing them: glibc's allocator keeps no more than 32 MiB.
_KEPT_BYTES = 30e6


@dataclass(frozen=True)
class Acceleration:
    """How forward and backward passes are to be run."""

    device: torch.device
    bfloat16: bool = False
    compiled: bool = False

    def autocast(self) -> torch.autocast:
        """A context in which convolutions and matrix products run in bfloat16 where that is on."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)

    def prepare(self, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """``function`` compiled for fixed shapes, or as it is."""
        if not self.compiled:
            return function
        return cast(Callable[[Tensor], Tensor], torch.compile(function, dynamic=False))

    def chunk(self, activations: int) -> int | None:
        """How many samples to pass through a network at once, None for all of them.

        ``activations`` is the size of the largest tensor that one sample makes, in elements.
        """
        if self.device.type != "cpu":
            return None
        return max(1, int(_KEPT_BYTES / (activations * (2 if self.bfloat16 else 4))))


def in_chunks(function: Callable[[Tensor], Tensor], samples: Tensor, largest: int | None) -> Tensor:
    """``function(samples)``, computed for equal chunks of at most ``largest`` samples one after the other.

    The last chunk is filled up by repeating its last sample, as compiled functions take one shape only.
    """
    if largest is None or len(samples) <= largest:
        return function(samples)
    chunks = -(-len(samples) // largest)
    size = -(-len(samples) // chunks)
    missing = chunks * size - len(samples)
    filled = torch.cat([samples, samples[-1:].expand(missing, *samples.shape[1:])]) if missing else samples
    return torch.cat([function(chunk) for chunk in filled.split(size)])[: len(samples)]


def choose(device: torch.device | str, activations: float, bfloat16: bool | None = None) -> Acceleration:
    """The acceleration for a run that will compute about ``activations`` activations.

    ``bfloat16`` forces it on or off; left out, it follows the machine. ``FEDBITS_COMPILE`` set to 0 or 1
    overrides the choice to compile.
    """
    device = torch.device(device)
    supported = _has_bfloat16(device)
    wanted = os.environ.get("FEDBITS_COMPILE")
    pays = activations > COMPILE_PAYS_AFTER if wanted is None else wanted == "1"
    return Acceleration(device, supported if bfloat16 is None else bfloat16, pays and _can_compile(device))


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def _can_compile(device: torch.device) -> bool:
    """Inductor writes C++ for CPUs, so it needs a compiler at run time."""
    return device.type == "cuda" or shutil.which(os.environ.get("CXX", "g++")) is not None
