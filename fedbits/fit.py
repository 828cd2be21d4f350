"""Bring a finished set to its budget: a hard promise, used to the full."""

from __future__ import annotations

import torch

from fedbits.container import encode
from fedbits.distilled_set import DistilledSet
from fedbits.errors import BudgetError
from fedbits.plan import Candidates, largest_within

FILL = 0.95  # a blob uses at least this share of its budget, unless the data ran out
_STRENGTHS = [0.01 * 4**i for i in range(11)]  # from hardly any change to hardly a bit
_BISECTIONS = 10


def fit(distilled: DistilledSet, candidates: Candidates, budget: int, may_grow: bool) -> DistilledSet:
    """The set with ``len(encode(set)) <= budget``, and at least :data:`FILL` of it where ``may_grow``.

    A set that is too large is re-quantised at the smallest rate-distortion trade-off that fits; one that is
    too small gets further real samples.

    Raises:
        BudgetError: even the strongest re-quantisation does not fit.
    """
    if may_grow and len(encode(distilled)) < FILL * budget:
        distilled = _grow(distilled, candidates, budget)
    if len(encode(distilled)) > budget:
        return _tighten(distilled, budget)
    return distilled


def _tighten(distilled: DistilledSet, budget: int) -> DistilledSet:
    def at(strength: float) -> DistilledSet:
        tightened = distilled.parameterization.tightened(strength)
        return DistilledSet(distilled.spec, tightened, distilled.class_counts(), distilled.recipe)

    low, smallest = 0.0, len(encode(distilled))
    for high in _STRENGTHS:
        smallest = min(smallest, len(encode(at(high))))
        if smallest <= budget:
            break
        low = high
    else:
        raise BudgetError(
            f"{len(distilled)} samples do not fit a budget of {budget:,} bytes: the smallest that would "
            f"do is {smallest:,} bytes, or give fewer samples (--ipc) or bits (--bits)"
        )
    best = at(high)
    for _ in range(_BISECTIONS):
        if len(encode(best)) >= 0.995 * budget:
            break
        middle = (low + high) / 2
        candidate = at(middle)
        if len(encode(candidate)) <= budget:
            best, high = candidate, middle
        else:
            low = middle
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
    if size(total) < FILL * budget and total < candidates.total:
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
    return DistilledSet(distilled.spec, joined, list(counts), distilled.recipe)
