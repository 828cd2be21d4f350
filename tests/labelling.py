"""Networks that label views, of random weights, to test the wire format: nothing is trained."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from fedbits.coding.weights import QuantisedTensor
from fedbits.data.spec import DataSpec
from fedbits.distilled_set import DistilledSet
from fedbits.labels import NetworkLabels
from fedbits.labels.network.config import LabellerConfig
from fedbits.labels.network.form import NetworkForm, form_for

# Whatever views there may be.
EVERY_VIEW = LabellerConfig(least_area=0.5, rotation=15, flipped=True, mix="cutmix")


def network_labels(
    spec: DataSpec,
    form: NetworkForm | None = None,
    config: LabellerConfig | None = None,
    *,
    views: int = 7,
    seed: int = 0,
    tensors: tuple[QuantisedTensor, ...] | None = None,
    known: bytes = b"",
) -> NetworkLabels:
    """A network of any weights for samples of ``spec``; its views are drawn from ``views``."""
    form, config = form or form_for(spec, 3), config or EVERY_VIEW
    draws = np.random.default_rng(seed)
    made = tensors or tuple(
        QuantisedTensor(np.rint(3 * draws.standard_normal(shape)).astype(np.int64), int(draws.integers(2, 5)))
        for shape in form.shapes(spec)
    )
    return NetworkLabels(config.views(views), config.temperature, form, made, known)


def hybrid(distilled: DistilledSet, config: LabellerConfig | None = None, **how: Any) -> DistilledSet:
    """The same set with a network that labels its views."""
    return distilled.labelled(network_labels(distilled.spec, config=config, **how))


def alone(spec: DataSpec, form: NetworkForm | None = None, **how: Any) -> DistilledSet:
    """A network, and no samples."""
    return DistilledSet.alone(spec, network_labels(spec, form, **how), "network")


def digest(labels: NetworkLabels) -> str:
    """SHA-256 of the tensors."""
    found = hashlib.sha256()
    for tensor in labels.tensors:
        found.update(np.array(tensor.fraction_bits, "<i8").tobytes() + tensor.values.astype("<i8").tobytes())
    return found.hexdigest()
