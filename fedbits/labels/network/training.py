"""Training of a network that labels views: on what the receiver will see, to a number of bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fedbits.coding.weights import QuantisedTensor, encode_weights
from fedbits.data.spec import DataSpec
from fedbits.data.tensors import TensorData
from fedbits.errors import BudgetError, ConfigError
from fedbits.labels.network.config import LabellerConfig
from fedbits.labels.network.form import WIDEST, NetworkForm, form_for, started
from fedbits.labels.network.quantised import QuantisedWeights, landed
from fedbits.labels.views import Views
from fedbits.progress import SILENT, Progress
from fedbits.rng import derive_seed, torch_stream

Degrade = Callable[[Tensor], Tensor]  # of samples, to samples as a receiver has them

WORK = 1.5e12  # products of a training that takes about four minutes of one core
_FEWEST, _MOST = 300, 3000  # steps
_AIM = 0.985  # of the bytes there are, that training aims at
_PRICE = 4.0  # of missing that aim by its own size, in units of the loss
_FLOATING = 0.35  # of the steps, weights are not rounded yet
_MEASURED = 100  # steps between looks at what weights really take
_WARM = 0.05  # of the steps, the learning rate rises
_LEVEL_RATE = 1.0  # learning rate of steps, in units of that of weights


@dataclass(frozen=True)
class Trained:
    """A form, and its tensors as they travel."""

    form: NetworkForm
    tensors: list[QuantisedTensor]


def train_labeller(
    data: TensorData,
    config: LabellerConfig,
    limit: int,
    *,
    degrade: Degrade | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> Trained:
    """A network for views of such as ``data``, whose coded tensors take at most ``limit`` bytes.

    Args:
        degrade: makes of normalised samples what a receiver has of them; None leaves them as they are.

    Raises:
        BudgetError: no network fits.
        ConfigError: the training diverged.
    """
    form = chosen_form(data.spec, config, limit)
    shapes = form.shapes(data.spec)
    weights = QuantisedWeights(started(shapes, torch_stream(seed, "labeller"))).to(device)
    run = _Run(form, weights, config, limit, planned_steps(form, data.spec, config))
    run.train(data, degrade, seed, progress)
    if not all(bool(tensor.isfinite().all()) for tensor in weights.parameters()):
        raise ConfigError(
            f"the training of the network diverged: give a learning_rate below {config.learning_rate:g}"
        )
    fitting = landed(weights, limit)
    if fitting is None:
        raise BudgetError(_too_small(limit))
    return Trained(form, fitting)


def chosen_form(spec: DataSpec, config: LabellerConfig, limit: int) -> NetworkForm:
    """The form of the config's width, or the widest whose weights have its bits each in ``limit`` bytes.

    Raises:
        BudgetError: not even the narrowest could have a bit each.
    """
    if config.width:
        return form_for(spec, config.width)
    low, high = 1, WIDEST
    while low < high:
        middle = (low + high + 1) // 2
        fits = parameters(form_for(spec, middle), spec) * config.bits <= 8 * limit
        low, high = (middle, high) if fits else (low, middle - 1)
    if parameters(form_for(spec, low), spec) > 8 * limit:
        raise BudgetError(_too_small(limit))
    return form_for(spec, low)


def parameters(form: NetworkForm, spec: DataSpec) -> int:
    return sum(math.prod(shape) for shape in form.shapes(spec))


def planned_steps(form: NetworkForm, spec: DataSpec, config: LabellerConfig) -> int:
    """The config's, or as many as :data:`WORK` pays for, within bounds."""
    if config.steps:
        return config.steps
    return min(max(round(WORK / (config.batch * form.products(spec))), _FEWEST), _MOST)


@dataclass
class _Run:
    form: NetworkForm
    weights: QuantisedWeights
    config: LabellerConfig
    limit: int
    steps: int

    def train(self, data: TensorData, degrade: Degrade | None, seed: int, progress: Progress) -> None:
        groups: list[dict[str, Any]] = [
            {"params": list(self.weights.tensors)},
            {"params": [self.weights.levels], "lr": _LEVEL_RATE * self.config.learning_rate},
        ]
        optimizer = torch.optim.Adam(groups, lr=self.config.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        quantised_from, saving = round(_FLOATING * self.steps), 1.0
        lessons = _Lessons(data, self.config, degrade, seed, self.weights.levels.device)
        with progress.task("labelling network", self.steps) as task:
            for step, (samples, targets) in zip(range(self.steps), lessons, strict=False):
                rounded = step >= quantised_from
                tensors = self.weights() if rounded else list(self.weights.tensors)
                loss = F.cross_entropy(self.form.logits(tensors, samples), targets)
                total = loss
                if rounded:
                    if (step - quantised_from) % _MEASURED == 0:
                        saving = self._saving()
                    total = loss + _PRICE * self._miss(saving)
                optimizer.zero_grad()
                total.backward()
                optimizer.step()
                schedule.step()
                task.advance(note=f"loss {loss.item():.3f}" if step % 20 == 0 else "")

    def _rate(self, step: int) -> float:
        warm = max(1, round(_WARM * self.steps))
        return min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * step / self.steps))

    def _saving(self) -> float:
        """Bits that tensors really take, to those foreseen."""
        with torch.no_grad():
            return 8 * len(encode_weights(self.weights.quantised())) / max(float(self.weights.bits()), 1.0)

    def _miss(self, saving: float) -> Tensor:
        return (saving * self.weights.bits() / (8 * _AIM * self.limit)).log().abs()


@dataclass(frozen=True)
class _Lessons:
    """Batches of views of real samples, and the classes they are mixed of."""

    data: TensorData
    config: LabellerConfig
    degrade: Degrade | None
    seed: int
    device: torch.device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Views ``[b, *shape]`` and probabilities ``[b, classes]``, without end."""
        size = min(self.config.batch, len(self.data))
        seed = derive_seed(self.seed, "labeller", "views") % (1 << 32)
        views = Views(self.config.views(seed).suited(self.data.spec), len(self.data))
        for epoch in count():
            generator = torch_stream(self.seed, "labeller", "order", epoch)
            order = torch.randperm(len(self.data), generator=generator)
            for index in order[: len(order) - len(order) % size].split(size):
                targets = views.made_of(self._certain, epoch, index).to(self.device)
                yield views.make(self._samples, epoch, index), targets

    def _samples(self, index: Tensor) -> Tensor:
        samples = self.data.batch(index.to(self.data.labels.device)).samples.to(self.device)
        return samples if self.degrade is None else self.degrade(samples)

    def _certain(self, index: Tensor) -> Tensor:
        labels = self.data.labels[index.to(self.data.labels.device)].cpu()
        return F.one_hot(labels, self.data.spec.classes).float()


def _too_small(limit: int) -> str:
    return f"{limit:,} bytes are too few for a network that labels: give a larger budget"
