"""The optimisation loop: from real data and a recipe to a synthetic set within its budget."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedbits import checkpoint as checkpoints
from fedbits.budget import Budget
from fedbits.data.tensors import Batch, TensorData
from fedbits.distilled_set import DistilledSet
from fedbits.errors import DataError
from fedbits.fit import check_budget, fit
from fedbits.matching import DistributionMatching, Objective
from fedbits.parameterization import Parameterization
from fedbits.parameterization.rate import EXACT_EVERY, REFRESH
from fedbits.plan import Candidates, make_plan, start
from fedbits.progress import SILENT, Progress
from fedbits.recipes import Recipe
from fedbits.rng import derive_seed, torch_stream
from fedbits.selection import select

CHECKPOINT_EVERY = EXACT_EVERY * REFRESH  # so that a resumed run measures sizes at the same steps
_FIRST_WEIGHT = 0.4  # of a full budget in the loss, beside the objective: about where the controller settles
_LOOK_AHEAD = 3  # updates by which the controller extrapolates the size
_SYNTHETIC_BATCH = 1024  # samples of a large set that one step looks at


def distill(
    data: TensorData,
    recipe: Recipe,
    budget: Budget | None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
    checkpoint: Path | None = None,
    resume: bool = False,
    extractor: nn.Module | None = None,
) -> DistilledSet:
    """Distil ``data`` by ``recipe`` into a set whose blob has at most ``budget`` bytes.

    Args:
        data: real samples; a class without any has none in the set.
        budget: None stores the recipe's number of samples (10 a class by default) whatever they take.
        seed: decides everything; the same seed on the same machine gives the same blob.
        checkpoint: written every :data:`CHECKPOINT_EVERY` steps; with ``resume`` the run starts from it.
        extractor: a network whose features are matched, instead of the recipe's own.

    Raises:
        DataError: ``data`` is empty.
        BudgetError: the budget is too small for one sample of each class.
        ConfigError: the checkpoint is missing, damaged or of other settings.
    """
    if not len(data):
        raise DataError(f"there are no samples of {data.spec.name} to distil: give at least one")
    present = sum(count > 0 for count in data.class_counts())
    ipc = None if recipe.ipc is None else recipe.ipc * present
    limit = None if budget is None else budget.bytes(data.spec, present, ipc)
    candidates = Candidates(data, select(data, recipe.selection, max(data.class_counts()), seed))
    plan = make_plan(candidates, recipe, limit)
    distilled = start(candidates, plan, recipe)
    if limit is not None:
        check_budget(distilled, limit)
    if recipe.steps:
        run = _Run(distilled, data.to(device), recipe, limit, seed, torch.device(device), extractor)
        settings = checkpoints.fingerprint(
            data, recipe, limit, seed, str(device), checkpoints.weights_digest(extractor)
        )
        _optimise(run, progress, checkpoint, settings, resume)
        distilled.parameterization.cpu().eval()
    if limit is None:
        return distilled
    return fit(distilled, start(candidates, plan, recipe), candidates, limit, may_grow=recipe.ipc is None)


@dataclass
class _RateControl:
    """A slow controller of the weight of bits in the loss: it leads the set to its budget.

    The target falls from the size at the start to the budget over the first part of the run, so that samples
    take shape before bits become scarce.
    """

    budget: float  # bits
    started: float  # bits
    weight: float
    previous: float  # bits at the last update
    share: float = 0.6

    def update(self, bits: float, progress: float) -> None:
        """Adapt to the present size and its trend; ``progress`` of the run is in [0, 1]."""
        excess = max(0.0, self.started - self.budget) * max(0.0, 1 - progress / self.share)
        expected = max(bits + _LOOK_AHEAD * (bits - self.previous), 0.5 * bits)
        self.weight *= min(1.5, max(0.67, (expected / (self.budget + excess)) ** 2))
        self.previous = bits


@dataclass
class _Run:
    """Everything one optimisation holds: what is trained, against what, and how far it is."""

    distilled: DistilledSet
    data: TensorData
    recipe: Recipe
    limit: int | None  # bytes
    seed: int
    device: torch.device
    extractor: nn.Module | None
    step: int = 0
    control: _RateControl | None = None
    objective: Objective = field(init=False)
    optimizer: torch.optim.Adam = field(init=False)

    def __post_init__(self) -> None:
        self.objective = DistributionMatching(
            self.recipe.objective,
            derive_seed(self.seed, "objective"),
            self.device,
            self.recipe.steps,
            self.extractor,
        )
        self.parameterization.to(self.device).train()
        groups = self.parameterization.param_groups(self.recipe.learning_rate)
        self.optimizer = torch.optim.Adam(groups, betas=(0.5, 0.9))
        self._rates = [group["lr"] for group in groups]
        self._labels = self.distilled.labels.to(self.device)

    @property
    def parameterization(self) -> Parameterization:
        return self.distilled.parameterization

    def advance(self) -> tuple[float, float | None]:
        """One step; the loss and, where a budget binds, the size in bits."""
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * (1 - self.step / self.recipe.steps)
        index = self._batch()
        synthetic = Batch(
            self.parameterization(index), self._labels if index is None else self._labels[index]
        )
        real = self.data.batch(self.objective.real_indices(self.step).to(self.device))
        loss = self.objective.loss(real, synthetic, self.step)
        bounded = self.limit is not None and self.recipe.quantised
        bits = self.parameterization.rate(self.distilled.labels) if bounded else None
        total = (
            loss if bits is None else loss + self._weight(float(loss.detach()), float(bits.detach())) * bits
        )
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        self.step += 1
        return float(loss.detach()), None if bits is None else float(bits.detach())

    def _weight(self, loss: float, bits: float) -> float:
        if self.control is None:
            budget = 8.0 * (self.limit or 0)
            self.control = _RateControl(budget, bits, _FIRST_WEIGHT * loss / budget, bits)
        elif self.step % REFRESH == 0:
            self.control.update(bits, self.step / self.recipe.steps)
        return self.control.weight

    def _batch(self) -> Tensor | None:
        """All samples, or of a large set an equal share of each class."""
        if len(self.distilled) <= _SYNTHETIC_BATCH:
            return None
        generator = torch_stream(self.seed, "synthetic", self.step)
        chosen, begin = [], 0
        for count in self.distilled.class_counts():
            size = -(-count * _SYNTHETIC_BATCH // len(self.distilled))
            chosen.append(begin + torch.randperm(count, generator=generator)[:size])
            begin += count
        return torch.cat(chosen).to(self.device)

    def state(self) -> dict[str, Any]:
        control = self.control
        return {
            "step": self.step,
            "parameterization": self.parameterization.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "control": None if control is None else dataclasses.astuple(control),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.parameterization.load_state_dict(state["parameterization"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.control = None if state["control"] is None else _RateControl(*state["control"])


def _optimise(run: _Run, progress: Progress, checkpoint: Path | None, settings: str, resume: bool) -> None:
    if resume and checkpoint is not None:
        run.restore(checkpoints.load(checkpoint, settings))
    run.objective.prepare(run.data, progress)
    with progress.task("distilling", run.recipe.steps, run.step) as task:
        while run.step < run.recipe.steps:
            loss, bits = run.advance()
            task.advance(note=f"loss {loss:.3f}" + ("" if bits is None else f", {bits / 8:,.0f} bytes"))
            if checkpoint is not None and run.step % CHECKPOINT_EVERY == 0:
                checkpoints.save(checkpoint, settings, run.state())
