"""Millions of symbols a second of every coder, beside constriction's own limit for the same probabilities.

    python benchmarks/coding_speed.py                   # 10^3 to 10^7 symbols, and every number of bits
    python benchmarks/coding_speed.py --largest 1e5     # a short look
    python benchmarks/coding_speed.py --plot            # the plot again, from the file of results

Symbols are random training images of Fashion-MNIST, halved to 14×14, as sets often are stored. The limit is
what constriction alone takes to encode, or decode, the same decisions under the same probabilities, all given
in one call: all that is missing is the model. It is counted in grid symbols too, so a coder that takes three
decisions a symbol has a limit of a third of constriction's. Ours and the limit are measured in turns, in one
process with one thread, and the best of several runs counts. A coder stops where one run would take too long.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import constriction
import numpy as np
import record
import torch
from coding_grids import Case, network_for, real
from numpy.typing import NDArray

from fedbits.coding import CODERS, RangeReader, RangeWriter, code_grid
from fedbits.memory import keep_freed_memory

Array = NDArray[Any]

CURVE_BITS = 2
BITS = (1, 2, 3, 4, 6, 8)
KEPT = 1 << 24  # probabilities of a stream that the limit is measured with: the first so many
LONGEST = 10.0  # seconds of one run, from which on larger sets are left out
ENOUGH = 1.0  # seconds after which runs are not repeated
REPEATS = 5
_Encoder, _Decoder = constriction.stream.queue.RangeEncoder, constriction.stream.queue.RangeDecoder
_FAMILY = constriction.stream.model.Categorical(perfect=False)


@dataclass
class Recording:
    """Stands where constriction's encoder does, and keeps what it is given."""

    decisions: int = 0
    _kept: int = 0
    _calls: list[tuple[Array, Array]] = field(default_factory=list)
    _encoder: Any = field(default_factory=_Encoder)

    def encode(self, symbols: Array, family: Any, weights: Array) -> None:
        if not isinstance(family, constriction.stream.model.Categorical):
            raise NotImplementedError("a family that this benchmark does not know")
        self._encoder.encode(symbols, family, weights)
        self.decisions += len(symbols)
        if len(symbols) and self._kept < KEPT:
            self._kept += weights.size
            self._calls.append((symbols, weights))

    def get_compressed(self) -> Array:
        return self._encoder.get_compressed()

    def joined(self) -> list[tuple[Array, Array]]:
        """The calls as few: neighbours with as many levels are one."""
        runs: list[list[tuple[Array, Array]]] = []
        for call in self._calls:
            if not runs or runs[-1][0][1].shape[1] != call[1].shape[1]:
                runs.append([])
            runs[-1].append(call)
        self._calls = []
        return [tuple(map(np.concatenate, zip(*run, strict=True))) for run in runs]  # type: ignore[misc]


def encoded(case: Case, number: int) -> bytes:
    writer, network = RangeWriter(), network_for(number, case.shape[1])
    code_grid(writer, number, case.levels, case.shape, case.symbols, case.labels, network)
    return writer.bytes()


def decoded(case: Case, number: int, stream: bytes) -> Array:
    return code_grid(RangeReader(stream), number, case.levels, case.shape, labels=case.labels)


def recorded(case: Case, number: int) -> tuple[bytes, Recording]:
    recording = Recording()
    with mock.patch.object(constriction.stream.queue, "RangeEncoder", lambda: recording):
        return encoded(case, number), recording


def encode_all(calls: list[tuple[Array, Array]]) -> Array:
    encoder = _Encoder()
    for symbols, weights in calls:
        encoder.encode(symbols, _FAMILY, weights)
    return encoder.get_compressed()


def decode_all(calls: list[tuple[Array, Array]], words: Array) -> None:
    decoder = _Decoder(words)
    for _, weights in calls:
        decoder.decode(_FAMILY, weights)


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measure(case: Case, number: int) -> dict[str, Any]:
    """Speeds in millions of grid symbols a second."""
    stream, recording = recorded(case, number)
    calls = recording.joined()
    words = encode_all(calls)
    kept = sum(len(symbols) for symbols, _ in calls)
    runs: dict[str, Callable[[], object]] = {
        "encode": lambda: encoded(case, number),
        "encode, limit": lambda: encode_all(calls),
        "decode": lambda: decoded(case, number, stream),
        "decode, limit": lambda: decode_all(calls, words),
    }
    best = dict.fromkeys(runs, math.inf)
    spent = 0.0
    for _ in range(REPEATS):
        for name, run in runs.items():
            took = timed(run)
            spent += took
            best[name] = min(best[name], took)
        if spent > REPEATS * ENOUGH:
            break
    scale = case.symbols.size / 1e6
    share = kept / recording.decisions  # the limit was measured with the first of them
    speeds = {
        name: float(f"{scale * (share if 'limit' in name else 1) / took:.4g}") for name, took in best.items()
    }
    shares = {f"{way}, share of limit": speeds[way] / speeds[f"{way}, limit"] for way in ("encode", "decode")}
    return {
        "symbols": case.symbols.size,
        **speeds,
        **{name: float(f"{share:.3g}") for name, share in shares.items()},
        "decisions a symbol": round(recording.decisions / case.symbols.size, 3),
        "bits a symbol": round(8 * len(stream) / case.symbols.size, 4),
        "longest run": round(max(best.values()), 4),
    }


def curve(number: int, sizes: list[int], bits: int) -> list[dict[str, Any]]:
    """Speeds at growing sizes, up to where one run would take too long."""
    rows: list[dict[str, Any]] = []
    for size in sizes:
        if rows:
            expected = rows[-1]["longest run"] * size / rows[-1]["symbols"]
            if expected > LONGEST:
                rows.append({"symbols": size, "stopped": f"a run would take about {expected:.0f} s"})
                break
        rows.append(measure(real("fashion_mnist", bits, size, 2), number))
        print(CODERS[number][0], bits, "bits", rows[-1], flush=True)
    return rows


def plot(curves: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Encoding and decoding side by side: each coder, and dotted its limit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4.6), sharey=True, layout="constrained")
    for axes, way in zip(panels, ("encode", "decode"), strict=True):
        for index, (name, rows) in enumerate(curves.items()):
            points = [row for row in rows if "stopped" not in row]
            sizes, colour = [row["symbols"] for row in points], f"C{index}"
            axes.plot(sizes, [row[way] for row in points], "o-", color=colour, markersize=4, label=name)
            limits = [row[f"{way}, limit"] for row in points]
            axes.plot(sizes, limits, ":", color=colour, linewidth=1.3)
        axes.set(xscale="log", yscale="log", xlabel="symbols of the grid", title=way)
        axes.grid(True, which="major", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("million symbols a second")
    panels[0].plot([], [], ":", color="grey", label="constriction alone,\nsame probabilities")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=float, default=1e7, help="symbols of the curve")
    parser.add_argument("--widths-at", type=float, default=1e5, help="symbols of the table over bits")
    parser.add_argument("--coders", nargs="*", help="names; all if left out")
    parser.add_argument("--plot", action="store_true", help="only plot the file of results")
    parser.add_argument("--name", default="coding_speed", help="of the file of results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    picture = record.RESULTS / f"{args.name}.png"
    if args.plot:
        plot(json.loads(picture.with_suffix(".json").read_text())["result"]["curves"], picture)
        return
    result: dict[str, Any] = {
        "unit": "million grid symbols a second, best of several",
        "as commands and nodes do": {"freed memory is kept": keep_freed_memory()},
        "curves": {},
        "by bits": {},
    }
    chosen = {n: name for n, (name, _) in CODERS.items() if not args.coders or name in args.coders}
    sizes = [round(10 ** (half / 2)) for half in range(6, 15) if round(10 ** (half / 2)) <= args.largest]
    for number, name in chosen.items():
        result["curves"][name] = curve(number, sizes, CURVE_BITS)
    for number, name in chosen.items():
        rows = {bits: curve(number, [round(args.widths_at)], bits)[0] for bits in BITS}
        result["by bits"][name] = rows
    path = record.write(args.name, result, seed=0)
    plot(result["curves"], picture)
    print(path, picture)


if __name__ == "__main__":
    main()
