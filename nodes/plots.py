"""The plot of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedbits import svg


@dataclass(frozen=True)
class Curve:
    """Accuracies in [0, 1] over cumulative bytes; ``spread`` is one standard deviation of each."""

    sizes: Sequence[float]
    accuracies: Sequence[float]
    spread: Sequence[float] = ()


def accuracy_over_bytes(ours: Curve, yardstick: Curve | None, target: float | None) -> str:
    """Accuracy against cumulative uplink bytes (logarithmic), as an ``<svg>`` element."""
    with svg.style():
        figure = svg.figure()
        axes = figure.add_subplot()
        if yardstick is not None and len(yardstick.sizes):
            _draw_yardstick(axes, yardstick)
        if target is not None:
            axes.axhline(100 * target, color=svg.GOAL, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
        _draw_ours(axes, ours)
        _dress(axes, [*ours.sizes, *(yardstick.sizes if yardstick else ())])
        return svg.element(figure)


def _draw_yardstick(axes: Any, curve: Curve) -> None:
    percent = [100 * a for a in curve.accuracies]
    axes.plot(curve.sizes, percent, color=svg.THEIRS, linewidth=1.8, marker="o", markersize=4.5, zorder=2)
    axes.annotate(
        "FedAvg",
        (curve.sizes[0], percent[0]),
        xytext=(-10, -3),
        textcoords="offset points",
        color=svg.THEIRS,
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
        color=svg.OURS,
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
        color=svg.OURS,
        weight="bold",
    )


def _dress(axes: Any, sizes: Sequence[float]) -> None:
    axes.set_xscale("log")
    low, high = min(sizes, default=1.0), max(sizes, default=10.0)
    axes.set_xlim(low / 2.5, high * 2.5)
    axes.margins(y=0.16)
    axes.xaxis.set_major_formatter(lambda value, _: svg.bytes_text(value))
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.set_xlabel("bytes sent by all nodes so far")
    axes.set_ylabel("test accuracy")
    svg.dress(axes)
