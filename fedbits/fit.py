"""Bring a finished set to its budget: a hard promise, used to the full."""

from __future__ import annotations

import math

import torch

from fedbits.container import encode
from fedbits.distilled_set import DistilledSet
from fedbits.errors import BudgetError
from fedbits.labels import SoftLabels
from fedbits.plan import Candidates, largest_within

FILL = 0.95  # a blob uses at least this share of its budget, unless the data ran out
_STRONGEST = 1e4  # a trade-off at which hardly a bit is left
_BISECTIONS = 12


def check_budget(starting: DistilledSet, budget: int) -> None:
    """Refuse a budget before the work of optimisation.

    Raises:
        BudgetError: the starting set does not fit, even re-quantised to hardly a bit; it names the size
            that would do, which depends on nothing that optimisation changes.
    """
    smallest = min(len(encode(starting)), len(encode(_tightened(starting, _STRONGEST))))
    if smallest > budget:
        raise BudgetError(
            f"{len(starting)} samples do not fit a budget of {budget:,} bytes: the smallest that would do is "
            f"{smallest:,} bytes, or give fewer samples (--ipc) or bits (--bits)"
        )


def fit(
    distilled: DistilledSet, starting: DistilledSet, candidates: Candidates, budget: int, may_grow: bool
) -> DistilledSet:
    """The set with ``len(encode(set)) <= budget``, and at least :data:`FILL` of it where ``may_grow``.

    (Float32 samples are stored whole: of those as many as fit.)

    A set that is too large is re-quantised at a rate-distortion trade-off that just fits; one that is too
    small gets further real samples. Should no trade-off fit, ``starting`` is what is left: it does, by
    :func:`check_budget`.
    """
    if may_grow and len(encode(distilled)) < FILL * budget:
        distilled = _grow(distilled, candidates, budget)
    for candidate in (distilled, starting):
        if len(encode(candidate)) <= budget:
            return candidate
        if len(encode(_tightened(candidate, _STRONGEST))) <= budget:
            return _tighten(candidate, budget)
    raise AssertionError("check_budget comes first")


def _tightened(distilled: DistilledSet, strength: float) -> DistilledSet:
    return distilled.storing(distilled.parameterization.tightened(strength))


def _tighten(distilled: DistilledSet, budget: int) -> DistilledSet:
    """Bisect the trade-off, on a logarithmic scale, between one that is too large and one that fits."""
    low, high = -4.0, math.log10(_STRONGEST)
    best = _tightened(distilled, _STRONGEST)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        candidate = _tightened(distilled, 10**middle)
        size = len(encode(candidate))
        if size > budget:
            low = middle
            continue
        best, high = candidate, middle
        if size >= 0.995 * budget:
            break
    return best


def _grow(distilled: DistilledSet, candidates: Candidates, budget: int) -> DistilledSet:
    """Append real samples until one more would not fit; that one too if the set would stay too small."""
    have = torch.tensor(distilled.class_counts())

    def with_total(total: int) -> DistilledSet:
        counts = torch.maximum(have, torch.tensor(candidates.counts(total)))
        return _joined(distilled, candidates, tuple(counts.tolist()))

    def size(total: int) -> int:
        return len(encode(with_total(total)))

    total = largest_within(size, len(distilled), candidates.total, budget)
    tightens = distilled.parameterization.shrinkable
    if tightens and size(total) < FILL * budget and total < candidates.total:
        total += 1
    return with_total(total)


def _joined(distilled: DistilledSet, candidates: Candidates, counts: tuple[int, ...]) -> DistilledSet:
    have = distilled.class_counts()
    extra = [order[start:stop] for order, start, stop in zip(candidates.chosen, have, counts, strict=True)]
    index = torch.cat(extra).to(candidates.data.labels.device)
    if not len(index):
        return distilled
    batch = candidates.data.batch(index)
    order = torch.argsort(torch.cat([distilled.labels, batch.labels.cpu()]), stable=True)
    joined = distilled.parameterization.joined(batch.samples.cpu(), order)
    soft = distilled.soft_labels
    if soft is not None:
        soft = soft.joined(SoftLabels.certain(batch.labels.cpu(), distilled.spec.classes), order)
    return DistilledSet(distilled.spec, joined, list(counts), distilled.recipe, soft, distilled.learning_rate)
