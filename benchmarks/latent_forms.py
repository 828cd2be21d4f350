"""RUO's storage: what training counts beside real bits, where the bits go, and how long decoding takes.

    python benchmarks/latent_forms.py runs/rate_utility/*-ruo-*.fbits

Of each blob: bits of latents as training estimates them once they are rounded (in float, by the networks as
sent) beside those that the coder spent; explicit parts (latents, labels, container) and implicit ones
(synthesis and entropy network), as in the paper's Fig. 6; seconds on one core to decode and synthesise 1,000
samples. Writes ``results/latent_forms.json`` and a figure of the parts beside it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any, cast

import matplotlib
import record
import torch
from matplotlib.figure import Figure

from fedbits.container import decode, inspect
from fedbits.errors import ConfigError
from fedbits.files import write_atomic
from fedbits.parameterization import LatentParameterization
from fedbits.sweep.drawing import COLOURS, STYLE, bytes_text, plain

IMPLICIT = ("synthesis network", "entropy network")


def measure(path: Path, repeats: int) -> dict[str, Any]:
    """Facts of the blob at ``path``.

    Raises:
        ConfigError: its samples are not stored as latents.
    """
    blob = path.read_bytes()
    facts, made = inspect(blob), decode(blob)
    stored = made.parameterization
    if not isinstance(stored, LatentParameterization):
        raise ConfigError(f"{path.name} stores its samples as {facts['storage']}: expected latents")
    with torch.no_grad():
        estimate = float(stored.bits(stored.integers().float(), stored.labels))
    spent = {part: bits for part, bits in facts["ledger"].items() if bits}
    seconds = [_decoded(blob) for _ in range(repeats)]
    return {
        "bytes": len(blob),
        "samples": facts["samples"],
        "estimated_latent_bits": estimate,
        "latent_bits": spent["latents"],
        "estimate_off": spent["latents"] / estimate - 1,
        "ledger": spent,
        "implicit_share": sum(spent.get(part, 0) for part in IMPLICIT) / (8 * len(blob)),
        "seconds_of_1000_samples": 1000 * statistics.median(seconds) / facts["samples"],
    }


def _decoded(blob: bytes) -> float:
    started = time.process_time()
    assert decode(blob).samples.isfinite().all()
    return time.process_time() - started


def draw(result: dict[str, dict[str, Any]]) -> Figure:
    """Bits a sample of every part, a bar for each blob, the smallest at the top."""
    ordered = sorted(result.values(), key=lambda facts: facts["bytes"])
    parts = list(dict.fromkeys(part for facts in ordered for part in facts["ledger"]))
    parts.sort(key=IMPLICIT.__contains__)
    figure = Figure(figsize=(8.6, 1.6 + 0.5 * len(ordered)), layout="constrained")
    axes = figure.add_subplot()
    left = [0.0] * len(ordered)
    for number, part in enumerate(parts):
        shares = [100 * facts["ledger"].get(part, 0) / (8 * facts["bytes"]) for facts in ordered]
        hatch = "//" if part in IMPLICIT else None
        colour = COLOURS[number % len(COLOURS)]
        axes.barh(range(len(ordered)), shares, left=left, label=part, color=colour, hatch=hatch, ec="white")
        left = [before + share for before, share in zip(left, shares, strict=True)]
    names = [f"{bytes_text(facts['bytes'])}, {facts['samples']} samples" for facts in ordered]
    axes.set_yticks(range(len(ordered)), names)
    axes.invert_yaxis()
    plain(axes)
    axes.set_xlabel("per cent of the bits (hatched: implicit parts, shared by all samples)")
    axes.set_title("where the bits of ruo's blobs go", loc="left", weight="bold", pad=12)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("blobs", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=3, help="of decoding, of which the median counts")
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = {path.stem: measure(path, args.repeats) for path in args.blobs}
    for name, facts in result.items():
        off, seconds = 100 * facts["estimate_off"], facts["seconds_of_1000_samples"]
        print(f"{name}: estimate {off:+.2f} % off, {seconds:.2f} s for 1,000 samples")
    path = record.write("latent_forms", result)
    with matplotlib.rc_context(cast(Any, STYLE)):
        picture = path.with_suffix(".png")
        draw(result).savefig(beside := path.with_suffix(".part.png"), dpi=160, facecolor="white")
    write_atomic(picture, beside.read_bytes())
    beside.unlink()
    print(path, picture)


if __name__ == "__main__":
    main()
