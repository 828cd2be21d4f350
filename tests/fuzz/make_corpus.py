"""Write the seed corpus: small blobs of every form, those that ask for much, and those that are wrong.

    python tests/fuzz/make_corpus.py

Inputs that once broke something stay, if they are named ``found-*``; other files of other names go.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from making import make_data, make_set, message_of, packed  # noqa: E402
from storing import as_floats, even, in_bands, on_grid, powers, taught  # noqa: E402

from fedbits.coding import CODERS, code_grid  # noqa: E402
from fedbits.coding.grid import OWN  # noqa: E402
from fedbits.coding.network import EntropyNetwork, Layer  # noqa: E402
from fedbits.coding.own import largest_shapes  # noqa: E402
from fedbits.container import encode  # noqa: E402
from fedbits.data import TensorData  # noqa: E402
from fedbits.data.known import KNOWN  # noqa: E402
from fedbits.distilled_set import DistilledSet  # noqa: E402
from fedbits.parameterization import pixel  # noqa: E402
from fedbits.wire import distilled_set_pb2 as pb  # noqa: E402
from fuzz import corpus_epitomes, corpus_labels, corpus_latents, corpus_networks  # noqa: E402
from fuzz.fields import HEADER  # noqa: E402
from fuzz.mutate import varint  # noqa: E402

Change = Callable[[pb.DistilledSet], object]

_LARGE = "own network"  # a coder of which every stream takes nearly a kilobyte: fewer of them will do
SMALLEST_HALF, NAN, INFINITY = 6e-8, float("nan"), float("inf")


def seeds() -> dict[str, bytes]:
    """Every seed by its name."""
    golden = {f"golden-{path.stem}": path.read_bytes() for path in FOLDER.parent.glob("golden/*.fbits")}
    return {
        **golden,
        **valid(),
        **corpus_epitomes.valid(),
        **corpus_latents.valid(),
        **corpus_labels.valid(),
        **corpus_networks.valid(),
        **large(),
        **hostile(),
        **values(),
        **wires(),
        **files(),
    }


def valid() -> dict[str, bytes]:
    """What an encoder writes: tiny sets by every coder, and of every kind of task."""
    made = {}
    for number, (name, _) in CODERS.items():
        small = small_sets()
        if name == _LARGE:
            small = {form: small[form] for form in ("colour", "flat", "halved")}
        else:
            made[f"{name}-by-class"] = forced(number, small["colour"], per_class=True)
        made.update({f"{name}-{form}": forced(number, one) for form, one in small.items()})
    for number, factor in {1: 4, 2: 8, 4: 8, 5: 8}.items():
        spec = KNOWN[number]
        samples = torch.arange(spec.classes * spec.elements) * 37 % 256
        data = TensorData(spec, samples.view(-1, *spec.shape).to(torch.uint8), torch.arange(spec.classes))
        made[f"known-{spec.name}"] = forced(number % 4, make_set(data, 1, 1, factor))
    others = {
        "one-value": make_set(make_data((1,), [1])),
        "odd-sides": make_set(make_data((2, 9, 17), [1, 1]), factor=8),
        "floating": make_set(make_data((7,), [3, 1], dtype="float32")),
        "empty-classes": make_set(make_data((1, 2, 2), [0, 2, 0, 1]), recipe="my own"),
        "short-normalisation": make_set(make_short()),
        "many-classes": make_set(make_data((2,), [1] * 300), bits=1),
    }
    others.update(other_forms())
    made.update({name: encode(other, quick=True) for name, other in others.items()})
    for name in ("floats-colour", "taught"):
        made[f"{name}-by-class"] = encode(others[name], quick=True, per_class=True)
    return {f"valid-{name}": blob for name, blob in made.items()}


def other_forms() -> dict[str, DistilledSet]:
    """Not evenly spaced, on one grid for all channels, unquantised, with soft labels."""
    colour = make_data((3, 2, 2), [1, 0, 2], 3)
    return {
        "powers": on_grid(colour, powers(3, [0, 0.1, -0.2], [0.25] * 3)),
        "powers-of-1-bit": on_grid(make_data((3,), [2, 2], 1), powers(1, [0], [0.5])),
        "powers-of-8-bits": on_grid(make_data((1, 3, 3), [2], 5), powers(8, [0], [0.0078125])),
        "one-pair": on_grid(colour, even(2, [-1], [0.75])),
        "dct": in_bands(colour, even(3, [-2] * 3, [0.5] * 3), even(3, [-1] * 3, [0.25] * 3), 1),
        "dct-halved": in_bands(
            make_data((1, 3, 4), [1, 2], 4), even(2, [-2], [1]), even(2, [-1], [0.5]), 2, 2, 2
        ),
        "dct-of-powers": in_bands(colour, powers(4, [0], [0.25]), powers(4, [0], [0.0625]), 2),
        "dct-of-one-band": in_bands(make_data((1, 1, 1), [2]), even(3, [-2], [0.5]), even(3, [0], [1]), 1),
        "floats-colour": as_floats(colour),
        "floats-flat": as_floats(make_data((3,), [2, 1], dtype="float32")),
        "taught": taught(make_set(colour, bits=2)),
        "taught-floats": taught(as_floats(make_data((2,), [1, 2])), None),
    }


def make_short() -> TensorData:
    """Data whose normalisation takes few bytes."""
    data = make_data((2, 1, 2), [1, 1])
    return replace(data, spec=replace(data.spec, mean=(0.3125, -0.9375), std=(0.25, 0.0234375)))


def small_sets() -> dict[str, DistilledSet]:
    """Sets that decode in a few milliseconds: 1 to 4 bits and 8, flat, gray, colour, halved."""
    return {
        "flat": make_set(make_data((3,), [2, 2], 1), bits=1),
        "gray": make_set(make_data((1, 2, 3), [2, 2], 2), bits=2),
        "colour": make_set(make_data((3, 2, 2), [1, 0, 2], 3), bits=3),
        "halved": make_set(make_data((1, 3, 4), [1, 2], 4), bits=4, factor=2),
        "finest": make_set(make_data((1, 1, 3), [2], 5), bits=8),
    }


def large() -> dict[str, bytes]:
    """Sets a little larger, for what only shows after some symbols: groups, several batches, padding."""
    made = {}
    for number, (name, _) in CODERS.items():
        made[name] = forced(number, make_set(make_data((1, 3, 3), [20, 30], 6), 30, bits=2))
    constant = make_set(make_data((1,), [420_000]), 420_000, bits=1)
    constant.parameterization.stored.data.zero_()
    made["padded"] = forced(1, constant)
    return {f"large-{name}": blob for name, blob in made.items()}


def forced(number: int, distilled: DistilledSet, per_class: bool = False) -> bytes:
    """A set by a coder that may not be the best; if it wants a network of its own, by one of zeros."""
    (_, inputs), _, (outputs, _), _ = largest_shapes(distilled.spec.grid_shape[0])
    layers = [
        Layer(np.zeros((n, m), np.int16), np.zeros(n, np.int32)) for m, n in ((inputs, 1), (1, outputs))
    ]
    network = EntropyNetwork(layers)

    def with_network(*arguments: Any, **options: Any) -> Any:
        return code_grid(*arguments[:6], **options, network=network if number == OWN else None)

    choice = mock.patch(f"{pixel.__name__}.smallest_coder", lambda *_, **__: (number, 0.0))
    with choice, mock.patch(f"{pixel.__name__}.code_grid", with_network):
        blob = encode(distilled, per_class=per_class)
    if message_of(blob).pixel.coder != number:
        raise ValueError(f"coder {number} could not be forced: see pixel.py for how one is chosen")
    return blob


def hostile() -> dict[str, bytes]:
    """Few bytes that ask for as much as the limits of a fuzzed input admit."""
    made = {}
    for number, (name, _) in CODERS.items():
        made[f"long-{name}"] = described((1, 1, 499), [1], 1, number)
        made[f"thin-{name}"] = described((1, 1, 1), [66_000], 1, number)
        made[f"deep-{name}"] = described((100, 1, 1), [2], 8, number)
        made[f"split-{name}"] = described((1, 1, 2), [1], 1, number, 0, 200, bytes(100), (0, 1) * 99 + (2,))
    made["grows"] = described((1, 8, 8), [98_000], 1, 0, factor_log2=3)
    made["grows-and-is-cut"] = described((1, 1, 1), [9_000], 1, 0, factor_log2=3)
    made["grows-beyond"] = described((1, 8, 8), [1 << 20], 1, 0, factor_log2=3)
    made["classes"] = described((1,), [1], 1, 0, classes=1 << 13)
    made["most-classes"] = described((1,), [1], 1, 0, classes=1 << 20)
    made["samples"] = described((1,), [(1 << 32) - 1], 1, 0, classes=9)
    made["pixels"] = described((1, (1 << 24) - 1, (1 << 24) - 1), [1], 1, 0)
    made["lengths"] = changed(lambda m: m.class_lengths.extend([0] * 1000))
    made["counts"] = changed(lambda m: m.class_counts.extend([0] * 1000))
    made["sides"] = changed(lambda m: m.task_described.shape.extend([1] * 1000))
    made["features"] = described((200,), [1], 2, 1)
    made["logits"] = changed(lambda m: setattr(m.soft_labels, "logits", bytes(1000)))
    for name, shape, count in (("long", (1, 1, 499), 1), ("thin", (1, 1, 1), 9_000)):
        message = message_of(described(shape, [count], 1, 0))
        message.floats.SetInParent()
        made[f"{name}-floats"] = packed(message)
    shapes = {
        "long": ((1, 1, 256), 1),
        "deep": ((100, 1, 1), 2),
        "thin": ((1, 1, 1), 9_000),
        "cut": ((1, 1, 2), 9),
    }
    for name, (shape, count) in shapes.items():
        factor_log2 = 3 * (name == "cut")
        made[f"{name}-dct"] = described(shape, [count], 1, 0, factor_log2, transform=1)
    made.update(corpus_epitomes.hostile())
    made.update(corpus_latents.hostile())
    made.update(corpus_labels.hostile())
    made.update(corpus_networks.hostile())
    return {f"hostile-{name}": blob for name, blob in made.items()}


def described(
    shape: tuple[int, ...],
    counts: list[int],
    bits: int,
    coder: int,
    factor_log2: int = 0,
    classes: int = 1,
    stream: bytes = bytes(16),
    lengths: tuple[int, ...] = (),
    transform: int = 0,
) -> bytes:
    """A blob of a task of its own, with a stream, or one a class, of which every coder makes something."""
    task = pb.Task(
        name="x", shape=shape, classes=classes, normalisation=halves([0] * shape[0], [1] * shape[0])
    )
    channels = shape[0] if len(shape) == 3 else 1
    pairs = channels if channels <= 3 else 1
    grid = halves([0, 1] * pairs * (1 + transform))
    pixel = pb.Pixel(bits=bits, coder=coder, factor_log2=factor_log2, grid=grid)
    pixel.transform = pixel.band = transform
    message = pb.DistilledSet(task_described=task, class_counts=counts, pixel=pixel, stream=stream)
    message.class_lengths.extend(lengths)
    return packed(message)


def halves(*lists: list[float]) -> bytes:
    """Numbers as float16."""
    return np.concatenate(lists).astype("<f2").tobytes()


@cache
def tiny_blob() -> bytes:
    """A valid blob of 2×2×2 images in 3 classes, of which one is empty."""
    return encode(make_set(make_data((2, 2, 2), [1, 0, 2])), quick=True)


def changed(change: Change) -> bytes:
    """The tiny blob with its message changed."""
    message = message_of(tiny_blob())
    change(message)
    return packed(message)


def values() -> dict[str, bytes]:
    """Values that no encoder writes."""

    def grid(*numbers: float) -> Change:
        return lambda m: setattr(m.pixel, "grid", halves(list(numbers)))

    def normalisation(*numbers: float) -> Change:
        return lambda m: setattr(m.task_described, "normalisation", halves(list(numbers)))

    def logits(*numbers: float) -> Change:
        return lambda m: setattr(m.soft_labels, "logits", halves(list(numbers)))

    def banded(band: int) -> Change:
        def change(message: pb.DistilledSet) -> None:
            message.pixel.transform, message.pixel.band = 1, band
            message.pixel.grid *= 2

        return change

    def rate(number: float) -> Change:
        return lambda m: setattr(m, "learning_rate", number)

    def stream(data: bytes) -> Change:
        return lambda m: setattr(m, "stream", data)

    def lengths(*numbers: int) -> Change:
        return lambda m: m.class_lengths.extend(numbers)

    changes: dict[str, Change] = {
        "grid-nan": grid(NAN, 1, 0, 1),
        "grid-signalling-nan": lambda m: setattr(m.pixel, "grid", b"\1\x7d\0\x3c" * 2),
        "grid-infinite": grid(0, 1, -INFINITY, INFINITY),
        "grid-denormal": grid(SMALLEST_HALF, SMALLEST_HALF, 0, 1),
        "grid-smallest": grid(-0.0, 2**-14, 65504, 0.125),
        "grid-nearly-too-fine": grid(65504, 0.1251, 32768, 0.0625),
        "grid-largest": grid(-65504, 65504, 65504, 65504),
        "normalisation-nan": normalisation(0, 0, NAN, 1),
        "normalisation-denormal": normalisation(SMALLEST_HALF, -0.0, SMALLEST_HALF, 6.1e-5),
        "normalisation-largest": normalisation(65504, -65504, 65504, 65504),
        "stream-empty": stream(b""),
        "stream-zeros": stream(bytes(40)),
        "stream-ones": stream(b"\xff" * 40),
        "stream-odd": stream(b"\x01\x02\x03"),
        "lengths-zero": lengths(0),
        "lengths-all": lambda m: m.class_lengths.append(len(m.stream)),
        "lengths-beyond": lengths(1000),
        "lengths-largest": lengths((1 << 32) - 1),
        "lengths-too-many": lengths(1, 1),
        "no-side": lambda m: m.task_described.shape.__setitem__(1, 0),
        "flat": lambda m: m.task_described.shape.__setitem__(slice(None), [8]),
        "unknown-coder": lambda m: setattr(m.pixel, "coder", 200),
        "unknown-data-set": lambda m: setattr(m, "known_task", 99),
        "unknown-recipe": lambda m: setattr(m, "recipe_number", 99),
        "named-like-a-known-one": lambda m: setattr(m.task_described, "name", "digits"),
        "name-of-lines": lambda m: setattr(m.task_described, "name", "a\nb\0é\u2028" * 20),
        "factor-16": lambda m: setattr(m.pixel, "factor_log2", 4),
        "no-pixel": lambda m: m.ClearField("pixel"),
        "grid-one-pair": grid(0.5, 0.25),
        "spacing-unknown": lambda m: setattr(m.pixel, "spacing", 2),
        "spacing-largest": lambda m: setattr(m.pixel, "spacing", (1 << 32) - 1),
        "spacing-largest-grid": lambda m: (
            setattr(m.pixel, "spacing", 1),
            grid(-65504, 65504, 65504, 65504)(m),
        ),
        "dct": banded(1),
        "dct-band-none": banded(0),
        "dct-band-all": banded(3),
        "dct-band-beyond": banded(4),
        "dct-band-largest": banded((1 << 32) - 1),
        "dct-grid-odd": lambda m: (banded(1)(m), setattr(m.pixel, "grid", m.pixel.grid[1:])),
        "dct-grid-of-one-band": lambda m: (banded(1)(m), setattr(m.pixel, "grid", m.pixel.grid[:4])),
        "dct-grid-largest": lambda m: (
            banded(1)(m),
            setattr(m.pixel, "spacing", 1),
            grid(*[-65504, 65504] * 4)(m),
        ),
        "dct-flat": lambda m: (
            banded(1)(m),
            m.task_described.shape.__setitem__(slice(None), [2]),
        ),
        "dct-of-a-long-side": lambda m: (
            banded(1)(m),
            m.task_described.shape.__setitem__(slice(None), [2, 1, 257]),
        ),
        "transform-unknown": lambda m: setattr(m.pixel, "transform", 2),
        "transform-largest": lambda m: setattr(m.pixel, "transform", (1 << 32) - 1),
        "floats": lambda m: m.floats.SetInParent(),
        "floats-of-ones": lambda m: (m.floats.SetInParent(), stream(b"\xff" * 200)(m)),
        "floats-of-nothing": lambda m: (m.floats.SetInParent(), stream(b"")(m)),
        "logits-none": lambda m: m.soft_labels.SetInParent(),
        "logits-nan": logits(*[NAN] * 9),
        "logits-infinite": logits(*[0] * 8, INFINITY),
        "logits-largest": logits(*[65504, -65504, 0] * 3),
        "logits-too-few": logits(*[0] * 8),
        "rate-nan": rate(NAN),
        "rate-infinite": rate(INFINITY),
        "rate-negative": rate(-1e-3),
        "rate-smallest": rate(1e-45),
        "rate-negative-zero": rate(-0.0),
    }
    made = {name: changed(change) for name, change in changes.items()}
    made.update({f"epitome-{name}": blob for name, blob in corpus_epitomes.values().items()})
    made.update({f"latent-{name}": blob for name, blob in corpus_latents.values().items()})
    made.update({f"views-{name}": blob for name, blob in corpus_labels.values().items()})
    made.update({f"labeller-{name}": blob for name, blob in corpus_networks.values().items()})
    return {f"value-{name}": blob for name, blob in made.items()}


def wires() -> dict[str, bytes]:
    """Messages written as protobuf admits them, or does not, but no encoder would."""
    body = tiny_blob()[HEADER:]
    additions = {
        "unknown-fields": b"\x78\x01" * 200 + b"\xfa\x01\x03abc" * 50,
        "groups": b"\x7b" * 99 + b"\x7c" * 99,
        "groups-too-deep": b"\x7b" * 999,
        "counts-unpacked": b"\x18\x00" * 2 + b"\x1a\x01\x00",
        "long-varint": b"\x30" + b"\x81" + b"\x80" * 8 + b"\x00",
        "too-long-varint": b"\x30" + b"\xff" * 11,
        "repeated-messages": b"\x12\x00\x22\x00" * 150,
        "both-tasks": b"\x08\x03",
        "both-parameterisations": b"\x4a\x00",
        "both-parameterisations-many-times": b"\x4a\x00\x22\x02\x08\x03" * 100,
        "epitome-of-nothing": b"\x62\x00",
        "latent-of-nothing": b"\x6a\x00",
        "views-of-nothing": b"\x72\x00",
        "labeller-of-nothing": b"\x7a\x00",
        "labeller-and-views": b"\x7a\x02\x10\x01" + b"\x72\x06\x08\x01\x38\x01\x50\x02",
        "views-twice": b"\x72\x06\x08\x01\x38\x01\x50\x02" + b"\x72\x02\x08\x02",
        "views-and-labels": b"\x72\x06\x08\x01\x38\x01\x50\x02" + b"\x52\x00",
        "epitome-and-latent": b"\x62\x02\x08\x02\x6a\x02\x10\x02" * 2,
        "all-parameterisations": b"\x4a\x00\x62\x02\x08\x02\x22\x00\x62\x02\x10\x02",
        "rate-of-another-kind": b"\x58\x05",
        "rate-twice": b"\x5d\x00\x00\x80\x3f" * 2,
        "both-tasks-many-times": b"\x08\x03\x12\x00" * 200,
        "both-recipes": b"\x3a\x01a\x30\x01\x3a\x02bc",
        "field-zero": b"\x00\x00",
        "last-field": varint(((1 << 29) - 1) << 3) + b"\x00",
        "wrong-kind": b"\x2d\x00\x00\x00\x00",
        "length-beyond": b"\x2a\xff\xff\xff\xff\x07",
        "name-not-utf-8": b"\x12\x04\x0a\x02\xff\xfe",
        "recipe-not-utf-8": b"\x3a\x02\xc0\x80",
    }
    return {
        "wire-nothing": packed(b""),
        "wire-noise": packed(b"\xff" * 20),
        "wire-cut": packed(body[:-9]),
        **{f"wire-{name}": packed(body + added) for name, added in additions.items()},
    }


def files() -> dict[str, bytes]:
    """Files that are no blobs, or damaged ones."""
    blob = tiny_blob()
    made = {
        "empty": b"",
        "one-byte": b"F",
        "magic": b"FBIT",
        "header": blob[:HEADER],
        "truncated": blob[:-1],
        "appended": blob + b"\0",
        "checksum": blob[:-1] + bytes([blob[-1] ^ 1]),
        "version": packed(blob[HEADER:], version=200),
        "version-zero": packed(blob[HEADER:], version=0),
        "flags": packed(blob[HEADER:], flags=1),
        "length": blob[:6] + b"\xff\xff\xff\xff" + blob[10:],
        "another": b"PK\3\4" + blob,
    }
    return {f"file-{name}": data for name, data in made.items()}


def main() -> None:
    written = {f"{name}.fbits": blob for name, blob in seeds().items()}
    for path in (FOLDER / "corpus").iterdir():
        if path.name not in written and not path.name.startswith("found-"):
            path.unlink()
    for name, blob in written.items():
        (FOLDER / "corpus" / name).write_bytes(blob)


if __name__ == "__main__":
    main()
