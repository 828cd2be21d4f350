"""The seed corpus's epitomes: valid ones, those that ask for much, and those of numbers out of range."""

from __future__ import annotations

import math
from collections.abc import Callable
from unittest import mock

import numpy as np
from making import make_data, message_of, packed
from storing import in_epitome, taught

from fedbits.coding import CODERS, RangeWriter, code_grid
from fedbits.coding.grid import OWN
from fedbits.coding.weights import QuantisedTensor, encode_weights
from fedbits.container import encode
from fedbits.parameterization.epitome import stream
from fedbits.parameterization.epitome.form import Form
from fedbits.wire import distilled_set_pb2 as pb


def valid() -> dict[str, bytes]:
    """Valid ones of every coder that they may have, and of every form."""
    small = {"tokens": 2, "width": 2, "nonzeros": 3, "patch": 2, "bits": 3}
    gray, colour = make_data((1, 3, 3), [1, 2]), make_data((3, 2, 2), [1, 0, 2], 3)
    made = {}
    for number, (name, _) in CODERS.items():
        if number != OWN:
            with mock.patch(f"{stream.__name__}.smallest", lambda *_, n=number: (n, 0.0)):
                made[name] = encode(in_epitome(gray, **{**small, "nonzeros": 100}))
    others = {
        "linear": in_epitome(colour, **{**small, "blocks": 0}),
        "flat": in_epitome(make_data((5,), [2, 1], 1), **{**small, "width": 3, "patch": 3}),
        "two-heads": in_epitome(gray, **{**small, "heads": 2, "blocks": 0}),
        "two-blocks": in_epitome(make_data((3,), [1, 1]), **{**small, "width": 1, "blocks": 2}),
        "of-a-patch": in_epitome(gray, **{**small, "patch": 9, "blocks": 0}),
        "of-places": in_epitome(gray, **{**small, "patch": 1, "bits": 8}),
        "taught": taught(in_epitome(make_data((2,), [1, 2]), **small), None),
    }
    made.update({name: encode(other) for name, other in others.items()})
    made["by-class"] = encode(in_epitome(colour, **small), per_class=True)
    return {f"valid-epitome-{name}": blob for name, blob in made.items()}


def hostile() -> dict[str, bytes]:
    """Few bytes that ask for much of every kind."""
    return {
        "epitome-of-many-samples": epitome((1, 1, 1), 1500, 1, 1),
        "epitome-of-a-large-patch": epitome((1, 1, 1), 9, 1, 1, patch=256, largest=0),
        "epitome-of-many-patches": epitome((1, 1, 200), 1, 1, 1),
        "epitome-of-many-tokens": epitome((1, 1, 1), 1, 200, 1),
        "epitome-of-the-most-tokens": epitome((1, 1, 1), 1, 4096, 1, largest=0),
        "epitome-of-a-wide-network": epitome((1, 1, 1), 1, 1, 24, blocks=1),
        "epitome-of-a-deep-network": epitome((1, 1, 1), 1, 1, 1, blocks=16),
        "epitome-of-many-heads": epitome((1, 1, 1), 1, 1, 100, heads=100),
        "epitome-of-all-there-is": epitome((1, (1 << 24) - 1, (1 << 24) - 1), 1, 4096, 1024, 1024, 16, 256),
    }


def epitome(
    shape: tuple[int, ...],
    samples: int,
    tokens: int,
    width: int,
    heads: int = 1,
    blocks: int = 0,
    patch: int = 1,
    bits: int = 2,
    coder: int = 7,
    largest: int = 9,
    length: int = 0,
) -> bytes:
    """A blob of an epitome of these sizes, whose tensors are random, and whose coefficients are 0.

    Where they are many, it has no tensors, and a stream of what no coefficient can be.
    """
    numbers = np.repeat([0, 1], min(shape[0], 300)).astype("<f2").tobytes()
    task = pb.Task(name="x", shape=shape, classes=1, normalisation=numbers)
    stored = pb.Epitome(tokens=tokens, width=width, heads=heads, blocks=blocks, patch=patch, bits=bits)
    stored.coder, stored.nonzeros = coder, 1 << 20
    stored.fraction_bits.extend([4] * heads)
    grid = shape if len(shape) == 3 else (1, 1, shape[0])
    form = Form(tokens, width, heads, blocks, grid, (patch if len(shape) == 3 else 1, patch))
    if form.parameters < 1 << 20:
        stored.token_weights = tensors([form.token_shape], largest)
        stored.network_weights = tensors(form.network_shapes, largest)
    symbols, writer = (
        np.full((samples, 1, 1, min(math.prod(form.codes), 1 << 12)), 1 << bits - 1),
        RangeWriter(),
    )
    code_grid(writer, coder, 1 << bits, symbols.shape, symbols)
    message = pb.DistilledSet(task_described=task, class_counts=[samples])
    message.stream = writer.bytes().ljust(length, b"\0")
    message.epitome.CopyFrom(stored)
    return packed(message)


def tensors(shapes: list[tuple[int, ...]], largest: int = 9, fraction_bits: int = 4) -> bytes:
    """Integers of ``largest`` or half as much in magnitude, or zero, as they are sent."""
    draws = np.random.default_rng(0)
    values = [draws.integers(-2, 2, shape, np.int64, endpoint=True) * largest // 2 for shape in shapes]
    return encode_weights([QuantisedTensor(value, fraction_bits) for value in values])


def values() -> dict[str, bytes]:
    """Each number out of its range, and tensors at the ends of theirs."""
    blob = epitome((1, 2, 2), 2, 2, 2, 1, 1, 2)

    def other(change: Callable[[pb.Epitome], object]) -> bytes:
        message = message_of(blob)
        change(message.epitome)
        return packed(message)

    made = {}
    beyond = {"tokens": 4097, "width": 1025, "heads": 3, "blocks": 17, "patch": 257, "bits": 9, "coder": 8}
    for name, most in {**beyond, "nonzeros": (1 << 20) + 1}.items():
        for what, value in (("none", 0), ("beyond", most), ("largest", (1 << 32) - 1)):
            made[f"{name}-{what}"] = other(lambda e, n=name, v=value: setattr(e, n, v))
    for name in ("token_weights", "network_weights"):
        for what, value in (("none", b""), ("ones", b"\xff" * 40), ("cut", b"\x01\x02\x03")):
            made[f"{name}-{what}"] = other(lambda e, n=name, v=value: setattr(e, n, v))
    shapes = Form(2, 2, 1, 1, (1, 2, 2), (2, 2)).network_shapes
    for largest in (1 << 23, (1 << 23) + 1, (1 << 31) - 1):
        for fraction_bits in (-16, 30, 31, 47):
            sent = tensors(shapes, largest, fraction_bits)
            name = f"weights-of-{largest}-at-{fraction_bits}"
            made[name] = other(lambda e, v=sent: setattr(e, "network_weights", v))
        tokens = tensors([(2, 2)], largest, -16)
        made[f"tokens-of-{largest}"] = other(lambda e, v=tokens: setattr(e, "token_weights", v))
    for name, steps in {"least": [-16], "most": [47], "below": [-17], "beyond": [48], "two": [1, 1]}.items():
        made[f"steps-{name}"] = other(lambda e, v=steps: e.fraction_bits.__setitem__(slice(None), v))
    return made
