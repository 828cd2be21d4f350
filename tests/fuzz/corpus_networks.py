"""The seed corpus's networks that label: valid ones, those that ask for much, and those of wrong values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from labelling import EVERY_VIEW, alone, hybrid, network_labels
from making import make_data, make_set, message_of, packed

from fedbits.coding.weights import QuantisedTensor, encode_weights
from fedbits.container import encode
from fedbits.labels.network.form import NetworkForm
from fedbits.wire import distilled_set_pb2 as pb

_LARGEST = (1 << 32) - 1


def valid() -> dict[str, bytes]:
    """Both kinds, with samples and alone."""
    gray, flat = make_data((1, 2, 2), [2, 0, 1]), make_data((3,), [1, 2])
    conv = network_labels(
        gray.spec, NetworkForm("convnet", 1), replace(EVERY_VIEW, mix="mixup", temperature=64.0)
    )
    made = {
        "mlp": hybrid(make_set(gray, bits=1)),
        "convnet": make_set(gray, bits=1).labelled(conv),
        "flat": hybrid(
            make_set(flat, bits=1), replace(EVERY_VIEW, least_area=1.0, rotation=0, flipped=False)
        ),
        "alone": alone(flat.spec, known=b"\0\x51"),
        "alone-convnet": alone(gray.spec, NetworkForm("convnet", 2)),
    }
    blobs = {name: encode(one) for name, one in made.items()}
    blobs["by-class"] = encode(made["mlp"], per_class=True)
    return {f"valid-labeller-{name}": blob for name, blob in blobs.items()}


def labelled(classes: int = 1, shape: tuple[int, ...] = (1,), **fields: Any) -> bytes:
    """A network of ``fields`` alone, for samples of ``shape``."""
    task = pb.Task(name="x", shape=shape, classes=classes)
    task.normalisation = np.repeat([0, 1], shape[0]).astype("<f2").tobytes()
    message = pb.DistilledSet(task_described=task)
    message.network_labels.CopyFrom(pb.NetworkLabels(**{"width": 1, "tensors": b"\1\2\3", **fields}))
    return packed(message)


def hostile() -> dict[str, bytes]:
    """Few bytes that ask for much, of every kind."""
    grid = (1, 4, 4)
    return {
        "labeller-of-zeros": labelled(width=90),
        "labeller-of-ones": labelled(width=60, tensors=b"\xff" * 99),
        "labeller-convnet-of-zeros": labelled(shape=grid, kind=1, width=15),
        "labeller-of-the-widest": labelled(width=1024),
        "labeller-known-of-others": labelled(3, known=b"\1\2"),
        "labeller-convnet-of-the-widest": labelled(shape=grid, kind=1, width=1024),
        "labeller-of-many-classes": labelled(1 << 20, kind=1, shape=grid),
        "labeller-of-large-samples": labelled(shape=(1, (1 << 24) - 1, (1 << 24) - 1)),
        "labeller-of-all-there-is": labelled(1 << 20, (1, (1 << 24) - 1, (1 << 24) - 1), width=1024),
    }


def values() -> dict[str, bytes]:
    """Each number out of its range, and tensors at the ends of theirs."""
    data = make_data((1, 2, 2), [1, 2])
    blob, form = encode(hybrid(make_set(data, bits=1))), NetworkForm("mlp", 3)

    def other(change: Callable[[pb.NetworkLabels], object]) -> bytes:
        message = message_of(blob)
        change(message.network_labels)
        return packed(message)

    made = {}
    beyond = {"kind": 2, "width": 1025, "cropped": 64, "rotation": 46, "mix": 3, "temperature": 1025}
    for name, most in beyond.items():
        for what, value in (("none", 0), ("beyond", most), ("largest", _LARGEST)):
            made[f"{name}-{what}"] = other(lambda e, n=name, v=value: setattr(e, n, v))
    made["seed-largest"] = other(lambda e: setattr(e, "seed", _LARGEST))
    for what, sent in (("none", b""), ("ones", b"\xff" * 40), ("cut", b"\x01\x02\x03")):
        made[f"tensors-{what}"] = other(lambda e, v=sent: setattr(e, "tensors", v))
    for what, largest, bits in (("largest", (1 << 31) - 1, -16), ("smallest", -1, 47)):
        shapes = form.shapes(data.spec)
        sent = encode_weights([QuantisedTensor(np.full(shape, largest), bits) for shape in shapes])
        made[f"tensors-{what}"] = other(lambda e, v=sent: setattr(e, "tensors", v))
    message = message_of(blob)
    message.soft_labels.logits = bytes(12)
    made["and-of-samples"] = packed(message)
    message = message_of(encode(alone(data.spec)))
    message.class_counts.append(1)
    made["alone-with-counts"] = packed(message)
    return made
