"""What makes the same arithmetic faster where the machine allows it: bfloat16 and compiled networks.

Both are decided once per run from the machine and the work ahead, so that one machine gives one result.
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
