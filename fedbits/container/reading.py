"""A blob as the distilled set that it was made of."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

from fedbits.container.envelope import opened
from fedbits.container.limits import USUAL_LIMITS, DecodeLimits, check_limits
from fedbits.container.sections import (
    declared_labels,
    declared_network,
    labels_of,
    only,
    places,
    read_counts,
    read_learning_rate,
    read_parts,
    read_recipe,
    read_soft_labels,
)
from fedbits.declared import declared
from fedbits.distilled_set import DistilledSet
from fedbits.task_message import read_task
from fedbits.wire import distilled_set_pb2 as pb


def decode(
    blob: bytes, limits: DecodeLimits = USUAL_LIMITS, classes: Collection[int] | None = None
) -> DistilledSet:
    """The set that :func:`encode` was given; samples and weights of networks are the same on every machine.

    Args:
        classes: those wanted; the set then has no samples of any other, and no labels of views, which may
            be mixed with views of others (a network, which labels whatever views there are, stays). Where
            each class was coded by itself, the others are not decoded, and limits hold for what is.

    Raises:
        FormatError: whatever is wrong with ``blob``; nothing else, whatever the bytes.
        ConfigError: ``classes`` names one that the task does not have, or none of them has samples.
    """
    message = opened(blob, limits)
    spec, counts = read_task(message), read_counts(message)
    wanted = counts if classes is None else only(counts, classes)
    wanted = counts if wanted == counts else wanted
    read = wanted if message.class_lengths else counts
    labels, network = declared_labels(message, spec, counts, wanted), declared_network(message, spec)
    check_limits(message, spec, read, limits, labels or network)
    soft, rate = read_soft_labels(message, spec, counts, wanted), read_learning_rate(message)
    views = labels.read(labels_of(0, counts)) if labels else None
    labeller = network.read() if network else None
    parts, recipe = read_parts(message, counts, read), read_recipe(message)
    kind, stored = declared(message, spec).parameterization, _stored(message)
    del message, labels, network  # which take as much memory as the blob
    parameterization = kind.decode(stored, spec, sum(read), parts)
    if read is not wanted:
        parameterization = parameterization.selected(places(counts, wanted))
    return DistilledSet(spec, parameterization, wanted, recipe, soft, rate, views, labeller)


def _stored(message: pb.DistilledSet) -> Any:
    """A copy of what ``message`` says of its parameterisation; a part of it would keep the whole alive."""
    kind = message.WhichOneof("parameterization")
    return None if kind is None else copy.deepcopy(getattr(message, kind))
