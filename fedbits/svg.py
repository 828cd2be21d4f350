"""Plots as inline SVG whose colours are those of the page they stand in (:mod:`fedbits.page`)."""

from __future__ import annotations

import io
import re
from typing import Any

# Stand-ins that matplotlib writes into the SVG, and the page's colours that take their place.
INK, FAINT, OURS, THEIRS, GOAL = "#010203", "#010204", "#010205", "#010206", "#010207"
_VARIABLES = {INK: "--dim", FAINT: "--line", OURS: "--ours", THEIRS: "--theirs", GOAL: "--dim"}


def style() -> Any:
    """A context in which matplotlib draws for a page."""
    import matplotlib

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "fedbits",
        "font.size": 10.5,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    return matplotlib.rc_context(settings)


def figure() -> Any:
    """An empty figure of a page's width, which no window and no global state knows of."""
    from matplotlib.figure import Figure

    return Figure(figsize=(9.2, 3.9), layout="constrained")


def dress(axes: Any) -> None:
    """A grid and numbers, no frame."""
    axes.grid(True, which="major", color=FAINT, linewidth=0.8)
    axes.tick_params(which="both", length=0, pad=6)
    axes.patch.set_alpha(0)
    for side in axes.spines.values():
        side.set_visible(False)


def element(figure: Any) -> str:
    """The figure as an ``<svg>`` element, as wide as what it stands in."""
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
