"""Gradient matching: DC (Zhao et al., ICLR 2021) and, with augmentation, DSA (Zhao & Bilen, ICML 2021).

A synthetic set is good if it teaches a network what the real one does: for each class, the gradients of the
loss on synthetic and on real samples are to point the same way, in random networks and in those that training
on the synthetic set leads to. One step of the distiller is one matching of gradients.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fedbits import networks
from fedbits.acceleration import Acceleration, choose
from fedbits.augment import augment, draw
from fedbits.data.tensors import Batch, TensorData
from fedbits.errors import ConfigError
from fedbits.matching.base import Objective, ObjectiveConfig, Setting, Synthetic, with_gradient
from fedbits.matching.class_batches import class_batches
from fedbits.matching.class_gradients import ClassGradients, Gradients, Members, distance, members
from fedbits.progress import Progress
from fedbits.rng import derive_seed, torch_stream

_SLOWER = 0.5  # compiling gains less, and takes longer, than for a plain network (see acceleration.py)
_ON_A_GPU = 2.5e8  # bytes of the largest tensor of one chunk of classes; some twenty of them live at a time


@dataclass(frozen=True)
class GradientConfig(ObjectiveConfig):
    """Settings of gradient matching.

    Attributes:
        network, width: the network whose gradients are matched; ``auto`` follows the samples.
        real_batch: real samples per class and step; all of a class that has fewer.
        augmented: siamese augmentation (DSA), real and synthetic samples of a class alike, and augmented
            training of the network; without it DC. Flat samples never are.
        outer: steps until a new random network takes over.
        inner: how many times the network is trained on all synthetic samples between two steps (of a set so
            large that steps see a share of it, on that share).
        network_learning_rate, momentum: of this training, by SGD.
        batch: how many samples a step of it looks at, at most.

    ``outer`` and ``inner`` that are None follow the samples per class (:func:`loops`).
    """

    network: str = "auto"
    width: int = 128
    real_batch: int = 256
    augmented: bool = True
    outer: int | None = None
    inner: int | None = None
    network_learning_rate: float = 0.01
    momentum: float = 0.0
    batch: int = 256

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        for name in ("width", "real_batch", "outer", "inner", "batch"):
            count = getattr(self, name)
            least = 0 if name == "inner" else 1
            if count is not None and count < least:
                raise ConfigError(f"{name} is {count}: expected at least {least}")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum is {self.momentum}: expected 0 or more, and less than 1")
        if not 0 < self.network_learning_rate < math.inf:
            raise ConfigError(f"network_learning_rate is {self.network_learning_rate}: expected more than 0")


def loops(per_class: float) -> tuple[int, int]:
    """Outer and inner loops for so many samples per class.

    Published are 1: (1, 1), 10: (10, 50) and 50: (50, 10). In between, as many outer loops as samples, and
    inner ones along straight lines on logarithmic scales; beyond, the last line goes on.
    """
    outer = min(max(round(per_class), 1), 50)
    inner = max(per_class, 1) ** math.log10(50) if per_class <= 10 else 500 / per_class
    return outer, max(1, round(inner))


class GradientMatching(Objective):
    """Sum over classes of the distance between gradients on real and on synthetic samples.

    The network lives between steps: it starts anew every ``outer`` steps, and before every other step it is
    trained on the synthetic samples as they then stand. A run's given network, if any, is what it starts
    from each time, instead of a random one.
    """

    def __init__(self, config: GradientConfig, setting: Setting, how: Acceleration | None = None) -> None:
        """``how`` forces an acceleration that would otherwise be chosen for the machine and the work."""
        self._config, self._seed, self._device = config, setting.seed, setting.device
        self._steps, self._given, self._forced = setting.steps, setting.extractor, how

    def prepare(self, data: TensorData, progress: Progress) -> None:
        config, spec = self._config, data.spec
        self._classes = [index.cpu() for index in data.class_indices()]
        self._present = [c for c, index in enumerate(self._classes) if len(index)]
        name = networks.default_network(spec) if config.network == "auto" else config.network
        if self._given is None:
            self._network = networks.build(name, spec, config.width)
        else:
            self._network = copy.deepcopy(self._given)
            self._start = copy.deepcopy(self._given.state_dict())
        self._network.to(self._device).eval().requires_grad_(True)
        largest = config.width * math.prod(spec.grid_shape[1:]) if name != "mlp" else spec.elements
        self._activations = max(largest, config.width)
        self._how = self._forced or self._acceleration()
        self._gradients = ClassGradients(self._network, self._how)
        self._forward = self._how.prepare(self._network)
        self._renew(0)

    def _acceleration(self) -> Acceleration:
        real = sum(min(len(index), self._config.real_batch) for index in self._classes)
        return choose(self._device, _SLOWER * self._steps * real * self._activations)

    def _chunk(self, how: Acceleration) -> int:
        """How many samples to look at together."""
        on_gpu = max(1, int(_ON_A_GPU / (4 * self._activations)))
        return how.chunk(self._activations) or on_gpu

    def real_indices(self, step: int) -> Tensor:
        """``real_batch`` samples of each class, or all it has, class by class, without replacement."""
        generator = torch_stream(self._seed, "real", step)
        return class_batches(self._classes, self._config.real_batch, generator, repeated=False)

    def loss(self, real: Batch | None, synthetic: Synthetic, step: int) -> Tensor:
        assert real is not None
        self._move(synthetic, step)
        drawn = draw(max(self._present) + 1, torch_stream(self._seed, "siamese", step), self._device)

        def seen(samples: Tensor, labels: Tensor) -> Tensor:
            return augment(samples, drawn.of(labels)) if self._config.augmented else samples

        with torch.no_grad():
            seen_real = Batch(seen(real.samples, real.labels), real.labels)
        seen_synthetic = synthetic._replace(samples=seen(synthetic.samples, synthetic.labels))
        return self._match(seen_real, seen_synthetic)

    def _match(self, real: Batch, synthetic: Synthetic) -> Tensor:
        """The distance, a few classes at a time: no graph outlives its classes."""
        have = set(synthetic.labels.tolist())
        classes = [c for c in self._present if c in have]
        theirs, ours = members(real.labels, classes), members(synthetic.labels, classes)
        at_once = self._classes_at_once(theirs, ours)
        total = torch.zeros((), device=self._device)
        pulls = [torch.zeros_like(synthetic.samples), torch.zeros_like(synthetic.targets)]
        for start in range(0, len(classes), at_once):
            some = theirs.take(start, start + at_once, trimmed=not self._how.compiled).to(self._device)
            mine = ours.take(start, start + at_once, trimmed=True).to(self._device)
            wanted = self._gradients.real(
                real.samples[some.index], real.labels[some.index], some.share, self._chunk(self._how)
            )
            value, found = self._pull(wanted, synthetic, mine)
            total += value
            filled = mine.share > 0
            for pull, part in zip(pulls, found, strict=False):
                pull[mine.index[filled]] = part[filled]
        pairs = [(synthetic.samples, pulls[0])]
        if synthetic.targets.is_floating_point():
            pairs.append((synthetic.targets, pulls[1]))
        return with_gradient(total, *pairs)

    def _pull(
        self, wanted: Gradients, synthetic: Synthetic, mine: Members
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The distance of some classes, and its gradients for their samples and, if soft, their targets."""
        samples = synthetic.samples.detach()[mine.index].requires_grad_()
        targets = synthetic.targets.detach()[mine.index]
        leaves = [samples]
        if targets.is_floating_point():
            leaves.append(targets.requires_grad_())
        value = distance(wanted, self._gradients.synthetic(samples, targets, mine.share))
        return value.detach(), torch.autograd.grad(value, leaves)

    def _classes_at_once(self, theirs: Members, ours: Members) -> int:
        """As many classes as memory allows, preferably a divisor of their number: chunks of one shape."""
        classes = len(theirs.index)
        in_float = Acceleration(self._device)
        most = min(
            self._chunk(self._how) // theirs.index.shape[1], self._chunk(in_float) // ours.index.shape[1]
        )
        most = min(max(most, 1), classes)
        return max(range(-(-most // 2), most + 1), key=lambda k: (-(-classes % k), k))

    def _move(self, synthetic: Synthetic, step: int) -> None:
        """Bring the network to where ``step`` matches gradients."""
        per_class = len(synthetic.labels) / len(set(synthetic.labels.tolist()))
        outer, inner = loops(per_class)
        outer = outer if self._config.outer is None else self._config.outer
        inner = inner if self._config.inner is None else self._config.inner
        iteration, position = divmod(step, outer)
        if position == 0:
            self._renew(iteration)
            return
        for number in range(inner):
            self._train(synthetic, torch_stream(self._seed, "train", step, number))

    def _renew(self, iteration: int) -> None:
        """A network that knows nothing yet (or the given one), and an optimiser without a past."""
        if self._given is None:
            networks.initialise(self._network, derive_seed(self._seed, "network", iteration))
        else:
            self._network.load_state_dict(self._start)
        config = self._config
        self._optimizer = torch.optim.SGD(
            self._network.parameters(), lr=config.network_learning_rate, momentum=config.momentum
        )

    def _train(self, synthetic: Synthetic, generator: torch.Generator) -> None:
        """Once through all samples, in equal batches (one shape, where networks are compiled)."""
        order = torch.randperm(len(synthetic.labels), generator=generator).to(self._device)
        for index in order.chunk(-(-len(order) // self._config.batch)):
            samples = synthetic.samples.detach()[index]
            if self._config.augmented:
                samples = augment(samples, draw(len(index), generator, self._device))
            with self._how.autocast():
                logits = self._forward(samples)
            self._optimizer.zero_grad()
            F.cross_entropy(logits.float(), synthetic.targets.detach()[index]).backward()
            self._optimizer.step()

    def state(self) -> dict[str, Any]:
        return {"network": self._network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
