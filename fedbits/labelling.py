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
from fedbits.labels.network.config import LabellerConfig
from fedbits.labels.network.form import form_for
from fedbits.labels.network.training import Degrade, Trained, parameters, train_labeller
from fedbits.parameterization import Parameterization
from fedbits.progress import SILENT, Progress
from fedbits.rng import derive_seed

_MESSAGE = 32  # bytes by which a blob says what its network is, at most


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
    left = limit - bare - _MESSAGE
    if left < least_bytes(data.spec):
        raise BudgetError(
            f"the budget of {limit:,} bytes leaves nothing for a network that labels: the samples take "
            f"{bare:,}, and the smallest network {least_bytes(data.spec) + _MESSAGE:,}"
        )
    degrade = degraded_by(distilled.parameterization, device)
    trained = train_labeller(data, config, left, degrade=degrade, seed=seed, device=device, progress=progress)
    return distilled.labelled(_travelling(trained, config, data.spec, seed))


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
    check_alone(data.spec, recipe, limit)
    left = limit - container.framing(data.spec, recipe) - _MESSAGE
    trained = train_labeller(data, config, left, seed=seed, device=device, progress=progress)
    return DistilledSet.alone(data.spec, _travelling(trained, config, data.spec, seed), recipe)


def check_share(spec: DataSpec, config: LabellerConfig, limit: int) -> None:
    """Raise :class:`BudgetError`, before any work, unless the network's share is enough for the smallest."""
    least = math.ceil((least_bytes(spec) + _MESSAGE) / config.share)
    if limit < least:
        raise BudgetError(
            f"the network's share of {limit:,} bytes is too small for any that labels {spec.name}: give "
            f"{least:,} bytes or more, or labels other than a network's"
        )


def check_alone(spec: DataSpec, recipe: str, limit: int) -> None:
    """Raise :class:`BudgetError` unless ``limit`` bytes are enough for the smallest network alone."""
    least = container.framing(spec, recipe) + _MESSAGE + least_bytes(spec)
    if limit < least:
        raise BudgetError(
            f"no network for {spec.name} fits {limit:,} bytes: the smallest that would do is {least:,} bytes"
        )


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


def _travelling(trained: Trained, config: LabellerConfig, spec: DataSpec, seed: int) -> NetworkLabels:
    views = config.views(derive_seed(seed, "views") % (1 << 32)).suited(spec)
    return NetworkLabels(views, config.temperature, trained.form, tuple(trained.tensors))
