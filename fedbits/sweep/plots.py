"""The plots of a sweep: accuracy over bytes, the map of samples against bits, and the split of the bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fedbits.errors import ConfigError
from fedbits.files import write_atomic
from fedbits.sweep.drawing import STYLE
from fedbits.sweep.rate_utility_plot import rate_utility
from fedbits.sweep.result import Result
from fedbits.sweep.samples_bits_plot import mapped, samples_bits
from fedbits.sweep.split_plot import shares_of, split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Plot = Callable[[Sequence[Result], str], Figure]


def check_available() -> None:
    """Raise :class:`ConfigError` where matplotlib is not installed; nothing is imported."""
    if find_spec("matplotlib") is None:
        raise ConfigError(
            "plots need matplotlib, which is not installed: pip install matplotlib, or --no-plots"
        )


def write(results: Sequence[Result], folder: Path, title: str) -> list[Path]:
    """Write ``rate-utility.png``, ``samples-bits.png`` and, of several shares of a network, ``split.png``.

    Each where some point that works has a place on it.
    """
    import matplotlib

    done, on_map = any(one.done for one in results), mapped(results)
    plots: list[tuple[str, Plot, Sequence[Result], bool]] = [
        ("rate-utility", rate_utility, results, done),
        ("samples-bits", samples_bits, on_map, any(one.done for one in on_map)),
        ("split", split, results, len(shares_of(results)) > 1),
    ]
    paths = []
    with matplotlib.rc_context(cast(Any, STYLE)):
        for name, draw, shown, wanted in plots:
            if wanted:
                paths.append(folder / f"{name}.png")
                write_atomic(paths[-1], _png(draw(shown, title)))
    return paths


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return stream.getvalue()
