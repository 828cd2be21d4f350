"""Accuracy over bytes: every point of a sweep, a line along the best of each series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedbits.sweep.drawing import COLOURS, DIM, INK, SHAPES, bytes_text, plain, series_of
from fedbits.sweep.result import Result, best_by_group

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABEL = "best"
_NAME_WIDTH = 0.17  # of the axes: what the name of a best point takes


def frontier(results: Sequence[Result]) -> list[Result]:
    """From the smallest on, the points that no smaller one beats; under budgets, each budget's best."""
    if all(result.point.budget is not None for result in results):
        return sorted(best_by_group(results).values(), key=_bytes)
    kept: list[Result] = []
    for result in sorted(results, key=lambda one: (_bytes(one), -one.accuracy)):
        if not kept or result.accuracy > kept[-1].accuracy:
            kept.append(result)
    return kept


def _bytes(result: Result) -> int:
    return result.outcome.bytes or 0


def rate_utility(results: Sequence[Result], title: str) -> Figure:
    """Validation accuracy over the bytes of the blob: every point, a line along each series' best."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 4.9), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, members) in enumerate(series_of(results).items()):
        colour, shape = COLOURS[number % len(COLOURS)], SHAPES[number % len(SHAPES)]
        axes.scatter(*_places(members), color=colour, marker=shape, s=26, alpha=0.35, linewidths=0, zorder=2)
        _draw_line(axes, frontier(members), colour, shape, name)
    _dress(axes, [_bytes(result) for result in results if result.done])
    _mark_best(axes, list(best_by_group(results).values()))
    axes.set_title(f"{title}: accuracy for bytes", loc="left", weight="bold", pad=12)
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda place: labels[place] == _LABEL)
    axes.legend(
        [handles[place] for place in order],
        [labels[place] for place in order],
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        title="recipe, quantiser",
        alignment="left",
    )
    return figure


def _places(results: Sequence[Result]) -> tuple[list[int], list[float]]:
    return [_bytes(result) for result in results], [100 * result.accuracy for result in results]


def _draw_line(axes: Axes, line: Sequence[Result], colour: str, shape: str, name: str) -> None:
    sizes, percent = _places(line)
    axes.errorbar(
        sizes,
        percent,
        yerr=[100 * result.std for result in line] if any(result.std for result in line) else None,
        color=colour,
        marker=shape,
        markersize=7,
        linewidth=1.8,
        capsize=3,
        zorder=3,
        label=name,
    )


def _mark_best(axes: Axes, best: Sequence[Result]) -> None:
    """Rings around the best points, and a row of their names along the top, each with a line to its ring."""
    best = sorted(best, key=_bytes)
    sizes, percent = _places(best)
    axes.scatter(
        sizes, percent, s=190, facecolors="none", edgecolors=INK, linewidths=1.3, zorder=4, label=_LABEL
    )
    low, high = (math.log(end) for end in axes.get_xlim())
    wanted = [(math.log(size) - low) / (high - low) for size in sizes]
    for result, size, height, along in zip(best, sizes, percent, spread(wanted, _NAME_WIDTH), strict=True):
        axes.annotate(
            result.spot.replace(", ", "\n"),
            (size, height),
            xytext=(along, 0.87),
            textcoords="axes fraction",
            ha="center",
            va="bottom",
            fontsize=9,
            linespacing=1.15,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
            arrowprops={"arrowstyle": "-", "color": DIM, "linewidth": 0.8, "shrinkA": 2, "shrinkB": 7},
            zorder=5,
        )


def spread(wanted: Sequence[float], width: float) -> list[float]:
    """Centres in [0, 1] near the ascending ``wanted`` ones, at least ``width`` apart where there is room."""
    width = min(width, 1 / max(1, len(wanted)))
    placed: list[float] = []
    for centre in wanted:
        placed.append(max(centre, width / 2, placed[-1] + width if placed else 0.0))
    end = 1 - width / 2
    for number in reversed(range(len(placed))):
        placed[number] = min(placed[number], end)
        end = placed[number] - width
    return placed


def _dress(axes: Axes, sizes: Sequence[int]) -> None:
    """Axes, with room along the top for the names of the best."""
    from matplotlib.ticker import PercentFormatter

    axes.set_xscale("log")
    room = max(1.25, (max(sizes) / min(sizes)) ** 0.12)
    low, high = min(sizes) / room, max(sizes) * room
    axes.set_xlim(low, high)
    axes.set_xticks(ticks := _ticks(low, high))
    axes.set_xticklabels([bytes_text(tick) for tick in ticks])
    axes.minorticks_off()
    axes.margins(y=0.05)
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, bottom + (top - bottom) / 0.8)
    bottom, top = axes.get_ylim()
    axes.set_yticks([tick for tick in axes.get_yticks() if bottom <= tick <= min(top, 100)])
    axes.yaxis.set_major_formatter(PercentFormatter(symbol=" %"))
    axes.set_xlabel("size of the blob (logarithmic)")
    axes.set_ylabel("accuracy on held-out training data")
    plain(axes)


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine round sizes in [low, high]: powers of two, or evenly spaced in a narrow range."""
    for power in (1, 2, 4, 8):
        first, last = math.ceil(math.log2(low) / power), math.floor(math.log2(high) / power)
        if 4 <= last - first + 1 <= 9:
            return [2.0 ** (power * exponent) for exponent in range(first, last + 1)]
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = max(1.0, next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough))
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
