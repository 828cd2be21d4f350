"""What the plots of a sweep share: colours, shapes, texts, axes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fedbits.sweep.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which people tell apart however they see colours; shapes say the same again.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SHAPES = ("o", "s", "^", "D", "v", "P", "X")
INK, DIM, FAINT = "#1a1a1a", "#5c5c5c", "#e4e4e4"
STYLE: dict[str, Any] = {
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": DIM,
    "axes.titlesize": 11,
    "xtick.color": DIM,
    "ytick.color": DIM,
    "svg.hashsalt": "fedbits",
}


def series_of(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The points that work, by recipe and quantiser."""
    series: dict[str, list[Result]] = {}
    for result in results:
        if result.done:
            series.setdefault(result.point.series, []).append(result)
    return series


def plain(axes: Axes) -> None:
    axes.grid(True, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, pad=6)
    for side in axes.spines.values():
        side.set_visible(False)


def spaced(budget: str) -> str:
    """``1KiB/class`` as ``1 KiB/class``."""
    return re.sub(r"(?<=\d)(?=[A-Za-z])", " ", budget, count=1)


def bytes_text(size: float) -> str:
    """A size for people: ``512 B``, ``1.5 KiB``, ``4 MiB``."""
    for unit, factor in (("MiB", 1024.0**2), ("KiB", 1024.0)):
        if size >= factor and (size % (factor / 4) == 0 or size >= 100 * factor):
            return f"{size / factor:g} {unit}"
    return f"{size:,.0f} B"
