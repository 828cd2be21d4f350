"""Teachers, and what they say of the views of a set (fast knowledge distillation; VQAE, Eq. 1)."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from fedbits import container, evaluate
from fedbits.data.spec import DataSpec
from fedbits.data.tensors import Batch, Labelled, Lesson, TensorData
from fedbits.distilled_set import DistilledSet
from fedbits.errors import BudgetError, ConfigError, DataError
from fedbits.files import write_atomic
from fedbits.labels import Views, ViewsConfig
from fedbits.labels.fitting import TaughtLabels, compress_to
from fedbits.labels.teaching import TeacherConfig
from fedbits.progress import SILENT, Progress
from fedbits.rng import derive_seed

_BATCH = 512
_TORCHVISION = "torchvision:"
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # what torchvision's weights were trained with


@dataclass(frozen=True)
class ViewedData:
    """Real data seen through views, whose classes are mixed as the samples are."""

    data: TensorData
    config: ViewsConfig
    learning_rate: None = None

    @property
    def spec(self) -> DataSpec:
        return self.data.spec

    @property
    def labels(self) -> Tensor:
        return self.data.labels

    @property
    def targets(self) -> Tensor:
        return self.data.labels

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, index: Tensor | None = None) -> Batch:
        return self.data.batch(index)

    def lesson(self, index: Tensor, epoch: int, device: torch.device | str = "cpu") -> Lesson:
        views = Views(replace(self.config, epochs=(1 << 32) - 1), len(self))
        share = views.shares(epoch, index)[:, None]
        own, other = (self._certain(places) for places in (index, views.partners(epoch, index)))
        return Lesson(
            views.make(lambda places: self.data.batch(places).samples, epoch, index),
            share * own + (1 - share) * other,
            torch.ones(len(index), dtype=torch.bool),
            torch.ones(len(index)),
        )

    def _certain(self, index: Tensor) -> Tensor:
        return nn.functional.one_hot(self.labels[index].cpu(), self.spec.classes).float()


class _Torchvision(nn.Module):
    """A network of torchvision's, for samples that are normalised otherwise and may be grey."""

    def __init__(self, network: nn.Module, spec: DataSpec) -> None:
        super().__init__()
        self.network = network
        scale, offset, mean, std = (
            torch.tensor(values).view(1, -1, 1, 1) for values in (spec.std, spec.mean, *_IMAGENET)
        )
        # Of samples to what the network was trained on, in one product and one sum.
        self.factor, self.shift = nn.Buffer(scale / std), nn.Buffer((offset - mean) / std)

    def forward(self, samples: Tensor) -> Tensor:
        return self.network(samples * self.factor + self.shift)


def make_teacher(
    data: TensorData,
    config: TeacherConfig,
    views: ViewsConfig,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> nn.Module:
    """The network of ``config``, with its weights from a file or trained on such views of ``data``.

    Raises:
        ConfigError: there is no such network, or it cannot take such samples.
        DataError: the file is not there, or not of weights of this network; or there are no samples.
    """
    if config.network.startswith(_TORCHVISION):
        network: nn.Module = _torchvision(config, data.spec)
    else:
        protocol = evaluate.protocol("laptop", network=config.network, width=config.width, steps=config.steps)
        network = evaluate.build_network(
            data, evaluate.settled(protocol, data.spec), derive_seed(seed, "teacher")
        )
    if config.weights is not None:
        load_weights(network, Path(config.weights))
        return network.to(device).eval()
    if not len(data):
        raise DataError(f"there are no samples of {data.spec.name} to train a teacher on")
    network = network.to(device)
    viewed = ViewedData(data, views)
    evaluate.train(
        network, viewed, protocol, seed=derive_seed(seed, "teaching"), progress=progress, title="teacher"
    )
    return network.eval()


def teach(
    distilled: Labelled,
    teacher: nn.Module,
    views: ViewsConfig,
    temperature: float = 1.0,
    progress: Progress = SILENT,
) -> TaughtLabels:
    """The probabilities that ``teacher`` gives each view of ``distilled``, at ``temperature``."""
    device = next(teacher.parameters()).device
    samples = distilled.batch().samples.to(device)
    made = Views(views, len(samples))
    every = torch.empty(views.epochs, len(samples), distilled.spec.classes, dtype=torch.float16)
    teacher.eval()
    with torch.no_grad(), progress.task("labels", views.epochs) as task:
        for epoch in range(views.epochs):
            for index in torch.arange(len(samples)).split(_BATCH):
                seen = made.make(lambda places: samples[places.to(device)], epoch, index)
                every[epoch, index] = (teacher(seen).float() / temperature).softmax(1).half().cpu()
            task.advance()
    return TaughtLabels(views, temperature, every, distilled.labels)


def taught_within(
    distilled: DistilledSet,
    taught: TaughtLabels,
    codec: str,
    limit: int,
    seed: int = 0,
    progress: Progress = SILENT,
) -> DistilledSet:
    """``distilled`` with labels of views by ``codec``, in a blob of at most ``limit`` bytes.

    Raises:
        BudgetError: samples or labels alone take more.
    """
    bare = len(container.encode(distilled.bare()))
    left = limit - bare
    while left > 0:
        found = distilled.taught(compress_to(taught, codec, left, seed, progress))
        excess = len(container.encode(found)) - limit
        if excess <= 0:
            return found
        left -= excess  # the few bytes by which the message says what the labels are
    raise BudgetError(f"the budget of {limit:,} bytes leaves nothing for labels: the samples take {bare:,}")


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the state dictionary of ``network``, whole or not at all."""
    held = io.BytesIO()
    torch.save(network.state_dict(), held)
    write_atomic(path, held.getvalue())


def load_weights(network: nn.Module, path: Path) -> None:
    """Put the weights of a file (a state dictionary) into ``network``.

    Raises:
        DataError: the file cannot be read, or is not of weights of this network.
    """
    inner = network.network if isinstance(network, _Torchvision) else network
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        inner.load_state_dict(state)
    except OSError as error:
        raise DataError(f"cannot read the teacher's weights {path}: {error.strerror}") from error
    except (RuntimeError, TypeError, AttributeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} does not hold weights of this teacher: {reason}") from error


def _torchvision(config: TeacherConfig, spec: DataSpec) -> nn.Module:
    name = config.network.removeprefix(_TORCHVISION)
    if config.weights is None:
        raise ConfigError(f"the teacher {config.network} needs a file of weights: give --teacher FILE")
    if not spec.is_grid or spec.shape[0] not in (1, 3) or spec.dtype != "uint8":
        raise ConfigError(f"the teacher {config.network} takes images, not samples of shape {spec.shape}")
    import torchvision  # takes as long to load as all of fedbits

    try:
        return _Torchvision(torchvision.models.get_model(name, weights=None, num_classes=spec.classes), spec)
    except ValueError as error:
        raise ConfigError(f"torchvision has no network {name!r}") from error
