"""The seed corpus's labels of views: valid ones, those that ask for much, and those of wrong values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
from making import make_data, make_set, message_of, packed
from viewed import SIZES, viewed

from fedbits.coding.weights import QuantisedTensor, encode_weights
from fedbits.container import encode
from fedbits.distilled_set import DistilledSet
from fedbits.labels import ViewsConfig
from fedbits.wire import distilled_set_pb2 as pb

_LARGEST = (1 << 32) - 1


def valid() -> dict[str, bytes]:
    """Every codec under both coders, and every kind of views."""
    gray, made = make_set(make_data((1, 2, 2), [2, 0, 1]), bits=1), {}
    for codec in SIZES:
        for mixed in (False, True):
            with mock.patch("fedbits.labels.view_labels.smallest_table", lambda *_, m=mixed: (m, 0.0)):
                made[f"{codec}-{'mixed' if mixed else 'counted'}"] = encode(viewed(gray, codec))
    others: dict[str, tuple[DistilledSet, dict[str, Any]]] = {
        "of-one-class": (make_set(make_data((1,), [2]), bits=1), {"codec": "top"}),
        "plain": (gray, {"views": ViewsConfig(2, 0, 1.0, 0, False, "none"), "spread": 0.1}),
        "of-many-epochs": (gray, {"views": ViewsConfig(40, 9, mix="mixup"), "spread": 0.1}),
        "hot": (gray, {"codec": "scalar", "temperature": 64.0, "levels": 2}),
    }
    made.update({name: encode(viewed(small, **how)) for name, (small, how) in others.items()})
    made["by-class"] = encode(viewed(gray, "pca"), per_class=True)
    return {f"valid-views-{name}": blob for name, blob in made.items()}


def labelled(classes: int = 1, samples: int = 1, **fields: Any) -> bytes:
    """Labels of ``fields``, of so many samples of one pixel in each of ``classes``."""
    task = pb.Task(name="x", shape=(1,), classes=classes, normalisation=np.array([0, 1], "<f2").tobytes())
    pixel = pb.Pixel(bits=1, grid=np.array([0, 1], "<f2").tobytes())
    message = pb.DistilledSet(task_described=task, pixel=pixel, stream=bytes(16))
    message.class_counts.append(samples)
    given = {"epochs": 1, "codec": 1, "levels": 2, "tensors": b"\1\2\3", "stream": bytes(60), **fields}
    message.view_labels.CopyFrom(pb.ViewLabels(**given))
    return packed(message)


def hostile() -> dict[str, bytes]:
    """Few bytes that ask for as much as the limits of a fuzzed input admit, or for more, of every kind."""
    more: dict[str, Any] = {"stream": bytes(130), "counted": True}
    decoder = {"codec": 5, "levels": 2, **more}
    return {
        "labels-of-many-epochs": labelled(epochs=1500, **more),
        "labels-of-many-mixed-epochs": labelled(epochs=500, stream=b"\x55" * 100),
        "labels-of-the-most-epochs": labelled(epochs=_LARGEST),
        "labels-of-many-samples": labelled(samples=400_000, **more),
        "labels-of-many-columns": labelled(900, **more),
        "labels-of-many-classes": labelled(47, 9, codec=0, levels=0, **more),
        "labels-of-the-largest": labelled(1 << 16, codec=2, width=1, **more),
        "labels-of-many-codes": labelled(samples=4000, codec=5, width=1, segment=1, levels=999, **more),
        "labels-of-a-wide-decoder": labelled(2, **decoder, width=50, segment=50),
        "labels-of-a-large-codebook": labelled(4, **{**decoder, "levels": 1500}, width=1, segment=1),
        "labels-of-all-there-is": labelled(
            2000, 1 << 20, epochs=_LARGEST, codec=5, width=1 << 14, segment=1 << 14, levels=4096
        ),
    }


def values() -> dict[str, bytes]:
    """Each number out of its range, and tensors at the ends of theirs."""
    blob = encode(viewed(make_set(make_data((1,), [1, 2]), bits=1), "vqae"))

    def other(change: Callable[[pb.ViewLabels], object]) -> bytes:
        message = message_of(blob)
        change(message.view_labels)
        return packed(message)

    made = {}
    beyond = {"epochs": 1 << 20, "cropped": 64, "rotation": 46, "mix": 3, "temperature": 1025, "codec": 6}
    beyond.update(width=(1 << 14) + 2, segment=3, levels=4097)
    for name, most in beyond.items():
        for what, value in (("none", 0), ("beyond", most), ("largest", _LARGEST)):
            made[f"{name}-{what}"] = other(lambda e, n=name, v=value: setattr(e, n, v))
    made["seed-largest"] = other(lambda e: setattr(e, "seed", _LARGEST))
    for name in ("tensors", "stream"):
        for what, sent in (("none", b""), ("ones", b"\xff" * 40), ("cut", b"\x01\x02\x03")):
            made[f"{name}-{what}"] = other(lambda e, n=name, v=sent: setattr(e, n, v))
    for what, largest, bits in (("largest", (1 << 31) - 1, -16), ("smallest", -1, 47)):
        tensors = [QuantisedTensor(np.full(shape, largest), bits) for shape in ((5, 2), (4, 2))]
        sent = encode_weights(tensors)
        made[f"tensors-{what}"] = other(lambda e, v=sent: setattr(e, "tensors", v))
    message = message_of(blob)
    message.soft_labels.logits = bytes(12)
    made["and-of-samples"] = packed(message)
    return made
