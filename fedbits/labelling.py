"""A network that labels views, made for a set and for the bytes there are; or a network alone."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from fedbits import container
from fedbits.data.spec import DataSpec
from fedbits.data.tensors import TensorData
from fedbits.distilled_set import DistilledSet
from fedbits.errors import BudgetError
from fedbits.labels import NetworkLabels
from fedbits.labels.network import known as knowledge
from fedbits.labels.network.config import LabellerConfig
from fedbits.labels.network.form import form_for
from fedbits.labels.network.training import Degrade, Trained, parameters, train_labeller
from fedbits.parameterization import Parameterization
from fedbits.progress import SILENT, Progress
from fedbits.rng import derive_seed

# Bytes by which a blob says what its network is, and that it says what it knows, at most.
_MESSAGE, _KNOWN = 32, 3


def labelled(
    distilled: DistilledSet,
    data: TensorData,
    config: LabellerConfig,
    limit: int | None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> DistilledSet:
    """``distilled`` with a network that labels its views, in a blob of at most ``limit`` bytes.

    The network is trained on real ``data`` as a receiver would have it of such a set. Without a limit, it
    takes its share of what samples and network take together.

    Raises:
        BudgetError: the samples leave too little.
    """
    bare = len(container.encode(distilled.bare()))
    if limit is None:
        limit = math.ceil(bare / (1 - config.share))
    left = limit - bare - _message(data)
    if left < least_bytes(data.spec):
        raise BudgetError(
            f"the budget of {limit:,} bytes leaves nothing for a network that labels: the samples take "
            f"{bare:,}, and the smallest network {least_bytes(data.spec) + _message(data):,}"
        )
    degrade = degraded_by(distilled.parameterization, device)
    trained = train_labeller(data, config, left, degrade=degrade, seed=seed, device=device, progress=progress)
    return distilled.labelled(_travelling(trained, config, data, seed))


def network_alone(
    data: TensorData,
    config: LabellerConfig,
    limit: int,
    recipe: str = "",
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> DistilledSet:
    """A network for samples such as ``data``, and no samples, in a blob of at most ``limit`` bytes.

    Raises:
        BudgetError: the smallest network takes more.
    """
    check_alone(data, recipe, limit)
    left = limit - container.framing(data.spec, recipe) - _message(data)
    trained = train_labeller(data, config, left, seed=seed, device=device, progress=progress)
    return DistilledSet.alone(data.spec, _travelling(trained, config, data, seed), recipe)


def check_share(data: TensorData, config: LabellerConfig, limit: int) -> None:
    """Raise :class:`BudgetError`, before any work, unless the network's share is enough for the smallest."""
    least = math.ceil((least_bytes(data.spec) + _message(data)) / config.share)
    if limit < least:
        raise BudgetError(
            f"the network's share of {limit:,} bytes is too small for any that labels {data.spec.name}: give "
            f"{least:,} bytes or more, or labels other than a network's"
        )


def check_alone(data: TensorData, recipe: str, limit: int) -> None:
    """Raise :class:`BudgetError` unless ``limit`` bytes are enough for the smallest network alone."""
    least = container.framing(data.spec, recipe) + _message(data) + least_bytes(data.spec)
    if limit < least:
        raise BudgetError(
            f"no network for {data.spec.name} fits {limit:,} bytes: "
            f"the smallest that would do is {least:,} bytes"
        )


def _message(data: TensorData) -> int:
    """Bytes by which a blob says what its network is and what it knows, at most."""
    return _MESSAGE + _KNOWN + len(knowledge.told(data.class_counts()))


def least_bytes(spec: DataSpec) -> int:
    """What the smallest network takes, at a bit a weight."""
    return math.ceil(parameters(form_for(spec, 1), spec) / 8)


def degraded_by(parameterization: Parameterization, device: torch.device | str = "cpu") -> Degrade:
    """Makes of real samples on ``device`` what a receiver would have of them, were they stored as others."""
    store = copy.deepcopy(parameterization).to(device).eval()

    def degrade(samples: Tensor) -> Tensor:
        with torch.no_grad():
            return store.degraded(samples)

    return degrade


def _travelling(trained: Trained, config: LabellerConfig, data: TensorData, seed: int) -> NetworkLabels:
    views = config.views(derive_seed(seed, "views") % (1 << 32)).suited(data.spec)
    known = knowledge.told(data.class_counts())
    return NetworkLabels(views, config.temperature, trained.form, tuple(trained.tensors), known)
