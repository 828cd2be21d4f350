"""Bits asked for (:class:`Budget`) and bits spent (:class:`Ledger`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fedbits.data.spec import DataSpec
from fedbits.errors import BudgetError

Unit = Literal["bytes", "bytes/class", "bits/class", "bpp"]

_SIZES = {"b": 1, "byte": 1, "bytes": 1, "kb": 1000, "kib": 1024, "mb": 1000**2, "mib": 1024**2}
_FORM = re.compile(
    r"^\s*(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>[a-z]+)\s*(?P<each>/\s*class)?\s*$",
    re.IGNORECASE,
)
_EXAMPLES = "'10KiB', '1KiB/class', '4096 B', '8192 bits/class' or '0.5bpp'"


@dataclass(frozen=True)
class Budget:
    """A hard promise on ``len(blob)``.

    ``bytes`` counts the whole blob; ``bytes/class`` and ``bits/class`` count each class that is present;
    ``bpp`` counts each pixel (height × width) of each stored sample, so it needs the number of samples.
    """

    amount: float
    unit: Unit = "bytes"

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a budget as a person writes it; raises :class:`BudgetError` on anything else."""
        match = _FORM.match(text)
        if not match:
            raise BudgetError(f"budget {text!r} cannot be read: write it like {_EXAMPLES}")
        amount, unit = float(match["amount"]), match["unit"].lower()
        each = match["each"] is not None
        if amount <= 0:
            raise BudgetError(f"budget {text!r} is not above zero: write it like {_EXAMPLES}")
        if unit == "bpp" and not each:
            return cls(amount, "bpp")
        if unit in ("bit", "bits"):
            return cls(amount, "bits/class") if each else cls(amount / 8, "bytes")
        if unit not in _SIZES:
            raise BudgetError(
                f"budget {text!r} has the unknown unit {match['unit']!r}: write it like {_EXAMPLES}"
            )
        return cls(amount * _SIZES[unit], "bytes/class" if each else "bytes")

    def bytes(self, spec: DataSpec, classes: int, samples: int | None = None) -> int:
        """The limit on ``len(blob)`` for a set of ``classes`` classes (and ``samples`` samples, for bpp)."""
        if self.unit == "bytes":
            return int(self.amount)
        if self.unit == "bytes/class":
            return int(self.amount * classes)
        if self.unit == "bits/class":
            return int(self.amount * classes / 8)
        if samples is None:
            raise BudgetError("a budget in bpp needs the number of samples: give --ipc as well")
        _, height, width = spec.grid_shape
        return int(self.amount * samples * height * width / 8)


@dataclass(frozen=True)
class Ledger:
    """Bits of a blob by component; they sum exactly to ``8 * len(blob)``."""

    components: Mapping[str, int]
    classes: int

    @property
    def total_bits(self) -> int:
        return sum(self.components.values())

    @property
    def bits_per_class(self) -> float:
        return self.total_bits / max(self.classes, 1)
