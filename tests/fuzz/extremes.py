"""Blobs that ask for much: what a unit of declared work takes, and a declared number.

    python tests/fuzz/extremes.py

prints one line of JSON. Each of the blobs asks for about a second's work.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from fedbits.coding import CODERS
from fedbits.container import DecodeLimits, decode
from fedbits.errors import FormatError, LimitError
from fuzz.corpus_epitomes import epitome
from fuzz.corpus_labels import labelled
from fuzz.corpus_latents import latent
from fuzz.make_corpus import described
from fuzz.memory import Peak

SCALE = 1 << 22  # units of work of an extreme blob, about


def extremes() -> dict[str, Any]:
    """Nanoseconds a unit of declared work, and bytes a number as the limits count them."""
    cases = {name: _extreme(blob) for name, blob in _demanding()}
    cases.pop("warm-up")
    return {
        "most ns a unit": max(case["ns a unit"] for case in cases.values()),
        "most bytes a number": max(case["bytes a number"] or 0.0 for case in cases.values()),
        "broken": "; ".join(case["broken"] for case in cases.values() if case["broken"]) or None,
        "cases": cases,
    }


def _demanding() -> Iterator[tuple[str, bytes]]:
    forms: dict[str, tuple[tuple[int, ...], int, int]] = {
        "one row of one sample, 1 bit": ((1, 1, 4096), 1, 1),
        "one image, 1 bit": ((1, 64, 64), 1, 1),
        "one colour image, 1 bit": ((3, 36, 36), 1, 1),
        "colour images, 4 bits": ((3, 8, 8), 800, 4),
        "colour images, 8 bits": ((3, 4, 4), 300, 8),
        "values, 1 bit": ((1, 1, 1), 400_000, 1),
        "channels, 8 bits": ((3000, 1, 1), 1, 8),
        "features, 8 bits": ((3000,), 1, 8),
    }
    yield "warm-up", described((1, 8, 8), [1000], 1, 0)
    for number, (name, _) in CODERS.items():
        for form, (shape, n, bits) in forms.items():
            yield f"{name}: {form}", described(shape, [n], bits, number, stream=bytes(4000))
        split = described((1, 1, 1), [1], 1, number, 0, 200, bytes(4000), (16,) * 199)
        yield f"{name}: 200 streams of one value", split
    for shape, n in (((1, 256, 256), 6), ((1, 8, 8), 25_000), ((1, 1, 1), 800_000), ((40, 1, 256), 40)):
        yield f"coefficients: {n} of {shape}", described(shape, [n], 1, 0, stream=bytes(9000), transform=1)
    yield from _demanding_epitomes()
    yield from _demanding_latents()
    yield from _demanding_labels()
    for height, width in ((8, 8), (7, 7), (1, 1), (1, 512)):
        n = SCALE // (42 * -(-width // 8))  # 64 numbers of half a unit, and a symbol of ten
        blob = described((1, height, width), [n], 1, 0, 3, stream=bytes(4000))
        yield f"raw: interpolated to {height} by {width}", blob


def _demanding_epitomes() -> Iterator[tuple[str, bytes]]:
    gray, colour = (1, 28, 28), (3, 32, 32)
    yield "epitome: many samples of a number", epitome((1, 1, 1), 300_000, 1, 1, length=9000)
    yield "epitome: tokens", epitome((1, 1, 1), 100, 1000, 1, length=9000)
    yield "epitome: heads", epitome((1, 1, 1), 100, 10, 100, heads=100, length=9000)
    yield "epitome: patches", epitome(gray, 40, 2, 8, patch=1, length=9000)
    yield "epitome: large patches", epitome((1, 1, 1), 500, 1, 1, patch=256, largest=0, length=9000)
    yield "epitome: whole images", epitome(gray, 4000, 16, 16, patch=28, largest=1, length=9000)
    yield "epitome: a wide network", epitome(colour, 300, 16, 96, 2, 1, patch=8, largest=2, length=9000)
    yield "epitome: a deep network", epitome(colour, 300, 8, 32, 1, 8, patch=8, largest=2, length=9000)
    yield "epitome: large weights", epitome((1, 1, 1), 10, 16, 64, 1, 1, largest=1 << 23, length=9000)


def _demanding_latents() -> Iterator[tuple[str, bytes]]:
    gray, colour = (1, 28, 28), (3, 32, 32)
    yield "latent: many samples of a number", latent((1, 1, 1), 25_000, length=9000)
    yield "latent: one image", latent(gray, 1, scales=[1], length=9000)
    yield "latent: images", latent(gray, 30, scales=[4, 2], numbers=32, hidden=8, length=9000)
    wide = {"scales": [4, 2], "hidden": 32, "convolutions": 1}
    yield "latent: a wide pyramid", latent(colour, 20, **wide, largest=2, length=9000)
    yield "latent: stacked", latent(colour, 20, **wide, largest=2, synthesis=2, length=9000)
    yield "latent: levels", latent(gray, 20, scales=[4, 2], reach=127, length=9000)
    network = {"entropy_hidden": 64, "entropy_layers": 2, "components": 4, "context": 24}
    yield "latent: a large entropy network", latent(gray, 20, scales=[4, 2], **network, length=9000)
    yield "latent: groups", latent((1, 8, 8), 100, 100, scales=[2], group_classes=1, length=9000)
    yield "latent: large weights", latent(gray, 2, scales=[2], hidden=8, largest=1 << 20, length=9000)
    yield "latent: long rows", latent((1, 1, 30_000), 1, scales=[256], length=9000)
    yield "latent: a dense layer", latent((1, 64, 64), 2, scales=[], numbers=32, hidden=4, length=9000)


def _demanding_labels() -> Iterator[tuple[str, bytes]]:
    for counted in (True, False):
        name, more = "counted labels" if counted else "labels", {"counted": counted, "stream": bytes(9000)}
        yield f"{name}: epochs", labelled(epochs=4000 if counted else 1500, mix=2, **more)
        yield f"{name}: samples", labelled(samples=400_000 if counted else 90_000, mix=2, **more)
        yield f"{name}: columns", labelled(2000 if counted else 400, **more)
        sizes = {"codec": 5, "width": 2, "segment": 1, "levels": 4096}
        yield f"{name}: codes", labelled(3, 1400, mix=1, **sizes, **more)
        yield f"{name}: float16", labelled(300, codec=0, levels=0, **more)
        yield f"{name}: classes", labelled(1 << 14, codec=2, width=1, **more)
    more = {"counted": True, "stream": bytes(9000)}
    yield "labels: a decoder", labelled(40, codec=5, width=1000, segment=1000, **more)


def _declared(blob: bytes, limits: DecodeLimits) -> int:
    """What the refusal under ``limits`` that admit nothing says that ``blob`` asks for."""
    try:
        decode(blob, limits)
    except LimitError as error:
        return int(re.findall(r"[\d,]+", str(error))[0].replace(",", ""))
    raise ValueError("limits of zero let a blob pass")


def _extreme(blob: bytes) -> dict[str, Any]:
    work, numbers = _declared(blob, DecodeLimits(work=0)), _declared(blob, DecodeLimits(elements=0))
    peak, started, broken = Peak(), time.process_time(), None
    try:
        decode(blob).samples  # noqa: B018
    except FormatError:
        pass
    except BaseException as error:  # constriction panics with a BaseException
        broken = f"{type(error).__name__}: {error}"
    seconds, grown = time.process_time() - started, peak.grown()
    return {
        "blob bytes": len(blob),
        "work": work,
        "numbers": numbers,
        "seconds": round(seconds, 3),
        "ns a unit": round(1e9 * seconds / work, 1),
        "MB above before": round(grown, 1),
        "bytes a number": round((grown * (1 << 20)) / numbers, 1) if numbers > 100_000 else None,
        "broken": broken,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(extremes()))
