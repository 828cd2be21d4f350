"""How much bits weigh in the loss: a slow controller that leads a set to its budget."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_WEIGHT = 0.4  # of a full budget in the loss, beside the objective: about where the controller settles
_LOOK_AHEAD = 3  # updates by which the controller extrapolates the size


@dataclass
class RateControl:
    """The weight of a bit.

    The target falls from the size at the start to the budget over the first part of the steps that are left
    then, so that samples take shape before bits become scarce.
    """

    budget: float  # bits
    started: float  # bits
    weight: float
    previous: float  # bits at the last update
    begun: int = 0  # the step of the start
    share: float = 0.6

    @classmethod
    def starting(cls, budget: float, bits: float, loss: float, step: int = 0) -> RateControl:
        """For a set that takes ``bits`` at ``step``, and an objective of ``loss``."""
        return cls(budget, bits, FIRST_WEIGHT * loss / budget, bits, step)

    def update(self, bits: float, step: int, steps: int) -> None:
        """Adapt to the size at ``step`` of ``steps``, and to its trend."""
        progress = (step - self.begun) / max(1, steps - self.begun)
        excess = max(0.0, self.started - self.budget) * max(0.0, 1 - progress / self.share)
        expected = max(bits + _LOOK_AHEAD * (bits - self.previous), 0.5 * bits)
        self.weight *= min(1.5, max(0.67, (expected / (self.budget + excess)) ** 2))
        self.previous = bits
