"""The (N, b) map of a sweep: samples against bits, coloured by accuracy (QuADD's Fig. 3, BCDC's Table 10)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedbits.sweep.drawing import DIM, INK, SHAPES, plain, series_of, spaced
from fedbits.sweep.grid import STORAGES, Point
from fedbits.sweep.result import SIZES, Result, best_by_group

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

# What is stored without bits and factor.
_STORED = {"epitome": "h", "latent": "p"}
_WORDS = {"epitome": "codes", "latent": "latents"}
_MAP = "cividis"
_BEST = "#D55E00"
_SPOT = 0.43  # inches: the diameter of a point of the map, with its value inside


def mapped(results: Sequence[Result]) -> list[Result]:
    """What has a place on the map: samples whose bits were asked for, or that are stored without any."""
    return [one for one in results if one.point.bits or one.point.recipe.storage in _STORED]


def samples_bits(results: Sequence[Result], title: str) -> Figure:
    """The (N, b) map: for each series (rows) and budget (columns) samples over bits, coloured by accuracy."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    series, columns = series_of(results), _columns(results)
    slots = _Slots.of(results)
    figure = Figure(
        figsize=(2.0 + max(4.0, slots.inches * len(columns)), 1.5 + slots.height * len(series)),
        layout="constrained",
    )
    axes = figure.subplots(len(series), len(columns), sharex=True, sharey="col", squeeze=False)
    percent = [100 * result.accuracy for result in results if result.done]
    scale = Normalize(min(percent), max(max(percent), min(percent) + 0.1))
    best = {result.point for result in best_by_group(results).values()}
    for row, (name, members) in enumerate(series.items()):
        for panel, (heading, inside) in zip(axes[row], columns.items(), strict=True):
            _draw_panel(panel, [one for one in members if one in inside], slots, scale, best)
            panel.set_title(heading if row == 0 else "", pad=10)
            panel.set_xlabel("bits a value" if row == len(series) - 1 else "")
        axes[row][0].set_ylabel(f"{name}\nsamples (logarithmic)")
    for panel, inside in zip(axes[0], columns.values(), strict=True):
        _scale_samples(panel, [one.outcome.samples or 1 for one in inside if one.done])
    bar = figure.colorbar(ScalarMappable(scale, _MAP), ax=axes, pad=0.02, aspect=30, shrink=0.9)
    bar.set_label("accuracy on held-out training data, %")
    bar.outline.set_visible(False)
    _explain_shapes(figure, slots)
    figure.suptitle(f"{title}: samples against bits", x=0.01, ha="left", weight="bold", fontsize=12)
    return figure


@dataclass(frozen=True)
class _Slots:
    """Where points of the map stand: side by side for each number of bits, a slot for each factor; then what
    is stored without bits, in the order of ``storages``.
    """

    bits: list[int]
    storages: list[str]
    factors: list[int]
    height: float  # inches of a row

    @classmethod
    def of(cls, results: Sequence[Result]) -> _Slots:
        done = [result.point for result in results if result.done]
        ipcs = {point.ipc for point in done}
        return cls(
            sorted({point.bits for point in done if point.bits}),
            sorted({point.recipe.storage for point in done if not point.bits}),
            sorted({point.factor for point in done if point.factor}) or [1],
            max(3.0, 1.0 + 0.62 * len(ipcs)),
        )

    @property
    def inches(self) -> float:
        """The width of a panel."""
        return 0.5 + (len(self.bits) + len(self.storages)) * (0.22 + (_SPOT + 0.06) * len(self.factors))

    def place(self, result: Result) -> float:
        bits, factor = result.point.bits, result.point.factor
        if bits is None or factor is None:
            return float(len(self.bits) + self.storages.index(result.point.recipe.storage))
        inner = self.factors.index(factor) - (len(self.factors) - 1) / 2
        return self.bits.index(bits) + 0.8 * inner / len(self.factors)

    def shape(self, result: Result) -> str:
        point = result.point
        return (
            _STORED[point.recipe.storage]
            if point.factor is None
            else SHAPES[self.factors.index(point.factor)]
        )


def _columns(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The results of each panel of a row: of each budget, or all."""
    columns: dict[str, list[Result]] = {}
    for result in results:
        name = "the same images" if result.point.budget is None else f"budget {spaced(result.point.group)}"
        columns.setdefault(name, []).append(result)
    return {name: members for name, members in columns.items() if any(one.done for one in members)}


def _draw_panel(
    axes: Axes, members: Sequence[Result], slots: _Slots, scale: Normalize, best: set[Point]
) -> None:
    import matplotlib

    colours = matplotlib.colormaps[_MAP]
    for result in members:
        place, samples = slots.place(result), result.outcome.samples or 1
        colour = colours(scale(100 * result.accuracy))
        chosen = result.point in best
        axes.plot(
            [place],
            [samples],
            marker=slots.shape(result),
            markersize=72 * _SPOT,
            color=colour,
            markeredgecolor=_BEST if chosen else "white",
            markeredgewidth=2.6 if chosen else 1.0,
            zorder=4 if chosen else 3,
        )
        dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 0.55
        axes.annotate(
            f"{100 * result.accuracy:.1f}",
            (place, samples),
            ha="center",
            va="center_baseline",
            fontsize=8.5,
            weight="bold" if chosen else "normal",
            color="white" if dark else INK,
            zorder=5,
        )
    ticks = [*map(str, slots.bits), *(_WORDS[one] for one in slots.storages)]
    axes.set_xlim(-0.6, len(ticks) - 0.4)
    axes.set_xticks(range(len(ticks)), ticks)
    plain(axes)
    axes.grid(False, axis="x")


def _scale_samples(axes: Axes, samples: Sequence[int]) -> None:
    """A logarithmic axis with room for whole markers, and round numbers along it."""
    low, high = math.log(min(samples)), math.log(max(samples))
    middle, span = (low + high) / 2, max(high - low, math.log(3))
    low, high = math.exp(middle - 0.68 * span), math.exp(middle + 0.68 * span)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    ticks = [factor * 10**power for power in range(9) for factor in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()


def _explain_shapes(figure: Figure, slots: _Slots) -> None:
    """Below all: what the shapes and the ring mean."""
    from matplotlib.lines import Line2D

    def marker(shape: str, text: str, **look: Any) -> Line2D:
        return Line2D([], [], linestyle="none", marker=shape, markersize=9, label=text, **look)

    shapes = zip(SHAPES, slots.factors, strict=False)
    handles = [marker(shape, SIZES[factor], color=DIM) for shape, factor in shapes]
    handles += [marker(_STORED[storage], STORAGES[storage], color=DIM) for storage in slots.storages]
    handles = handles if len(handles) > 1 else []
    handles.append(marker("o", "best", markerfacecolor="none", markeredgecolor=_BEST, markeredgewidth=2.2))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
