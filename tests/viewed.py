"""Labels of views whose every number is random, to test the wire format: nothing is fitted."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch

from fedbits.coding.weights import QuantisedTensor
from fedbits.distilled_set import DistilledSet
from fedbits.labels import CODECS, CodecConfig, ViewLabels, ViewsConfig

SIZES: dict[str, dict[str, int]] = {
    "float16": {},
    "scalar": {"levels": 4},
    "top": {"width": 2, "levels": 3},
    "pca": {"width": 2, "levels": 5},
    "vq": {"segment": 2, "levels": 6},
    "vqae": {"width": 4, "segment": 2, "levels": 5},
}


def view_labels(
    distilled: DistilledSet,
    codec: str = "vqae",
    views: ViewsConfig | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    spread: float = 1.0,
    **sizes: int,
) -> ViewLabels:
    """Labels of any symbols; of small ``spread``, most of them are what their class and partner say."""
    views = ViewsConfig(2, 7) if views is None else views
    classes = distilled.spec.classes
    sizes = sizes or {
        name: min(size, classes) if name in ("width", "segment") and codec != "vqae" else size
        for name, size in SIZES[codec].items()
    }
    kind, config = CODECS[codec], CodecConfig(codec, **sizes)
    kind.check(config, classes)
    draws = np.random.default_rng(seed)
    tensors = [
        QuantisedTensor(
            np.rint(200 * draws.standard_normal(shape)).astype(np.int64), int(draws.integers(6, 10))
        )
        for shape in kind.shapes(config, classes)
    ]
    made = ViewLabels(views, temperature, kind(config, classes, tensors), _NONE, distilled.labels)
    rows, levels = made.rows, np.array(kind.columns(config, classes))
    likely = (rows.classes + 3 * rows.mixed)[:, :, None] + np.arange(len(levels))
    noise = draws.integers(0, levels, likely.shape) * (draws.random(likely.shape) < spread)
    return ViewLabels(
        views, temperature, made.codec, ((likely + noise) % levels).astype(np.uint16), made.classes
    )


_NONE = np.zeros((0, 0, 0), np.uint16)


def viewed(distilled: DistilledSet, codec: str = "vqae", **settings: Any) -> DistilledSet:
    """The same set with labels of its views."""
    return distilled.taught(view_labels(distilled, codec, **settings))


def same(one: ViewLabels, other: ViewLabels) -> bool:
    """Whether both are the same in every bit."""
    tensors = zip(one.codec.tensors, other.codec.tensors, strict=True)
    return (
        (one.config, one.temperature, one.codec.config)
        == (other.config, other.temperature, other.codec.config)
        and all(a.fraction_bits == b.fraction_bits and np.array_equal(a.values, b.values) for a, b in tensors)
        and np.array_equal(one.table, other.table)
        and torch.equal(one.classes, other.classes)
    )


def digest(labels: ViewLabels) -> str:
    """SHA-256 of the table, of the tensors, and of who is mixed with whom."""
    found = hashlib.sha256(labels.table.astype("<u2").tobytes())
    for tensor in labels.codec.tensors:
        found.update(np.array(tensor.fraction_bits, "<i8").tobytes() + tensor.values.astype("<i8").tobytes())
    for epoch in range(labels.config.epochs):
        partners = labels.views.partners(epoch, torch.arange(len(labels)))
        found.update(partners.numpy().astype("<i8").tobytes())
    return found.hexdigest()
