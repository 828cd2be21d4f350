"""Bi-level distillation (DD, Wang et al., 2018; BCDC, Algorithm 1): samples on which training works.

A network is trained on the synthetic samples for a few steps; its loss on real samples is what is minimised.
The gradient reaches the synthetic samples either through the steps of training (unrolled) or, as at an
optimum, by the implicit function theorem (BCDC, Eqs. 8 and 9).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fedbits import networks
from fedbits.acceleration import Acceleration, in_chunks
from fedbits.augment import augment, draw
from fedbits.data.tensors import Batch, TensorData
from fedbits.errors import ConfigError
from fedbits.matching.base import Objective, ObjectiveConfig, Setting, Synthetic, with_gradient
from fedbits.matching.class_batches import class_batches
from fedbits.matching.functional import FlatNetwork
from fedbits.matching.implicit import Curvature, Solution, conjugate_gradients, neumann
from fedbits.matching.pool import ExtractorPool, PoolConfig
from fedbits.matching.unroll import train, unroll
from fedbits.progress import Progress
from fedbits.rng import derive_seed, torch_stream

_PATIENCE = 10  # steps without a finite gradient, one after the other, until the run is given up
_TEACHER = PoolConfig(networks=1, stages=(200,))


@dataclass(frozen=True)
class BilevelConfig(ObjectiveConfig):
    """Settings of bi-level distillation.

    Attributes:
        network, width: what is trained; ``auto`` follows the samples.
        method: how gradients reach the samples: through the ``unrolled`` steps, or ``implicit``.
        inner_steps: of SGD on the synthetic samples, K of Algorithm 1.
        inner_learning_rate: of these steps.
        inner_batch: synthetic samples that one of them looks at; all, where there are no more.
        window: of ``unrolled``: only the last so many steps are differentiated; None all.
        lifetime: distillation steps that a network lives for: it takes one step of training in each of them
            (the last line of Algorithm 1) before the next one starts anew. 1 starts anew each time.
        solver: of ``implicit``: conjugate gradients or a Neumann series for the inverse Hessian.
        iterations: of the solver, at most.
        damping: what the solver adds to the Hessian, as a weight decay would.
        real_batch: real samples per class and step.
        augmented: whether training augments synthetic samples (DSA) as the evaluation does; real samples
            and flat ones never are.
    """

    network: str = "auto"
    width: int = 64
    method: Literal["unrolled", "implicit"] = "unrolled"
    inner_steps: int = 10
    inner_learning_rate: float = 0.02
    inner_batch: int = 256
    window: int | None = None
    lifetime: int = 1
    solver: Literal["cg", "neumann"] = "cg"
    iterations: int = 10
    damping: float = 0.1
    real_batch: int = 32
    augmented: bool = True

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        counts = {
            name: getattr(self, name)
            for name in ("inner_steps", "inner_batch", "lifetime", "iterations", "real_batch")
        }
        for name, count in counts.items():
            if count < 1:
                raise ConfigError(f"{name} is {count}: expected at least 1")
        if self.window is not None and self.window < 1:
            raise ConfigError(f"window is {self.window}: expected at least 1, or none for all steps")
        if self.method not in ("unrolled", "implicit"):
            raise ConfigError(f"method is {self.method!r}: expected 'unrolled' or 'implicit'")
        if self.solver not in ("cg", "neumann"):
            raise ConfigError(f"solver is {self.solver!r}: expected 'cg' or 'neumann'")
        if not self.inner_learning_rate > 0:
            raise ConfigError(f"inner_learning_rate is {self.inner_learning_rate}: expected more than 0")
        if not self.damping >= 0:
            raise ConfigError(f"damping is {self.damping}: expected 0 or more")


class BilevelMatching(Objective):
    """The loss on real samples of a network that was trained on the synthetic ones.

    All classes count alike, however many real samples they have.
    """

    def __init__(self, config: BilevelConfig, setting: Setting) -> None:
        self._config, self._seed, self._device = config, setting.seed, setting.device
        self._how = Acceleration(self._device)
        self._theta: Tensor | None = None  # of the living network, at the last step
        self._failures = 0

    def prepare(self, data: TensorData, progress: Progress) -> None:
        config = self._config
        self._data, self._progress = data, progress
        self._classes = [index for index in data.class_indices() if len(index)]
        name = networks.default_network(data.spec) if config.network == "auto" else config.network
        # Stays on the CPU, where it is initialised; only its vector of parameters goes to the device.
        self._module = networks.build(name, data.spec, config.width, derive_seed(self._seed, "network", 0))
        self._network = FlatNetwork(self._module)
        self._rate = torch.tensor(config.inner_learning_rate, device=self._device)
        _, height, width = data.spec.grid_shape
        self._chunk = self._how.chunk(config.width * height * width)

    def real_indices(self, step: int) -> Tensor:
        """``real_batch`` samples of each class that is present, class by class, drawn without replacement."""
        generator = torch_stream(self._seed, "real", step)
        return class_batches(self._classes, self._config.real_batch, generator)

    def loss(self, real: Batch | None, synthetic: Synthetic, step: int) -> Tensor:
        assert real is not None
        leaves = [synthetic.samples.detach().requires_grad_()]
        if synthetic.targets.is_floating_point():
            leaves.append(synthetic.targets.detach().requires_grad_())
        targets = leaves[1] if len(leaves) > 1 else synthetic.targets

        def inner(theta: Tensor, number: int) -> Tensor:
            return self._inner_loss(theta, leaves[0], targets, step, number)

        def outer(theta: Tensor) -> Tensor:
            logits = in_chunks(lambda part: self._network.logits(theta, part), real.samples, self._chunk)
            return F.cross_entropy(logits, real.labels)

        self._theta = self._living(inner, step)
        if self._config.method == "unrolled":
            steps, window = self._config.inner_steps, self._config.window
            value, gradients, *_ = unroll(inner, self._theta, self._rate, steps, leaves, outer, window)
        else:
            value, gradients = self._implicit(inner, outer, leaves)
        value, gradients = self._checked(value, gradients)
        return with_gradient(value, *zip((synthetic.samples, synthetic.targets), gradients, strict=False))

    def _inner_loss(self, theta: Tensor, samples: Tensor, targets: Tensor, step: int, number: int) -> Tensor:
        """The loss of step ``number`` of training within the distillation step ``step``."""
        generator = torch_stream(self._seed, "inner", step, number)
        size = self._config.inner_batch
        if len(samples) > size:
            index = torch.randperm(len(samples), generator=generator)[:size].to(samples.device)
            samples, targets = samples[index], targets[index]
        if self._config.augmented:
            samples = augment(samples, draw(len(samples), generator, samples.device))
        return F.cross_entropy(self._network.logits(theta, samples), targets)

    def _living(self, inner: Callable[[Tensor, int], Tensor], step: int) -> Tensor:
        """The parameters that training starts from: new ones, or those of the last step one step on."""
        if self._theta is None or step % self._config.lifetime == 0:
            networks.initialise(self._module, derive_seed(self._seed, "network", step))
            return self._network.vector().to(self._device)
        return train(lambda theta, _: inner(theta, -1), self._theta, self._rate, 1)

    def _implicit(
        self, inner: Callable[[Tensor, int], Tensor], outer: Callable[[Tensor], Tensor], leaves: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The outer loss where training has ended, and its gradients by the implicit function theorem."""
        config = self._config
        assert self._theta is not None
        theta = train(inner, self._theta, self._rate, config.inner_steps).requires_grad_()
        value = outer(theta)
        (slope,) = torch.autograd.grad(value, theta)
        curvature = Curvature(lambda theta: inner(theta, config.inner_steps), theta, leaves)
        vector = self._solve(curvature, slope)
        return value.detach(), tuple(-part for part in curvature.mixed(vector))

    def _solve(self, curvature: Curvature, slope: Tensor) -> Tensor:
        """(Hessian + damping)⁻¹·``slope``, as far as the solver gets."""
        config = self._config
        how: dict[str, Any] = {"damping": config.damping, "iterations": config.iterations}
        solution: Solution
        if config.solver == "neumann":
            solution = neumann(curvature.times, slope, config.inner_learning_rate, **how)
        else:
            solution = conjugate_gradients(curvature.times, slope, **how)
            if not bool(solution.vector.any()):  # no direction but the slope's is known: one step of training
                return config.inner_learning_rate * slope
        return solution.vector

    def _checked(self, value: Tensor, gradients: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What was given, or no gradient where training has diverged; such a network does not live on.

        Raises:
            ConfigError: it has diverged too often in succession.
        """
        if all(bool(tensor.isfinite().all()) for tensor in (value, *gradients)):
            self._failures = 0
            return value, gradients
        self._theta = None
        self._failures += 1
        if self._failures >= _PATIENCE:
            raise ConfigError(
                f"training on the synthetic samples with inner_learning_rate "
                f"{self._config.inner_learning_rate:g} has diverged {self._failures} times in succession: "
                "give a smaller one"
            )
        chance = torch.full_like(value, math.log(self._data.spec.classes))
        return chance, tuple(torch.zeros_like(gradient) for gradient in gradients)

    def teach(self, samples: Tensor) -> Tensor:
        """Logits ``[n, classes]`` of a network that was trained on the real samples for a while."""
        teacher = copy.deepcopy(self._module).to(self._device)
        pool = ExtractorPool(_TEACHER, teacher, derive_seed(self._seed, "teacher"))
        with torch.enable_grad():  # whoever asks for logits alone has switched it off
            pool.prepare(self._data, self._how, self._progress)
        pool.load(0)
        with torch.no_grad():
            return in_chunks(teacher, samples, self._chunk)

    def state(self) -> dict[str, Any]:
        theta = self._theta if self._config.lifetime > 1 else None
        return {"theta": theta, "failures": self._failures}

    def restore(self, state: dict[str, Any]) -> None:
        theta = state["theta"]
        self._theta = None if theta is None else theta.to(self._device)
        self._failures = state["failures"]
