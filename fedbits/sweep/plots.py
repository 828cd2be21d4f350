"""The two plots of a sweep: accuracy over bytes, and the map of samples against bits."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fedbits.errors import ConfigError
from fedbits.files import write_atomic
from fedbits.sweep.grid import STORAGES, Point
from fedbits.sweep.result import SIZES, Result, best_by_group

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people tell apart however they see colours; shapes say the same again.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_SHAPES = ("o", "s", "^", "D", "v", "P", "X")
_STORED = {"epitome": "h", "latent": "p"}  # what is stored without bits and factor
_INK, _DIM, _FAINT = "#1a1a1a", "#5c5c5c", "#e4e4e4"
_STYLE: dict[str, Any] = {
    "font.size": 10.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _DIM,
    "axes.titlesize": 11,
    "xtick.color": _DIM,
    "ytick.color": _DIM,
    "svg.hashsalt": "fedbits",
}
_MAP = "cividis"
_LABEL = "best"
_NAME_WIDTH = 0.17  # of the axes: what the name of a best point takes
_BEST = "#D55E00"
_SPOT = 0.43  # inches: the diameter of a point of the map, with its value inside


def check_available() -> None:
    """Raise :class:`ConfigError` where matplotlib is not installed; nothing is imported."""
    if find_spec("matplotlib") is None:
        raise ConfigError(
            "plots need matplotlib, which is not installed: pip install matplotlib, or --no-plots"
        )


def write(results: Sequence[Result], folder: Path, title: str) -> list[Path]:
    """Write ``rate-utility.png`` and ``samples-bits.png``; nothing where no point works."""
    import matplotlib

    if not any(result.done for result in results):
        return []
    paths = []
    with matplotlib.rc_context(cast(Any, _STYLE)):
        for name, draw in (("rate-utility", rate_utility), ("samples-bits", samples_bits)):
            paths.append(folder / f"{name}.png")
            write_atomic(paths[-1], _png(draw(results, title)))
    return paths


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def _series(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The points that work, by recipe and quantiser."""
    series: dict[str, list[Result]] = {}
    for result in results:
        if result.done:
            series.setdefault(result.point.series, []).append(result)
    return series


# --------------------------------------------------------------------------------------------- rate-utility


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
    for number, (name, members) in enumerate(_series(results).items()):
        colour, shape = _COLOURS[number % len(_COLOURS)], _SHAPES[number % len(_SHAPES)]
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
        sizes, percent, s=190, facecolors="none", edgecolors=_INK, linewidths=1.3, zorder=4, label=_LABEL
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
            arrowprops={"arrowstyle": "-", "color": _DIM, "linewidth": 0.8, "shrinkA": 2, "shrinkB": 7},
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
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.grid(True, color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, pad=6)
    for side in axes.spines.values():
        side.set_visible(False)


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


def spaced(budget: str) -> str:
    """``1KiB/class`` as ``1 KiB/class``."""
    return re.sub(r"(?<=\d)(?=[A-Za-z])", " ", budget, count=1)


def bytes_text(size: float) -> str:
    """A size for people: ``512 B``, ``1.5 KiB``, ``4 MiB``."""
    for unit, factor in (("MiB", 1024.0**2), ("KiB", 1024.0)):
        if size >= factor and (size % (factor / 4) == 0 or size >= 100 * factor):
            return f"{size / factor:g} {unit}"
    return f"{size:,.0f} B"


# --------------------------------------------------------------------------------------- samples against bits


def samples_bits(results: Sequence[Result], title: str) -> Figure:
    """The (N, b) map: for each series (rows) and budget (columns) samples over bits, coloured by accuracy."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    series, columns = _series(results), _columns(results)
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
            else _SHAPES[self.factors.index(point.factor)]
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
            color="white" if dark else _INK,
            zorder=5,
        )
    ticks = [*map(str, slots.bits), *("codes" if one == "epitome" else "latents" for one in slots.storages)]
    axes.set_xlim(-0.6, len(ticks) - 0.4)
    axes.set_xticks(range(len(ticks)), ticks)
    _plain(axes)
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

    shapes = zip(_SHAPES, slots.factors, strict=False)
    handles = [marker(shape, SIZES[factor], color=_DIM) for shape, factor in shapes]
    handles += [marker(_STORED[storage], STORAGES[storage], color=_DIM) for storage in slots.storages]
    handles = handles if len(handles) > 1 else []
    handles.append(marker("o", "best", markerfacecolor="none", markeredgecolor=_BEST, markeredgewidth=2.2))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
