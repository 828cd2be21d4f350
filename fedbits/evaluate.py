"""Train fresh networks on a set, real or distilled, and test them: the published protocols, by name."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import mean, stdev

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedbits import networks
from fedbits.acceleration import Acceleration, choose
from fedbits.augment import augment, draw
from fedbits.data.spec import DataSpec
from fedbits.data.tensors import Labelled, Lesson
from fedbits.errors import ConfigError, DataError, MismatchError, unknown
from fedbits.progress import SILENT, Progress
from fedbits.rng import derive_seed, torch_stream

_TEST_BATCH = 512


@dataclass(frozen=True)
class Protocol:
    """How a network is trained on a set before it is tested.

    Attributes:
        network: ``auto`` is the ConvNet for images, the beam CNN for beams, the MLP for flat samples.
        width: of these three; the other networks have their published widths.
        epochs, steps: exactly one is given; a step is one batch.
        augmented: DSA augmentation, one operation a batch, each image with its own draw; of pictures only.
        learned_rate: take the learning rate that came with the set, where one did (MTT).
        bfloat16: None follows the machine.
    """

    name: str
    network: str = "auto"
    width: int = 128
    epochs: int | None = None
    steps: int | None = None
    batch: int = 256
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augmented: bool = True
    learned_rate: bool = False
    bfloat16: bool | None = None

    def total_steps(self, samples: int) -> int:
        """Batches to train on for a set of ``samples``."""
        if self.steps is not None:
            return self.steps
        return (self.epochs or 0) * -(-samples // self.batch)


PROTOCOLS: dict[str, Protocol] = {
    "dsa": Protocol("dsa", epochs=1000, bfloat16=False),
    "mtt": Protocol("mtt", epochs=1000, learned_rate=True, bfloat16=False),
    "laptop": Protocol("laptop", width=64, steps=1500),
}


@dataclass(frozen=True)
class Evaluation:
    """Final test accuracies of independently trained networks, each in [0, 1]."""

    accuracies: tuple[float, ...]
    seconds: float

    @property
    def mean(self) -> float:
        return mean(self.accuracies)

    @property
    def std(self) -> float:
        """Sample standard deviation over networks; 0 for a single one."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0


def protocol(name: str, **overrides: object) -> Protocol:
    """The protocol ``name`` with the given fields replaced (those that are None are left as they are).

    Raises:
        ConfigError: no such protocol.
    """
    if name not in PROTOCOLS:
        raise ConfigError(unknown("protocol", name, PROTOCOLS))
    given = {key: value for key, value in overrides.items() if value is not None}
    return replace(PROTOCOLS[name], **given)  # type: ignore[arg-type]


def settled(protocol: Protocol, spec: DataSpec) -> Protocol:
    """``protocol`` with the network that trains on samples of ``spec`` by its name.

    Raises:
        ConfigError: the network cannot take such samples. Better to know before others are trained.
    """
    automatic = protocol.network == "auto"
    settled = replace(protocol, network=networks.default_network(spec)) if automatic else protocol
    networks.check(settled.network, spec)
    return settled


def evaluate(
    data: Labelled,
    test: Labelled,
    protocol: Protocol,
    *,
    repeats: int = 5,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> Evaluation:
    """Train ``repeats`` fresh networks on ``data`` and test each, after its last step, on ``test``.

    Raises:
        MismatchError: ``data`` and ``test`` are not of one task.
        DataError: one of them is empty.
        ConfigError: the protocol's network does not exist or cannot take such samples.
    """
    found = evaluate_on(
        data, {"": test}, protocol, repeats=repeats, seed=seed, device=device, progress=progress
    )
    return found[""]


def evaluate_on(
    data: Labelled,
    tests: Mapping[str, Labelled],
    protocol: Protocol,
    *,
    repeats: int = 5,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> dict[str, Evaluation]:
    """:func:`evaluate` on several test sets, by name: each network is trained once and tested on each.

    Raises:
        MismatchError, DataError, ConfigError: as :func:`evaluate`.
    """
    for test in tests.values():
        _check_samples(data, test)
    started = time.monotonic()
    accuracies: dict[str, list[float]] = {name: [] for name in tests}
    for repeat in range(repeats):
        run_seed = derive_seed(seed, "evaluate", repeat)
        network = build_network(data, protocol, run_seed).to(device)
        train(
            network,
            data,
            protocol,
            seed=run_seed,
            progress=progress,
            title=f"training {repeat + 1}/{repeats}",
        )
        for name, test in tests.items():
            accuracies[name].append(accuracy(network, test))
    seconds = time.monotonic() - started
    return {name: Evaluation(tuple(found), seconds) for name, found in accuracies.items()}


def _check_samples(data: Labelled, test: Labelled) -> None:
    check_task(data, test)
    if not len(data) or not len(test):
        raise DataError(
            f"the {'test' if len(data) else 'training'} set of {data.spec.name} has no samples"
            + ("" if len(data) else ": nothing can be trained on it, nor on a network alone")
        )


def check_task(data: Labelled, test: Labelled) -> None:
    """Raise :class:`MismatchError` unless a network trained on ``data`` can be tested on ``test``."""
    if not data.spec.same_task(test.spec):
        raise MismatchError(
            f"the set is of {data.spec.name} (shape {data.spec.shape}, {data.spec.classes} classes), the "
            f"test data of {test.spec.name} (shape {test.spec.shape}, {test.spec.classes} classes): "
            f"give --data {data.spec.name}"
        )


def build_network(data: Labelled, protocol: Protocol, seed: int) -> nn.Module:
    """The protocol's network for the task of ``data``, freshly initialised from ``seed``."""
    name = networks.default_network(data.spec) if protocol.network == "auto" else protocol.network
    return networks.build(name, data.spec, protocol.width, seed)


def train(
    network: nn.Module,
    data: Labelled,
    protocol: Protocol,
    *,
    seed: int,
    progress: Progress = SILENT,
    title: str = "training",
) -> None:
    """Train ``network`` in place on its own device; the learning rate falls to a tenth once, halfway."""
    device = next(network.parameters()).device
    steps = protocol.total_steps(len(data))
    how = choose(device, _activations(protocol, data, steps), protocol.bfloat16)
    forward = how.prepare(network)
    if protocol.learned_rate and data.learning_rate is not None:
        protocol = replace(protocol, learning_rate=data.learning_rate)
    optimizer = _optimizer(network, protocol, 1.0)
    network.train()
    with progress.task(title, steps) as task:
        for step in range(steps):
            if step == steps // 2 and step:
                optimizer = _optimizer(network, protocol, 0.1)
            lesson = _lesson(data, protocol, seed, step, device)
            with how.autocast():
                logits = forward(lesson.samples)
            loss = taught_loss(logits.float(), lesson)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            task.advance(note=f"loss {loss.item():.3f}" if step % 20 == 0 else "")


def taught_loss(logits: Tensor, lesson: Lesson) -> Tensor:
    """Cross-entropy of ``logits`` ``[b, classes]`` and what ``lesson`` teaches, at its temperature.

    It differs by a constant from the divergence of VQAE's Eq. 10, but for the square of the temperature, by
    which its gradient would be smaller (Hinton et al., 2015).
    """
    if bool((lesson.temperature == 1).all()):
        return F.cross_entropy(logits, lesson.targets)
    temperature = lesson.temperature.to(logits.device)
    losses = F.cross_entropy(logits / temperature[:, None], lesson.targets, reduction="none")
    return (temperature.square() * losses).mean()


def accuracy(network: nn.Module, data: Labelled) -> float:
    """Share of ``data`` that ``network`` classifies correctly, in [0, 1]."""
    device = next(network.parameters()).device
    how = Acceleration(device)
    network.eval()
    correct = 0
    with torch.no_grad(), how.autocast():
        for index in torch.arange(len(data)).split(_TEST_BATCH):
            samples, labels = data.batch(index)
            correct += int((network(samples.to(device)).argmax(1).cpu() == labels.cpu()).sum())
    return correct / len(data)


def _optimizer(network: nn.Module, protocol: Protocol, share: float) -> torch.optim.SGD:
    return torch.optim.SGD(
        network.parameters(),
        lr=protocol.learning_rate * share,
        momentum=protocol.momentum,
        weight_decay=protocol.weight_decay,
    )


def _lesson(data: Labelled, protocol: Protocol, seed: int, step: int, device: torch.device) -> Lesson:
    """What batch ``step`` teaches: each epoch visits all samples once, in its own order."""
    size = min(protocol.batch, len(data))
    per_epoch = -(-len(data) // size)
    epoch, position = divmod(step, per_epoch)
    order = torch.randperm(len(data), generator=torch_stream(seed, "order", epoch))
    lesson = data.lesson(order[position * size : (position + 1) * size], epoch, device).to(device)
    augmented = protocol.augmented and data.spec.pictures
    if not augmented or bool(lesson.viewed.all()):
        return lesson
    drawn = draw(len(lesson.samples), torch_stream(seed, "augment", step), device)
    moved = augment(lesson.samples, drawn)
    if bool(lesson.viewed.any()):
        viewed = lesson.viewed.view(-1, *[1] * (moved.dim() - 1)).to(device)
        moved = torch.where(viewed, lesson.samples, moved)
    return lesson._replace(samples=moved)


def _activations(protocol: Protocol, data: Labelled, steps: int) -> float:
    """About how many numbers the forward passes of a run compute (the first block dominates).

    None worth compiling for in published networks: products dominate them. VGG-11 became no faster
    on the CPU (1.3 s a step either way).
    """
    if protocol.network != "auto" and not networks.has_width(protocol.network):
        return 0.0
    _, height, width = data.spec.grid_shape
    return float(steps) * min(protocol.batch, len(data)) * protocol.width * height * width
