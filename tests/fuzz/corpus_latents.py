"""The seed corpus's latents: valid ones, those that ask for much, and those of numbers out of range."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from making import make_data, message_of, packed
from random_latents import in_random_latents
from storing import taught

from fedbits.container import encode
from fedbits.data import DataSpec
from fedbits.errors import CorruptError
from fedbits.parameterization.latent.form import Form
from fedbits.parameterization.latent.stream import checked
from fedbits.wire import distilled_set_pb2 as pb
from fuzz.corpus_epitomes import tensors

SMALL: dict[str, Any] = {
    "numbers": 0,
    "scales": (2,),
    "hidden": 1,
    "context": 8,
    "entropy_hidden": 1,
    "components": 1,
    "class_means": False,
    "coarser": False,
}


def valid() -> dict[str, bytes]:
    """Valid ones of every form."""
    gray, colour = make_data((1, 3, 3), [1, 2]), make_data((3, 2, 2), [1, 0, 2], 3)
    stacked = {"synthesis": "stacked", "convolutions": 1}
    others = {
        "pyramid": (gray, {}),
        "numbers": (gray, {"numbers": 2, "convolutions": 1}),
        "numbers-alone": (gray, {"numbers": 1, "scales": ()}),
        "scales": (gray, {"scales": (2, 1, 1), "coarser": True}),
        "stacked": (colour, stacked),
        "kernels": (gray, {**stacked, "upsampling": "learned", "class_means": True}),
        "flat": (make_data((5,), [2, 1], 1), {"scales": (3, 2), "class_means": True}),
        "groups": (colour, {"group": 2, "hidden": 2, "class_means": True}),
        "deep": (gray, {"entropy_layers": 2, "entropy_hidden": 2, "components": 2, "context": 24}),
        "wide": (gray, {"size": 60.0}),
    }
    made = {
        name: encode(in_random_latents(data, **{**SMALL, **more})) for name, (data, more) in others.items()
    }
    made["taught"] = encode(taught(in_random_latents(make_data((2,), [1, 2]), **SMALL), None))
    made["by-class"] = encode(in_random_latents(colour, **{**SMALL, "group": "class"}), per_class=True)
    return {f"valid-latent-{name}": blob for name, blob in made.items()}


def hostile() -> dict[str, bytes]:
    """Few bytes that ask for much of every kind."""
    most = (1 << 24) - 1
    return {
        "latents-of-many-samples": latent((1, 1, 1), 3000),
        "latents-of-many-places": latent((1, 20, 30), 1, scales=[1]),
        "latents-of-many-grids": latent((1, 2, 2), 1, scales=[1] * 100),
        "latents-of-many-numbers": latent((1, 2, 2), 1, scales=[], numbers=128),
        "latents-of-a-wide-network": latent((1, 2, 2), 1, hidden=32, convolutions=1, largest=0),
        "latents-of-a-deep-network": latent((1, 2, 2), 1, convolutions=8),
        "latents-of-a-dense-layer": latent((1, 40, 40), 1, scales=[], numbers=1, largest=0),
        "latents-of-long-kernels": latent((1, 1, 3000), 1, scales=[], numbers=1, synthesis=2, largest=0),
        "latents-of-long-lines": latent((1, 1, 4000), 1, scales=[256]),
        "latents-of-many-groups": latent((1, 1, 1), 60, classes=60, group_classes=1, largest=0),
        "latents-of-the-most-groups": latent((1, 1, 1), 1 << 20, classes=1 << 20, group_classes=1),
        "latents-of-many-means": latent((1, 4, 4), 99, classes=99, without_means=False, largest=0),
        "latents-of-all-there-is": latent((1, most, most), 1, scales=[1] * 128, hidden=256, convolutions=8),
        "latents-of-all-there-is-stacked": latent(
            (1, most, most), 1, scales=[256] * 128, hidden=256, convolutions=8, synthesis=2
        ),
        "latents-of-all-there-is-dense": latent(
            (1, 65536, 65536), 1, scales=[256], numbers=127, hidden=256, convolutions=8
        ),
    }


def latent(
    shape: tuple[int, ...],
    samples: int,
    classes: int = 1,
    largest: int = 9,
    length: int = 0,
    steps: int = 4,
    **fields: Any,
) -> bytes:
    """A blob of latents of these sizes, whose tensors are random; the stream is of zeros.

    Where they are many, it has no tensors.
    """
    numbers = np.repeat([0, 1], min(shape[0], 300)).astype("<f2").tobytes()
    task = pb.Task(name="x", shape=shape, classes=classes, normalisation=numbers)
    usual = {"scales": [1], "hidden": 1, "context": 8, "entropy_hidden": 1, "entropy_layers": 1}
    usual.update(components=1, reach=7, without_means=True, without_coarser=True)
    stored = pb.Latent(**{**usual, **fields})
    form = _form(stored, shape, classes)
    if form is not None and form.parameters < 1 << 14:
        stored.synthesis_weights = tensors(form.synthesis_shapes * form.groups, largest, steps)
        stored.entropy_weights = tensors(form.entropy_shapes * form.groups, largest, min(steps, 10))
    message = pb.DistilledSet(task_described=task, class_counts=[samples // classes])
    message.stream = bytes(length)
    message.latent.CopyFrom(stored)
    return packed(message)


def _form(stored: pb.Latent, shape: tuple[int, ...], classes: int) -> Form | None:
    """None where there is none."""
    sides = shape if len(shape) == 3 else (1, 1, shape[0])
    spec = DataSpec("x", sides, classes, (0.0,) * sides[0], (1.0,) * sides[0])
    try:
        return checked(stored, spec).form(spec)
    except CorruptError:
        return None


def values() -> dict[str, bytes]:
    """Each number out of its range, and tensors at the ends of theirs."""
    blob = latent((1, 1, 2), 2)

    def other(change: Callable[[pb.Latent], object]) -> bytes:
        message = message_of(blob)
        change(message.latent)
        return packed(message)

    made = {}
    beyond = {"numbers": 127, "group_classes": 2, "synthesis": 3, "hidden": 257, "convolutions": 9}
    beyond.update(context=9, entropy_hidden=65, entropy_layers=3, components=5, reach=128)
    for name, most in beyond.items():
        for what, value in (("none", 0), ("beyond", most), ("largest", (1 << 32) - 1)):
            made[f"{name}-{what}"] = other(lambda e, n=name, v=value: setattr(e, n, v))
    scales = {"none": [], "zero": [0], "beyond": [257], "largest": [(1 << 32) - 1], "ascending": [1, 2]}
    for name, factors in {**scales, "many": [1] * 129}.items():
        made[f"scales-{name}"] = other(lambda e, v=factors: e.scales.__setitem__(slice(None), v))
    for name in ("synthesis_weights", "entropy_weights"):
        for what, sent in (("none", b""), ("ones", b"\xff" * 40), ("cut", b"\x01\x02\x03")):
            made[f"{name}-{what}"] = other(lambda e, n=name, v=sent: setattr(e, n, v))
    form = _form(message_of(blob).latent, (1, 1, 2), 1)
    assert form is not None
    for largest, bits in itertools.product((1 << 23, (1 << 23) + 1, (1 << 31) - 1), (-16, 12, 47)):
        weights = tensors(form.synthesis_shapes, largest, bits)
        made[f"weights-of-{largest}-at-{bits}"] = other(
            lambda e, v=weights: setattr(e, "synthesis_weights", v)
        )
    for largest, bits in itertools.product(((1 << 15) - 1, 1 << 15), (-1, 0, 10, 11)):
        network = tensors(form.entropy_shapes, largest, bits)
        made[f"network-of-{largest}-at-{bits}"] = other(lambda e, v=network: setattr(e, "entropy_weights", v))
    return made
