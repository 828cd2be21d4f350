"""The optimisation of a synthetic set: what is trained, against what, step by step."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedbits import checkpoint as checkpoints
from fedbits import matching
from fedbits.data.tensors import TensorData
from fedbits.distilled_set import DistilledSet
from fedbits.errors import ConfigError
from fedbits.labels import SoftLabels
from fedbits.matching import Objective, Setting, Synthetic
from fedbits.parameterization import Parameterization
from fedbits.parameterization.rate import REFRESH
from fedbits.progress import Progress
from fedbits.quantization import Moment
from fedbits.rate_control import RateControl
from fedbits.recipe import OptimizerConfig, Recipe
from fedbits.rng import derive_seed, torch_stream

CHECKPOINT_EVERY = 10 * REFRESH  # steps; a multiple, so that a resumed run looks at symbols at the same ones
_SYNTHETIC_BATCH = 1024  # samples of a large set that one step looks at


def make_optimizer(config: OptimizerConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimiser of ``config`` for parameter ``groups`` with their own learning rates."""
    if config.name == "adam":
        return torch.optim.Adam(groups, betas=(0.5, 0.9))
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)


@dataclass
class Optimisation:
    """Everything one run holds, and how far it is."""

    distilled: DistilledSet
    data: TensorData
    recipe: Recipe
    limit: int | None  # bytes
    seed: int
    setting: Setting
    step: int = 0
    control: RateControl | None = None
    objective: Objective = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.objective = matching.build(matching.suited(self.recipe.objective, self.data.spec), self.setting)
        self._labels = self.distilled.labels.to(self.setting.device)

    @property
    def parameterization(self) -> Parameterization:
        return self.distilled.parameterization

    @property
    def _bounded(self) -> bool:
        """Whether bits weigh in the loss, as yet."""
        return self.limit is not None and self.parameterization.bounded

    def prepare(self, progress: Progress) -> None:
        """Build what the objective needs, the soft labels, and the optimiser of all that is learned."""
        self.parameterization.to(self.setting.device).train()
        self.objective.prepare(self.data, progress)
        optimizer = self.recipe.optimizer
        groups = self.parameterization.param_groups(optimizer.learning_rate) + self.objective.param_groups()
        if self.recipe.labels == "soft":
            with torch.no_grad():
                logits = self.objective.teach(self.parameterization())
            self.distilled.soft_labels = SoftLabels(logits).to(self.setting.device)
            groups += self.distilled.soft_labels.param_groups(optimizer.labels_rate)
        self.optimizer = make_optimizer(optimizer, groups)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]

    def advance(self) -> tuple[float, float | None]:
        """One step; the loss and, where a budget binds, the size in bits.

        Raises:
            ConfigError: the loss is no number any more; the next step would leave no sample one either.
        """
        self._set_rates()
        self.parameterization.begin(Moment(self.step, self.recipe.steps, derive_seed(self.seed, "quantizer")))
        wanted = self.objective.real_indices(self.step)
        real = None if wanted is None else self.data.batch(wanted.to(self.setting.device))
        loss = self.objective.loss(real, self._synthetic(self._batch()), self.step)
        total = loss
        bits = self.parameterization.rate(self.distilled.labels) if self._bounded else None
        if bits is not None:
            total = total + self._weight(float(loss.detach()), float(bits.detach())) * bits
        if self.recipe.penalty:
            total = total + self.recipe.penalty * self.parameterization.penalty()
        if loss.requires_grad:  # without a graph, the objective skips this step
            if not bool(total.isfinite()):
                raise ConfigError(
                    f"the loss is {float(total.detach())} at step {self.step + 1}: optimisation diverged; "
                    "give smaller learning rates, of samples or of what the objective trains"
                )
            self.optimizer.zero_grad()
            total.backward()
            self.optimizer.step()
        self.step += 1
        return float(loss.detach()), None if bits is None else float(bits.detach())

    def finish(self) -> None:
        """Training is over: the set as it will be sent, on the CPU."""
        self.parameterization.settle()
        self.parameterization.cpu().eval()
        if self.distilled.soft_labels is not None:
            self.distilled.soft_labels.cpu()
        rate = self.objective.learning_rate()
        self.distilled.learning_rate = None if rate is None else float(np.float32(rate))  # as it travels

    def _set_rates(self) -> None:
        left = 1 - self.step / self.recipe.steps if self.recipe.optimizer.decay else 1.0
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * left

    def _synthetic(self, index: Tensor | None) -> Synthetic:
        labels = self._labels if index is None else self._labels[index]
        soft = self.distilled.soft_labels
        return Synthetic(self.parameterization(index), labels, labels if soft is None else soft(index))

    def _weight(self, loss: float, bits: float) -> float:
        if self.control is None:
            self.control = RateControl.starting(8.0 * (self.limit or 0), bits, loss, self.step)
        elif self.step % REFRESH == 0:
            self.control.update(bits, self.step, self.recipe.steps)
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
        return torch.cat(chosen).to(self.setting.device)

    def state(self) -> dict[str, Any]:
        control, soft = self.control, self.distilled.soft_labels
        return {
            "step": self.step,
            "parameterization": self.parameterization.state_dict(),
            "soft_labels": None if soft is None else soft.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "objective": self.objective.state(),
            "control": None if control is None else dataclasses.astuple(control),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.parameterization.load_state_dict(state["parameterization"])
        if self.distilled.soft_labels is not None:
            self.distilled.soft_labels.load_state_dict(state["soft_labels"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.objective.restore(state["objective"])
        self.control = None if state["control"] is None else RateControl(*state["control"])


def optimise(
    run: Optimisation, progress: Progress, checkpoint: Path | None, settings: str, resume: bool
) -> None:
    """Take ``run`` from where it is, or from its ``checkpoint``, to its last step."""
    found = checkpoints.load(checkpoint, settings) if resume and checkpoint is not None else None
    run.prepare(progress)
    if found is not None:
        run.restore(found)
    with progress.task("distilling", run.recipe.steps, run.step) as task:
        while run.step < run.recipe.steps:
            loss, bits = run.advance()
            task.advance(note=f"loss {loss:.3f}" + ("" if bits is None else f", {bits / 8:,.0f} bytes"))
            if checkpoint is not None and run.step % CHECKPOINT_EVERY == 0:
                checkpoints.save(checkpoint, settings, run.state())
    run.finish()
