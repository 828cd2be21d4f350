"""A quantiser that joins a run later: samples take shape first, as they do for post-training quantisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from fedbits.quantization.base import Moment, Quantizer
from fedbits.quantization.grid import Grid

_REFIT = 10  # steps between two fits to values that are free


class WarmedUpQuantizer(Quantizer):
    """Hands values on as they are for a first share of the steps, and from then on is another quantiser.

    At that step the other one is fitted anew to what has become of the values, and its schedule begins. Until
    then it is fitted to them now and again and learns nothing, but tells what they would cost: left to
    themselves until they are quantised, they grow by half, and never find back to a budget.
    """

    def __init__(self, share: float, fitted: Callable[[Tensor], Quantizer], samples: Tensor) -> None:
        """``share`` of the steps, in [0, 1]; ``fitted`` makes the other quantiser for given values."""
        inner = fitted(samples)
        super().__init__(inner.bits)
        self.inner, self._share, self._fitted = inner, share, fitted
        self._free = False

    @property
    def in_loop(self) -> bool:  # type: ignore[override]
        return not self._free and self.inner.in_loop

    @property
    def priced(self) -> bool:
        return self.inner.in_loop

    def grid(self) -> Grid:
        return self.inner.grid()

    def forward(self, values: Tensor) -> Tensor:
        return values if self._free and self.training else self.inner(values)

    def position(self, values: Tensor) -> Tensor:
        return self.inner.position(values)

    def begin(self, moment: Moment, values: Tensor) -> None:
        first = math.ceil(self._share * moment.steps)
        self._free = moment.step < first
        self.inner.requires_grad_(not self._free)  # bits alone would widen the steps
        if self._free:
            if moment.step % _REFIT == 0:
                self._refit(values)
            return
        if moment.step == first:
            self._refit(values)
        left = max(1, moment.steps - first)
        self.inner.begin(replace(moment, step=moment.step - first, steps=left), values)

    def settle(self, values: Tensor) -> None:
        if self._free:
            self._refit(values)
        self._free = False
        self.inner.requires_grad_(True)
        self.inner.settle(values)

    def penalty(self, values: Tensor) -> Tensor:
        return torch.zeros((), device=values.device) if self._free else self.inner.penalty(values)

    def _refit(self, values: Tensor) -> None:
        """In place: an optimiser knows the parameters."""
        self.inner.load_state_dict(self._fitted(values).state_dict())
