"""The figure of accuracy over real bytes, of what ``rate_utility.py`` measured.

    python benchmarks/rate_utility_figure.py five_sets_1KiBclass_fashion_mnist \\
        five_sets_4KiBclass_fashion_mnist --whole whole_fashion_mnist_1KiBclass --out fashion_mnist

Reads ``results/NAME.json`` of each name and writes ``results/OUT-rate-utility.png``. A point is the mean over
sets, each with a network of its own, its bar their deviation; the dashed line is the whole data set.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from statistics import mean
from typing import Any, cast

import matplotlib
import record
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fedbits.files import write_atomic
from fedbits.sweep.drawing import COLOURS, DIM, SHAPES, STYLE, bytes_text, plain


def series(names: Sequence[str]) -> dict[str, list[tuple[float, float, float]]]:
    """Of each recipe: mean bytes, mean accuracy and its deviation in percent, by size."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for name in names:
        result = json.loads((record.RESULTS / f"{name}.json").read_text())["result"]
        for cell, facts in result.items():
            point = (mean(facts["bytes"]), 100 * facts["mean"], 100 * facts["std"])
            found.setdefault(cell.split(", ")[0], []).append(point)
    return {recipe: sorted(points) for recipe, points in found.items()}


def whole(name: str) -> float:
    """Accuracy in percent of the whole data set."""
    result = json.loads((record.RESULTS / f"{name}.json").read_text())["result"]
    facts = next(facts for cell, facts in result.items() if cell.startswith("whole"))
    return 100 * facts.get("laptop", facts)["mean"]


def draw(found: dict[str, list[tuple[float, float, float]]], top: float | None, title: str) -> Figure:
    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for number, (recipe, points) in enumerate(found.items()):
        sizes, percent, spread = zip(*points, strict=True)
        axes.errorbar(
            sizes,
            percent,
            yerr=spread,
            color=COLOURS[number % len(COLOURS)],
            marker=SHAPES[number % len(SHAPES)],
            markersize=7,
            linewidth=1.8,
            capsize=3,
            label=recipe,
        )
    if top is not None:
        axes.axhline(top, color=DIM, linewidth=1.2, linestyle="--", zorder=1)
        axes.annotate(
            f"all real samples, {top:.1f} %", (0.01, top), xycoords=("axes fraction", "data"), va="bottom"
        )
    dress(axes, sorted({round(size) for points in found.values() for size, _, _ in points}))
    axes.set_title(title, loc="left", weight="bold", pad=12)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def dress(axes: Axes, sizes: Sequence[int]) -> None:
    """Logarithmic bytes with ticks at powers of two, percent upwards."""
    axes.set_xscale("log", base=2)
    axes.minorticks_off()
    low, high = sizes[0] / 1.25, sizes[-1] * 1.25
    axes.set_xlim(low, high)
    ticks = [2.0**power for power in range(8, 31) if low <= 2**power <= high]
    axes.set_xticks(ticks, [bytes_text(tick) for tick in ticks])
    axes.yaxis.set_major_formatter(PercentFormatter(symbol=" %"))
    axes.set_xlabel("size of the blob (logarithmic)")
    axes.set_ylabel("accuracy on test data")
    plain(axes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", help="of files in results/, without .json")
    parser.add_argument("--whole", help="of the file with the whole data set's accuracy")
    parser.add_argument("--title", default="Fashion-MNIST: accuracy for bytes")
    parser.add_argument("--out", default="fashion_mnist")
    args = parser.parse_args()
    with matplotlib.rc_context(cast(Any, STYLE)):
        figure = draw(series(args.names), whole(args.whole) if args.whole else None, args.title)
        path = record.RESULTS / f"{args.out}-rate-utility.png"
        figure.savefig(beside := path.with_suffix(".part.png"), dpi=160, facecolor="white")
    write_atomic(path, beside.read_bytes())
    beside.unlink()
    print(path)


if __name__ == "__main__":
    main()
