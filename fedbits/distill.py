"""From real data and a recipe to a synthetic set within its budget."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from fedbits import checkpoint as checkpoints
from fedbits.budget import Budget
from fedbits.data.tensors import TensorData
from fedbits.distilled_set import DistilledSet
from fedbits.errors import BudgetError, DataError
from fedbits.fit import check_budget, fit
from fedbits.labelling import check_share, labelled, network_alone
from fedbits.labels import CodecConfig
from fedbits.labels.fitting import compress
from fedbits.labels.teaching import TeachingConfig
from fedbits.matching import Setting
from fedbits.optimise import Optimisation, optimise
from fedbits.plan import Candidates, make_plan, start
from fedbits.progress import SILENT, Progress
from fedbits.recipe import Recipe
from fedbits.rng import derive_seed
from fedbits.selection import select
from fedbits.selection.mosaics import mosaics
from fedbits.teach import make_teacher, taught_within, teach


def distill(
    data: TensorData,
    recipe: Recipe,
    budget: Budget | None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
    checkpoint: Path | None = None,
    resume: bool = False,
    extractor: nn.Module | None = None,
) -> DistilledSet:
    """Distil ``data`` by ``recipe`` into a set whose blob has at most ``budget`` bytes.

    Args:
        data: real samples; a class without any has none in the set.
        budget: None stores the recipe's number of samples (10 a class by default) whatever they take.
        seed: decides everything; the same seed on the same machine gives the same blob.
        checkpoint: written every :data:`fedbits.optimise.CHECKPOINT_EVERY` steps; with ``resume`` the run
            starts from it.
        extractor: a network whose features are matched, instead of the recipe's own.

    Raises:
        DataError: ``data`` is empty.
        BudgetError: the budget is too small for one sample of each class, or for a network that labels.
        ConfigError: the checkpoint is missing, damaged or of other settings.
    """
    if not len(data):
        raise DataError(f"there are no samples of {data.spec.name} to distil: give at least one")
    if recipe.storage == "none":
        return _alone(data, recipe, budget, seed, device, progress)
    limit, room = _limits(data, recipe, budget)
    teacher = _teacher(data, recipe, extractor, seed, device, progress)
    candidates = _candidates(data, recipe, seed, teacher)
    distilled = start(candidates, make_plan(candidates, recipe, room), recipe)
    starting = copy.deepcopy(distilled)
    if room is not None:
        check_budget(distilled, room, may_shrink=recipe.ipc is None)
    if recipe.steps:
        objective_seed = derive_seed(seed, "objective")
        setting = Setting(objective_seed, torch.device(device), recipe.steps, extractor, teacher)
        run = Optimisation(distilled, data.to(device), recipe, room, seed, setting)
        networks = [checkpoints.weights_digest(network) for network in (extractor, teacher)]
        settings = checkpoints.fingerprint(data, recipe, limit, seed, str(device), *networks)
        optimise(run, progress, checkpoint, settings, resume)
    if room is not None:
        distilled = fit(distilled, starting, candidates, room, may_grow=recipe.ipc is None)
    if recipe.labels == "network":
        own = derive_seed(seed, "labelling")
        return labelled(distilled, data, recipe.labelling, limit, seed=own, device=device, progress=progress)
    if recipe.labels != "views" or recipe.teaching is None or teacher is None:
        return distilled
    return _taught(distilled, teacher, recipe.teaching, limit, seed, progress)


def _teacher(
    data: TensorData,
    recipe: Recipe,
    given: nn.Module | None,
    seed: int,
    device: torch.device | str,
    progress: Progress,
) -> nn.Module | None:
    """Who teaches, where the recipe wants a teacher: the network that was given, or one made for it."""
    if recipe.teaching is None or given is not None:
        return given if recipe.teaching is not None else None
    config, views = recipe.teaching, recipe.teaching.views.suited(data.spec)
    return make_teacher(data, config.teacher, views, seed=seed, device=device, progress=progress)


def _limits(data: TensorData, recipe: Recipe, budget: Budget | None) -> tuple[int | None, int | None]:
    """Bytes of the set, and what its labels of views leave of them to samples; None without a budget."""
    if budget is None:
        return None, None
    present = sum(count > 0 for count in data.class_counts())
    limit = budget.bytes(data.spec, present, None if recipe.ipc is None else recipe.ipc * present)
    if recipe.labels == "network":
        check_share(data, recipe.labelling, limit)
        return limit, round(limit * (1 - recipe.labelling.share))
    if recipe.teaching is None or recipe.labels != "views":
        return limit, limit
    return limit, round(limit * (1 - recipe.teaching.share))


def _alone(
    data: TensorData,
    recipe: Recipe,
    budget: Budget | None,
    seed: int,
    device: torch.device | str,
    progress: Progress,
) -> DistilledSet:
    """A network, and no samples."""
    if budget is None:
        raise BudgetError(f"recipe {recipe.name!r} has no samples to go by: give a budget such as 1KiB/class")
    limit = budget.bytes(data.spec, sum(count > 0 for count in data.class_counts()))
    own = derive_seed(seed, "labelling")
    return network_alone(
        data, recipe.labelling, limit, recipe.name, seed=own, device=device, progress=progress
    )


def _candidates(data: TensorData, recipe: Recipe, seed: int, teacher: nn.Module | None) -> Candidates:
    """What a set may start from, in the recipe's order."""
    if recipe.source == "mosaics" and teacher is not None:
        made = mosaics(data, teacher, derive_seed(seed, "mosaics"))
        return Candidates(made, made.class_indices(), seed)
    chosen = select(data, recipe.selection, recipe.ipc or max(data.class_counts()), seed)
    return Candidates(data, chosen, seed)


def _taught(
    distilled: DistilledSet,
    teacher: nn.Module,
    config: TeachingConfig,
    limit: int | None,
    seed: int,
    progress: Progress,
) -> DistilledSet:
    """``distilled`` with the teacher's labels of its views; without a limit, as float16."""
    views = replace(config.views, seed=derive_seed(seed, "views") % (1 << 32))
    taught = teach(distilled, teacher, views.suited(distilled.spec), config.temperature, progress)
    if limit is None:
        return distilled.taught(compress(taught, CodecConfig("float16"), seed))
    return taught_within(distilled, taught, config.codec, limit, seed, progress)
