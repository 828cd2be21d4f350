"""Strategies of Avalanche by name: with compressed memory, and at equal bytes with raw samples."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import (
    accuracy_metrics,
    forgetting_metrics,
    loss_metrics,
)
from avalanche.logging import CSVLogger, TensorboardLogger
from avalanche.training.plugins import (
    EvaluationPlugin,
    GDumbPlugin,
    ReplayPlugin,
)
from avalanche.training.storage_policy import ReservoirSamplingBuffer
from avalanche.training.supervised import DER, ER_ACE, ICaRL
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from fedbits import networks
from fedbits.errors import BudgetError, ConfigError, unknown
from fedbits.progress import Progress, Task
from scenarios.buffer import CompressedBuffer
from scenarios.memory import MemoryConfig
from scenarios.raw import raw_samples, sample_bytes
from scenarios.stream import Stream


@dataclass(frozen=True)
class Training:
    """How an Avalanche strategy trains: SGD without momentum, as in the protocols of ER and DER.

    Attributes:
        width: of the ConvNet, or of the MLP of flat samples.
        epochs: passes over an experience; 1 is a single pass.
        batch: of the stream; as many come from the memory.
    """

    width: int = 64
    epochs: int = 1
    batch: int = 32
    learning_rate: float = 0.03


@dataclass(frozen=True)
class Setting:
    """All that a strategy is made of.

    Attributes:
        memory: capacity in bytes, and of compressed memories how they are filled.
        logs: folder for TensorBoard and CSV.
    """

    stream: Stream
    memory: MemoryConfig
    training: Training
    seed: int
    device: str
    progress: Progress
    logs: Path

    def network(self) -> nn.Module:
        """Freshly initialised from the seed, with a head of all classes."""
        spec = self.stream.data.spec
        return networks.build(networks.default_network(spec), spec, self.training.width, self.seed).to(
            self.device
        )

    def raw(self, logits: bool = False) -> int:
        """Raw samples that the capacity holds."""
        return raw_samples(self.memory.capacity, self.stream.data.spec, logits)

    def buffer(self, logits: bool = False) -> CompressedBuffer:
        return CompressedBuffer(self.stream.data.spec, self.memory, self.seed, logits, self.progress)

    def common(self, model: nn.Module, plugins: list[Any]) -> dict[str, Any]:
        """Arguments that all strategies take."""
        training = self.training
        evaluator = EvaluationPlugin(
            accuracy_metrics(epoch=True, experience=True, stream=True),
            loss_metrics(epoch=True, experience=True),
            forgetting_metrics(experience=True),
            loggers=[CSVLogger(str(self.logs)), TensorboardLogger(str(self.logs))],
        )
        return {
            "optimizer": torch.optim.SGD(model.parameters(), lr=training.learning_rate),
            "train_mb_size": training.batch,
            "train_epochs": training.epochs,
            "eval_mb_size": 256,
            "device": self.device,
            "plugins": [*plugins, ProgressPlugin(self.progress)],
            "evaluator": evaluator,
        }

    def template(self, *plugins: Any) -> SupervisedTemplate:
        model = self.network()
        return SupervisedTemplate(
            model=model, criterion=nn.CrossEntropyLoss(), **self.common(model, list(plugins))
        )


class ProgressPlugin(SupervisedPlugin):
    """Shows the iterations of each experience."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._shown: Any = None
        self._task: Task | None = None

    def before_training(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self._task = None

    def before_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        if self._task is None:  # not before other plugins have made their data loaders
            total = strategy.train_epochs * len(strategy.dataloader)
            self._shown = self._progress.task("training", total)
            self._task = self._shown.__enter__()

    def after_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        if self._task is not None:
            step = strategy.clock.train_exp_iterations
            self._task.advance(note=f"loss {strategy.loss.item():.3f}" if step % 20 == 0 else "")

    def after_training(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        if self._task is not None:
            self._shown.__exit__(None, None, None)
            self._task = None


class SmallBatchDER(DER):
    """Avalanche's DER++, which replays even where the memory is less than a batch."""

    def _before_training_exp(self, **kwargs: Any) -> None:
        policy = self.storage_policy
        held = len(policy.memory if isinstance(policy, CompressedBuffer) else policy.buffer)
        self.batch_size_mem = max(1, min(self.train_mb_size, held))
        super()._before_training_exp(**kwargs)


class Features(nn.Module):
    """A network without its classifier, for iCaRL."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, samples: Tensor) -> Tensor:
        features: Tensor = self.network.features(samples)  # type: ignore[operator]
        return features


# ------------------------------------------------------------------------------------------ by name


def _er(setting: Setting) -> SupervisedTemplate:
    return setting.template(ReplayPlugin(setting.memory.capacity, storage_policy=setting.buffer()))


def _der(setting: Setting) -> SupervisedTemplate:
    model = setting.network()
    strategy = SmallBatchDER(model=model, **setting.common(model, []))
    strategy.storage_policy = setting.buffer(logits=True)
    return strategy


def _gdumb(setting: Setting) -> SupervisedTemplate:
    plugin = GDumbPlugin(setting.memory.capacity)
    plugin.storage_policy = setting.buffer()
    return _from_scratch(setting, plugin)


def _stock_gdumb(setting: Setting) -> SupervisedTemplate:
    return _from_scratch(setting, GDumbPlugin(setting.raw()))


def _from_scratch(setting: Setting, plugin: GDumbPlugin) -> SupervisedTemplate:
    strategy = setting.template(plugin)
    plugin.init_model = copy.deepcopy(strategy.model)  # the plugin would take that of a resumed run
    return strategy


def _stock_replay(setting: Setting) -> SupervisedTemplate:
    return setting.template(ReplayPlugin(setting.raw()))


def _stock_reservoir(setting: Setting) -> SupervisedTemplate:
    many = setting.raw()
    return setting.template(ReplayPlugin(many, storage_policy=ReservoirSamplingBuffer(many)))


def _stock_der(setting: Setting) -> SupervisedTemplate:
    model = setting.network()
    return SmallBatchDER(model=model, mem_size=setting.raw(logits=True), **setting.common(model, []))


def _stock_er_ace(setting: Setting) -> SupervisedTemplate:
    model, many = setting.network(), setting.raw()
    return ER_ACE(
        model=model,
        mem_size=many,
        batch_size_mem=min(many, setting.training.batch),
        **setting.common(model, []),
    )


def _stock_icarl(setting: Setting) -> SupervisedTemplate:
    """iCaRL with a quota for each class from the start: of a shared memory, Avalanche rounds them up."""
    model, classes = setting.network(), setting.stream.data.spec.classes
    each = setting.raw() // classes
    if not each:
        least = classes * sample_bytes(setting.stream.data.spec)
        raise BudgetError(
            f"a memory of {setting.memory.capacity:,} bytes is too small for a raw sample of each of "
            f"{classes} classes: the smallest that would do is {least:,} bytes"
        )
    return ICaRL(
        feature_extractor=Features(model),
        classifier=model.classifier,
        memory_size=each,
        buffer_transform=None,
        fixed_memory=False,
        **setting.common(model, []),
    )


COMPRESSED: dict[str, Callable[[Setting], SupervisedTemplate]] = {
    "er": _er,
    "der": _der,
    "avalanche-gdumb": _gdumb,
}
STOCK: dict[str, Callable[[Setting], SupervisedTemplate]] = {
    "stock-gdumb": _stock_gdumb,
    "stock-replay": _stock_replay,
    "stock-reservoir": _stock_reservoir,
    "stock-der": _stock_der,
    "stock-icarl": _stock_icarl,
    "stock-er-ace": _stock_er_ace,
}


def build(name: str, setting: Setting) -> SupervisedTemplate:
    """The strategy ``name``.

    Raises:
        ConfigError: no such strategy.
        BudgetError: the memory cannot hold one raw sample (of each class, where it must).
    """
    known = COMPRESSED | STOCK
    if name not in known:
        raise ConfigError(unknown("strategy", name, known))
    return known[name](setting)
