"""The plot of the report, as inline SVG whose colours are the page's."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib

# Stand-ins that matplotlib writes into the SVG, and the page's colours that take their place.
_INK, _FAINT, _OURS, _THEIRS, _GOAL = "#010203", "#010204", "#010205", "#010206", "#010207"
_VARIABLES = {_INK: "--dim", _FAINT: "--line", _OURS: "--ours", _THEIRS: "--theirs", _GOAL: "--dim"}


@dataclass(frozen=True)
class Curve:
    """Accuracies in [0, 1] over cumulative bytes; ``spread`` is one standard deviation of each."""

    sizes: Sequence[float]
    accuracies: Sequence[float]
    spread: Sequence[float] = ()


def accuracy_over_bytes(ours: Curve, yardstick: Curve | None, target: float | None) -> str:
    """Accuracy against cumulative uplink bytes (logarithmic), as an ``<svg>`` element."""
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "fedbits",
        "font.size": 10.5,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with matplotlib.rc_context(settings):
        figure = _figure()
        axes = figure.add_subplot()
        if yardstick is not None and len(yardstick.sizes):
            _draw_yardstick(axes, yardstick)
        if target is not None:
            axes.axhline(100 * target, color=_GOAL, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
        _draw_ours(axes, ours)
        _dress(axes, [*ours.sizes, *(yardstick.sizes if yardstick else ())])
        return _to_svg(figure)


def _figure() -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(9.2, 3.9), layout="constrained")


def _draw_yardstick(axes: Any, curve: Curve) -> None:
    percent = [100 * a for a in curve.accuracies]
    axes.plot(curve.sizes, percent, color=_THEIRS, linewidth=1.8, marker="o", markersize=4.5, zorder=2)
    axes.annotate(
        "FedAvg",
        (curve.sizes[0], percent[0]),
        xytext=(-10, -3),
        textcoords="offset points",
        color=_THEIRS,
        ha="right",
        weight="bold",
    )


def _draw_ours(axes: Any, curve: Curve) -> None:
    if not curve.sizes:
        return
    percent = [100 * a for a in curve.accuracies]
    spread = [100 * s for s in curve.spread] or None
    axes.errorbar(
        curve.sizes,
        percent,
        yerr=spread,
        color=_OURS,
        linewidth=1.8,
        marker="o",
        markersize=8,
        capsize=4,
        zorder=3,
    )
    axes.annotate(
        "distilled sets",
        (curve.sizes[0], percent[0]),
        xytext=(12, 6),
        textcoords="offset points",
        color=_OURS,
        weight="bold",
    )


def _dress(axes: Any, sizes: Sequence[float]) -> None:
    axes.set_xscale("log")
    low, high = min(sizes, default=1.0), max(sizes, default=10.0)
    axes.set_xlim(low / 2.5, high * 2.5)
    axes.margins(y=0.16)
    axes.xaxis.set_major_formatter(lambda value, _: bytes_text(value))
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.set_xlabel("bytes sent by all nodes so far")
    axes.set_ylabel("test accuracy")
    axes.grid(True, which="major", color=_FAINT, linewidth=0.8)
    axes.tick_params(which="both", length=0, pad=6)
    axes.patch.set_alpha(0)
    for side in axes.spines.values():
        side.set_visible(False)


def _to_svg(figure: Any) -> str:
    stream = io.StringIO()
    figure.patch.set_alpha(0)
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, f"var({variable})")
    for pattern, replacement in (
        (r"font-family: [^;\"]*;", ""),  # the page's own
        (r"<metadata>.*?</metadata>", ""),
        (r"<style type=\"text/css\">\*", "<style>svg *"),
        (r" width=\"[^\"]*\"", ' role="img" width="100%"'),
        (r" height=\"[^\"]*\"", ""),
    ):
        svg = re.sub(pattern, replacement, svg, count=0 if "font" in pattern else 1, flags=re.DOTALL)
    return svg


def bytes_text(size: float) -> str:
    """A size for people, at most four characters and a unit: ``9.8 KB``, ``51 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= factor:
            value = size / factor
            return f"{value:.1f} {unit}" if value < 10 and round(value, 1) % 1 else f"{value:,.0f} {unit}"
    return f"{size:,.0f} B"
