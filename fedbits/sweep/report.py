"""What a sweep leaves behind: every figure with what it takes to believe it, and the best recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from fedbits import recipe_toml
from fedbits.files import write_atomic
from fedbits.machine import machine
from fedbits.sweep.measure import Sweep
from fedbits.sweep.result import Result, ranked

_PACKAGES = ("fedbits", "torch", "numpy", "constriction")


def document(sweep: Sweep, data: str) -> dict[str, Any]:
    """The sweep for JSON: settings, versions, machine, the points from the best on, the best of each group.

    Accuracies are on the held-out part of the training data, in [0, 1]. ``data`` is the data set as the user
    named it.
    """
    config = sweep.config
    return {
        "settings": {
            "data": data,
            "distilled_from": sweep.training,
            "held_out": sweep.held_out,
            **config.conditions(),
            "recipes": [recipe_toml.tree(recipe, nulls=True) for recipe in config.recipes],
            "quantizers": list(config.quantizers),
            "bits": list(config.bits),
            "factors": list(config.factors),
            "shares": list(config.shares),
            "ipc": list(config.ipcs),
        },
        "versions": {name: metadata.version(name) for name in _PACKAGES},
        "machine": machine(),
        "points": [result.record() for result in ranked(sweep.results)],
        "best": {group: {**result.record(), "spot": result.spot} for group, result in sweep.best.items()},
        "winner": None if sweep.winner is None else sweep.winner.point.key,
    }


def write(sweep: Sweep, folder: Path, data: str) -> list[Path]:
    """Write ``results.json``, and ``best.toml`` where a point works; ``best-BUDGET.toml`` of several."""
    paths = [folder / "results.json"]
    write_atomic(paths[0], json.dumps(document(sweep, data), indent=1) + "\n")
    if sweep.winner is not None:
        paths.append(_write_recipe(folder / "best.toml", sweep, sweep.winner, data))
    if len(sweep.best) > 1:
        for group, result in sweep.best.items():
            name = f"best-{group.replace('/', '-per-').replace(' ', '-')}.toml"
            paths.append(_write_recipe(folder / name, sweep, result, data))
    return paths


def _write_recipe(path: Path, sweep: Sweep, result: Result, data: str) -> Path:
    about = (
        f"The best of a sweep on {data} at {result.point.group}: {result.spot} ({result.point.series}),\n"
        f"{100 * result.accuracy:.2f} % on {sweep.held_out:,} held-out training samples. To distil by it:\n"
        f"{command(result, data, path)}"
    )
    write_atomic(path, recipe_toml.dumps(result.point.complete(), about))
    return path


def command(result: Result, data: str, path: Path) -> str:
    """What to type to distil the whole training data by the recipe in ``path``."""
    words = ["fedbits", "distill", "--data", data]
    words += [] if result.point.budget is None else ["--budget", result.point.group]
    return " ".join([*words, "--recipe", str(path)])


def table(results: Sequence[Result], best: dict[str, Result]) -> list[list[str]]:
    """Rows, the best first: what a point is, then samples, bytes, and accuracy or the reason for none."""
    chosen = {result.point for result in best.values()}
    rows = []
    for one in ranked(results):
        point, outcome = one.point, one.outcome
        row = [point.group, point.recipe.name, point.quantizer_name]
        row += ["-" if point.share is None else f"{100 * point.share:g} %"]
        row += ["-" if point.bits is None else str(point.bits)]
        row += ["-" if point.factor is None else f"1/{point.factor}"]
        if one.done:
            spread = f" ± {100 * one.std:.2f}" if len(outcome.accuracies) > 1 else ""
            mark = " *" if point in chosen else ""
            row += [f"{outcome.samples:,}", f"{outcome.bytes:,}", f"{100 * one.accuracy:.2f}{spread} %{mark}"]
        else:
            row += ["-", "-", outcome.reason or ""]
        rows.append(row)
    return rows
