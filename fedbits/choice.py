"""``--recipe auto``: the recipe, and the split of the bytes, that learns the data at hand best at a budget.

A search in two turns, on training data alone. First every way of making samples is tried, and a network
alone; then the best samples share their bytes with a network that labels them. All are made of one part of
the training data and judged on the rest, with fewer steps than a recipe takes in the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fedbits import checkpoint, recipes
from fedbits.budget import Budget
from fedbits.data.tensors import TensorData
from fedbits.errors import BudgetError
from fedbits.evaluate import PROTOCOLS, Protocol
from fedbits.files import cache_folder
from fedbits.progress import SILENT, Progress
from fedbits.recipe import Recipe
from fedbits.sweep import Result, SweepConfig, ranked, run

_JUDGING = replace(PROTOCOLS["laptop"], steps=500)


@dataclass(frozen=True)
class ChoiceConfig:
    """What is tried, and how it is judged.

    Attributes:
        recipes: names; one without samples is tried as it is.
        shares: of the bytes, that a network takes beside the best samples.
        steps: of optimisation, in a trial.
        validation: the share of the training data, stratified, that is held out to judge by.
        protocol: of the one network that judges a trial.
    """

    recipes: tuple[str, ...] = ("quadd", "speed", "ruo", "herding", "random", "network")
    shares: tuple[float, ...] = (0.3, 0.6)
    steps: int = 100
    validation: float = 0.1
    protocol: Protocol = _JUDGING


@dataclass(frozen=True)
class Choice:
    """What was chosen, and all that was tried, the best first."""

    recipe: Recipe
    tried: tuple[Result, ...]

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        first, *others = (f"{one.point.series} {100 * one.accuracy:.1f} %" for one in self.tried if one.done)
        return f"{first} of held-out training data" + (f", before {', '.join(others)}" if others else "")

    def document(self) -> dict[str, Any]:
        """For JSON."""
        best = self.tried[0].record()
        return {
            "recipe": self.recipe.name,
            "share": best["share"] or 0.0,
            "reason": self.reason,
            "tried": [one.record() for one in self.tried],
        }


def choose(
    data: TensorData,
    budget: Budget,
    config: ChoiceConfig = ChoiceConfig(),
    *,
    seed: int = 0,
    device: str = "cpu",
    folder: Path | None = None,
    progress: Progress = SILENT,
) -> Choice:
    """The recipe for ``data`` at ``budget`` by ``config``.

    Trials are kept, so that the same call has its answer at once, and an interrupted one goes on.

    Args:
        folder: where trials are kept; None: in the cache, by data, budget, seed and settings.

    Raises:
        BudgetError: nothing that was tried fits the budget.
        DataError: there are too few samples to hold some out.
    """
    sweep = partial(
        SweepConfig,
        bits=(),
        factors=(),
        budgets=(budget,),
        steps=config.steps,
        validation=config.validation,
        protocol=config.protocol,
        seed=seed,
        device=device,
    )
    where = folder or _cached(data, config, seed, device)
    known = {name: recipes.get(name) for name in config.recipes}
    tried = run(data, sweep(recipes=tuple(known.values()), shares=()), where, progress=progress).results
    samples = [one for one in ranked(tried) if one.done and one.point.recipe.storage != "none"]
    if samples and config.shares:
        best = (known[samples[0].point.recipe.name],)
        tried += run(data, sweep(recipes=best, shares=config.shares), where, progress=progress).results
    first = ranked(tried)[0]
    if not first.done:
        raise BudgetError(f"no recipe fits the budget: {first.outcome.reason}")
    chosen = replace(first.point, recipe=known[first.point.recipe.name]).complete()
    return Choice(chosen, tuple(ranked(tried)))


def _cached(data: TensorData, config: ChoiceConfig, seed: int, device: str) -> Path:
    """The folder of searches under these conditions; a search of another budget adds to it."""
    digest = checkpoint.fingerprint(data, config, seed, device, version("fedbits"))
    return cache_folder("choices") / digest[:32]
