"""Trajectory matching: MTT (Cazenavette et al., CVPR 2022) and DATM (Guo et al., ICLR 2024).

From where an expert was after some epoch, a network trained on the synthetic set should come to where the
expert was some epochs later. The gradient goes through all of the training, in the memory of one of its
steps (:mod:`fedbits.matching.unroll`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fedbits.acceleration import choose
from fedbits.augment import Draw, augment, draw
from fedbits.data.tensors import Batch, TensorData
from fedbits.errors import ConfigError
from fedbits.files import cache_folder
from fedbits.matching.base import Objective, ObjectiveConfig, Setting, Synthetic, with_gradient
from fedbits.matching.experts import ExpertConfig, build_network, train_experts
from fedbits.matching.functional import FlatNetwork
from fedbits.matching.unroll import unroll
from fedbits.progress import Progress
from fedbits.rng import torch_stream

_RANGE = 100.0  # the learned step size stays within this factor of the one it starts from
_TEACHING_BATCH = 256


@dataclass(frozen=True)
class TrajectoryConfig(ObjectiveConfig):
    """Settings of trajectory matching.

    Attributes:
        experts: how the experts are trained.
        experts_seed: of the experts; None takes the run's, a number lets runs of several seeds share them.
        synthetic_steps: training steps on the synthetic set (N).
        expert_epochs: epochs of the expert that they should be worth (M).
        min_start, max_start: epochs of the expert to start from, both included.
        current_max: the latest start at the first step; it grows linearly to ``max_start`` within
            ``expansion_end`` steps (DATM). None draws from the whole range all the time (MTT).
        batch: synthetic samples of a training step, each pass over the set in its own order; None all.
        learning_rate: the step size to start from; it is learned, within a factor of 100.
        learning_rate_rate: learning rate of its logarithm, so of relative changes; 0 leaves it as it is.
        threshold: a step whose loss exceeds it is skipped (DATM: 1); None skips none but those whose loss
            is not finite.
        augmented: by DSA, one operation a batch, each sample with its own draw; flat samples never are.
    """

    experts: ExpertConfig = ExpertConfig()  # noqa: RUF009 - frozen
    experts_seed: int | None = None
    synthetic_steps: int = 50
    expert_epochs: int = 2
    min_start: int = 0
    max_start: int = 2
    current_max: int | None = None
    expansion_end: int = 0
    batch: int | None = None
    learning_rate: float = 0.01
    learning_rate_rate: float = 0.01
    threshold: float | None = None
    augmented: bool = True

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        for name in ("synthetic_steps", "expert_epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected at least 1")
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"batch is {self.batch}: expected at least 1, or None for all samples")
        first = self.max_start if self.current_max is None else self.current_max
        if not 0 <= self.min_start <= first <= self.max_start:
            raise ConfigError(
                f"starts from epoch {self.min_start} to {first}, later {self.max_start}: "
                "expected 0 <= min_start <= current_max <= max_start"
            )
        if self.max_start + self.expert_epochs > self.experts.epochs:
            raise ConfigError(
                f"experts have {self.experts.epochs} epochs: a start at {self.max_start} and "
                f"{self.expert_epochs} more need {self.max_start + self.expert_epochs}"
            )
        if not self.learning_rate > 0 or self.learning_rate_rate < 0:
            raise ConfigError(
                f"learning_rate is {self.learning_rate} and learning_rate_rate {self.learning_rate_rate}: "
                "expected a positive one, and one that is not negative"
            )


class TrajectoryMatching(Objective):
    """How far training on the set ends from the expert, beside how far it began: ‖θ_N − θ*‖² / ‖θ_0 − θ*‖².

    A network extractor of the setting plays no part.
    """

    def __init__(self, config: TrajectoryConfig, setting: Setting) -> None:
        self._config, self._seed, self._device = config, setting.seed, setting.device
        self._how = choose(setting.device, 0.0)
        start = torch.tensor(math.log(config.learning_rate), dtype=torch.float32, device=setting.device)
        self._log_rate = start.requires_grad_(config.learning_rate_rate > 0)

    def prepare(self, data: TensorData, progress: Progress) -> None:
        config = self._config
        seed = self._seed if config.experts_seed is None else config.experts_seed
        self._network = FlatNetwork(build_network(data, config.experts).to(self._device))
        cache = cache_folder("experts")
        self._experts = train_experts(data, config.experts, seed, self._device, progress, cache)

    def loss(self, real: Batch | None, synthetic: Synthetic, step: int) -> Tensor:
        """The loss, without a graph where the step is to be skipped."""
        start, goal = self._segment(step)
        distance = (start - goal).square().sum()
        samples = synthetic.samples.detach().requires_grad_()
        targets = synthetic.targets.detach()
        soft = synthetic.targets.requires_grad
        targets.requires_grad_(soft)
        plan = self._plan(len(samples), step)

        def inner(theta: Tensor, inner_step: int) -> Tensor:
            index, drawn = plan[inner_step]
            seen = samples[index]
            if drawn is not None:
                seen = augment(seen, drawn)
            with self._how.autocast():
                logits = self._network.logits(theta, seen)
            return F.cross_entropy(logits.float(), targets[index])

        found = unroll(
            inner,
            start,
            self._rate(),
            self._config.synthetic_steps,
            [samples, targets] if soft else [samples],
            lambda theta: (theta - goal).square().sum() / distance,
        )
        if self._skips(float(found.value)):
            return found.value
        pairs = [(synthetic.samples, found.gradients[0])]
        if soft:
            pairs.append((synthetic.targets, found.gradients[1]))
        if self._log_rate.requires_grad:
            pairs.append((self._log_rate, found.rate * self._rate()))  # d/d log r = r · d/dr
        return with_gradient(found.value, *pairs)

    def starts(self, step: int) -> range:
        """The epochs that a start may be drawn from at ``step``."""
        config = self._config
        last = config.max_start
        if config.current_max is not None and step < config.expansion_end:
            last = config.current_max + (last - config.current_max) * step // config.expansion_end
        return range(config.min_start, last + 1)

    def teach(self, samples: Tensor) -> Tensor:
        """Logits ``[n, classes]`` of the first expert after its last epoch."""
        theta = self._experts.theta(0, self._experts.epochs)
        with torch.no_grad():
            parts = [self._network.logits(theta, part) for part in samples.split(_TEACHING_BATCH)]
        return torch.cat(parts)

    def param_groups(self) -> list[dict[str, Any]]:
        if not self._log_rate.requires_grad:
            return []
        return [{"params": [self._log_rate], "lr": self._config.learning_rate_rate}]

    def learning_rate(self) -> float:
        """The step size learned so far."""
        return float(self._rate())

    def state(self) -> dict[str, Any]:
        return {"log_rate": self._log_rate.detach().cpu()}

    def restore(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            self._log_rate.copy_(state["log_rate"])

    def _rate(self) -> Tensor:
        """The step size, detached; its logarithm never leaves the range, or a long step could lose it."""
        middle, reach = math.log(self._config.learning_rate), math.log(_RANGE)
        with torch.no_grad():
            return self._log_rate.clamp_(middle - reach, middle + reach).exp()

    def _skips(self, loss: float) -> bool:
        threshold = self._config.threshold
        return not math.isfinite(loss) or (threshold is not None and loss > threshold)

    def _segment(self, step: int) -> tuple[Tensor, Tensor]:
        """Where an expert starts and where it is ``expert_epochs`` later."""
        generator = torch_stream(self._seed, "segment", step)
        starts = self.starts(step)
        expert = int(torch.randint(len(self._experts), (1,), generator=generator))
        epoch = int(torch.randint(starts.start, starts.stop, (1,), generator=generator))
        later = epoch + self._config.expert_epochs
        return self._experts.theta(expert, epoch), self._experts.theta(expert, later)

    def _plan(self, samples: int, step: int) -> list[tuple[Tensor, Draw | None]]:
        """The samples of each training step, and how they are augmented."""
        generator = torch_stream(self._seed, "training", step)
        batch = min(self._config.batch or samples, samples)
        steps = self._config.synthetic_steps
        passes = math.ceil(steps / math.ceil(samples / batch))
        orders = [torch.randperm(samples, generator=generator).split(batch) for _ in range(passes)]
        indices = [index for order in orders for index in order][:steps]
        draws = [
            draw(len(index), generator, self._device) if self._config.augmented else None for index in indices
        ]
        return [(index.to(self._device), drawn) for index, drawn in zip(indices, draws, strict=True)]
