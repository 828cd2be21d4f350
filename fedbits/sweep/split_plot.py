"""Accuracy over the share of the bytes that a labelling network takes, from samples alone to it alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedbits.sweep.drawing import COLOURS, INK, SHAPES, plain, spaced
from fedbits.sweep.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curves(results: Sequence[Result]) -> dict[str, list[tuple[float, Result]]]:
    """For each recipe and budget, the best point of each share, by share; a network alone ends each curve."""
    done = [result for result in results if result.done and result.point.budget is not None]
    found: dict[str, dict[float, Result]] = {}
    for result in done:
        point = result.point
        if point.share is not None:
            best = found.setdefault(f"{point.recipe.name}, {spaced(point.group)}", {})
            if point.share not in best or result.accuracy > best[point.share].accuracy:
                best[point.share] = result
    for curve in found.values():
        group = next(iter(curve.values())).point.group
        alone = [one for one in done if one.point.recipe.storage == "none" and one.point.group == group]
        curve.update((1.0, one) for one in alone)
    return {name: sorted(curve.items()) for name, curve in found.items()}


def shares_of(results: Sequence[Result]) -> set[float]:
    """The shares that curves go through."""
    return {share for curve in curves(results).values() for share, _ in curve}


def split(results: Sequence[Result], title: str) -> Figure:
    """The curves; each one's best point is marked by its share."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(8.6, 4.9), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, curve) in enumerate(curves(results).items()):
        shares, percent = [100 * share for share, _ in curve], [100 * one.accuracy for _, one in curve]
        colour, shape = COLOURS[number % len(COLOURS)], SHAPES[number % len(SHAPES)]
        spread = [100 * one.std for _, one in curve]
        axes.errorbar(
            shares,
            percent,
            yerr=spread if any(spread) else None,
            color=colour,
            marker=shape,
            markersize=7,
            linewidth=1.8,
            capsize=3,
            label=name,
        )
        best = max(range(len(curve)), key=lambda place: (percent[place], -shares[place]))
        axes.annotate(
            f"{percent[best]:.1f}",
            (shares[best], percent[best]),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            weight="bold",
            color=INK,
        )
    axes.set_xlim(-5, 105)
    axes.margins(y=0.15)
    axes.xaxis.set_major_formatter(PercentFormatter(symbol=" %"))
    axes.yaxis.set_major_formatter(PercentFormatter(symbol=" %"))
    axes.set_xlabel("share of the bytes for a network that labels (0: samples alone, 100: the network alone)")
    axes.set_ylabel("accuracy on held-out training data")
    axes.set_title(f"{title}: samples or a network", loc="left", weight="bold", pad=12)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, title="recipe, budget")
    plain(axes)
    return figure
