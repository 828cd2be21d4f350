"""Networks that train on the synthetic samples while these are distilled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedbits import networks
from fedbits.acceleration import Acceleration
from fedbits.augment import augment, draw
from fedbits.errors import ConfigError
from fedbits.matching.base import Synthetic
from fedbits.rng import derive_seed, torch_stream

_MOMENTUM, _WEIGHT_DECAY = 0.9, 5e-4


@dataclass(frozen=True)
class StudentsConfig:
    """Settings of the networks that train on the synthetic samples.

    Attributes:
        networks: how many there are; they take turns, one each distillation step.
        lifetime: training steps after which a fresh one takes a network's place.
        steps: of training that a network takes at each of its turns.
        batch: synthetic samples that one of these looks at.
        learning_rate: of SGD with momentum 0.9 and weight decay 0.0005.
        augmented: whether this training augments samples (DSA) as the evaluation does; flat ones never are.
    """

    networks: int = 4
    lifetime: int = 300
    steps: int = 3
    batch: int = 128
    learning_rate: float = 0.02
    augmented: bool = True

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        for name in ("networks", "lifetime", "steps", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} of the students is {getattr(self, name)}: expected at least 1")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning_rate of the students is {self.learning_rate}: expected more than 0")


@dataclass
class _Student:
    theta: Tensor  # [parameters]
    velocity: Tensor
    age: int  # training steps so far


class Students:
    """Several networks of one form and of different ages; a shared module holds the one whose turn it is.

    Ages are spread over a lifetime from the first turns on, so that every stage of training is there.
    """

    def __init__(
        self, config: StudentsConfig, network: nn.Module, how: Acceleration, seed: int, given: bool = False
    ) -> None:
        """Students are loaded into ``network``; ``given``, they start as it is, and else at random.

        It has no buffers that training changes.
        """
        self._config, self._network, self._how, self._seed = config, network, how, seed
        self._parameters = list(network.parameters())
        self._start = self._vector() if given else None
        self._forward = how.prepare(network)
        self._students: list[_Student | None] = [None] * config.networks

    def turn(self, step: int, synthetic: Synthetic) -> None:
        """Load the student whose turn is ``step``, trained further on ``synthetic``, without gradients."""
        number = step % self._config.networks
        student, steps = self._students[number], self._config.steps
        if student is None:
            student, steps = self._fresh(number, step), self._head_start(number)
        elif student.age >= self._config.lifetime:
            student = self._fresh(number, step)
        self._students[number] = student
        self._load(student)
        self._network.requires_grad_(True)
        for _ in range(steps):
            self._train_step(student, synthetic, derive_seed(self._seed, number, step, student.age))
        self._network.requires_grad_(False)

    def _head_start(self, number: int) -> int:
        """Steps of the first turn of student ``number``."""
        return self._config.steps + number * self._config.lifetime // self._config.networks

    def _fresh(self, number: int, step: int) -> _Student:
        if self._start is None:
            networks.initialise(self._network, derive_seed(self._seed, "fresh", number, step))
        theta = self._vector() if self._start is None else self._start
        return _Student(theta, torch.zeros_like(theta), 0)

    def _vector(self) -> Tensor:
        """A copy of what is loaded, ``[parameters]``."""
        return torch.cat([parameter.detach().flatten() for parameter in self._parameters])

    def _load(self, student: _Student) -> None:
        parts = student.theta.split([parameter.numel() for parameter in self._parameters])
        with torch.no_grad():
            for parameter, part in zip(self._parameters, parts, strict=True):
                parameter.copy_(part.view_as(parameter))

    def _train_step(self, student: _Student, synthetic: Synthetic, seed: int) -> None:
        generator = torch_stream(seed, "batch")
        index = torch.randint(len(synthetic.labels), (self._config.batch,), generator=generator)
        index = index.to(synthetic.labels.device)
        samples, targets = synthetic.samples.detach()[index], synthetic.targets.detach()[index]
        if self._config.augmented:
            samples = augment(samples, draw(len(index), generator, samples.device))
        with self._how.autocast():
            logits = self._forward(samples)
        loss = F.cross_entropy(logits.float(), targets)
        slopes = torch.autograd.grad(loss, self._parameters)
        slope = torch.cat([part.flatten() for part in slopes]) + _WEIGHT_DECAY * student.theta
        student.velocity = _MOMENTUM * student.velocity + slope
        student.theta = student.theta - self._config.learning_rate * student.velocity
        student.age += 1
        self._load(student)

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs to go on after the turn that was just taken."""
        return {"students": [None if s is None else (s.theta, s.velocity, s.age) for s in self._students]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        device = self._parameters[0].device
        self._students = [
            None if held is None else _Student(held[0].to(device), held[1].to(device), held[2])
            for held in state["students"]
        ]
