"""Bring a finished set to its budget: a hard promise, used to the full."""

from __future__ import annotations

import math

import torch

from fedbits.container import encode, ledger
from fedbits.cut import first, within
from fedbits.distilled_set import DistilledSet
from fedbits.errors import BudgetError
from fedbits.labels import SoftLabels
from fedbits.plan import CLOSE, Candidates, largest_within

FILL = 0.95  # a blob uses at least this share of its budget, unless the data ran out
_WEAKEST, _STRONGEST = 1e-4, 1e4  # trade-offs that change nothing, and at which hardly a bit is left
_FALL, _POWER = 1.5, 0.9  # how sizes fall with the trade-off: measured at 2 and 3 bits
_AIM = (1 + CLOSE) / 2  # share of the budget that trials aim at
_FLATTEST = 0.1
_FURTHER = 1.1  # samples that are fitted at once, of those that the next trial takes
_ALIKE = 1.001  # trade-offs that are not told apart
_TRIALS = 14


def check_budget(starting: DistilledSet, budget: int, may_shrink: bool = False) -> None:
    """Refuse a budget before the work of optimisation.

    Args:
        may_shrink: whether the set may lose samples, if only one of each class is left.

    Raises:
        BudgetError: the starting set does not fit, even re-quantised as far as its form bears; it names the
            size that would do, which depends on nothing that optimisation changes.
    """
    smallest = len(encode(starting))
    if smallest <= budget:
        return
    if starting.parameterization.most_tightened < 1:
        least = _thinned(starting, 0) if may_shrink else starting
        smallest = len(encode(least))
        tightest = len(encode(_tightened(least, _STRONGEST)))
        if smallest <= _bearable(least, budget) and min(smallest, tightest) <= budget:
            return
    else:
        smallest = min(smallest, len(encode(_tightened(starting, _STRONGEST))))
    if smallest > budget:
        raise BudgetError(
            f"{len(starting)} samples do not fit a budget of {budget:,} bytes: the smallest that would do is "
            f"{smallest:,} bytes, or give fewer samples (--ipc) or {starting.parameterization.leaner}"
        )


def fit(
    distilled: DistilledSet, starting: DistilledSet, candidates: Candidates, budget: int, may_grow: bool
) -> DistilledSet:
    """The set with ``len(encode(set)) <= budget``, and at least :data:`FILL` of it where ``may_grow``.

    (Float32 samples are stored whole: of those as many as fit.)

    A set that is too large is re-quantised at a rate-distortion trade-off that just fits, once it has lost
    samples where its form bears no more and it ``may_grow``; one that is too small gets further real samples.
    Should nothing fit, ``starting`` is what is left: it does, by :func:`check_budget`.
    """
    if may_grow:
        distilled = _thinned(distilled, budget)
        if len(encode(distilled)) < FILL * budget:
            return _squeezed(_grow(distilled, candidates, budget), budget, False) or distilled
    for gently in (True, False):
        for one in (distilled, starting):
            fitting = _squeezed(_thinned(one, budget) if may_grow else one, budget, gently)
            if fitting is not None:
                return fitting
    for one in (distilled, starting) if may_grow else ():
        fitting = _squeezed(within(one, budget), budget, False)
        if fitting is not None:
            return fitting
    raise AssertionError("check_budget comes first")


def _squeezed(distilled: DistilledSet, budget: int, gently: bool) -> DistilledSet | None:
    """The set in at most ``budget`` bytes; None where it cannot be, or (``gently``) not without harm."""
    size = len(encode(distilled))
    if size <= budget:
        return distilled
    if gently and size > _bearable(distilled, budget):
        return None
    if len(encode(_tightened(distilled, _STRONGEST))) > budget:
        return None
    return _tighten(distilled, size, budget)


def _bearable(distilled: DistilledSet, budget: int) -> float:
    """Bytes of sets like this one that are tightened to ``budget`` without harm."""
    stored = distilled.parameterization
    most = stored.most_tightened
    if most >= 1:
        return math.inf
    blob = encode(distilled)
    bits = ledger(blob).components
    shared = len(blob) - sum(bits[part] for part in stored.own_parts) / 8
    return budget + most * max(0.0, budget - shared)


def _thinned(distilled: DistilledSet, budget: int) -> DistilledSet:
    """As many samples of the set as can be tightened to ``budget`` without harm."""
    return within(distilled, _bearable(distilled, budget))


def _tightened(distilled: DistilledSet, strength: float) -> DistilledSet:
    return distilled.storing(distilled.parameterization.tightened(strength))


def _tighten(distilled: DistilledSet, size: int, budget: int) -> DistilledSet:
    """Find the trade-off that just fits, of a set that takes ``size`` bytes, more than ``budget``.

    Sizes fall about as ``size · exp(-a · strength^p)``: each trial is where the curve through the last ones
    meets the budget, or halfway between the nearest on either side, should it lead out of these.
    """
    wanted = math.log(size / (_AIM * budget))
    weak, strong, power = _WEAKEST, _STRONGEST, _POWER
    strength = (wanted / _FALL) ** (1 / power)
    best, last = _tightened(distilled, _STRONGEST), None
    for _ in range(_TRIALS):
        if strong < _ALIKE * weak:
            break
        if not weak < strength < strong:
            strength = math.sqrt(weak * strong)
        candidate = _tightened(distilled, strength)
        taken = len(encode(candidate))
        if taken > budget:
            weak = strength
        else:
            best, strong = candidate, strength
            if taken >= CLOSE * budget:
                break
        point = math.log(strength), math.log(max(math.log(size / taken), 1e-3 * wanted))
        if last is not None and point[1] != last[1]:
            power = (point[1] - last[1]) / (point[0] - last[0])
        last = point
        strength *= math.exp((math.log(wanted) - point[1]) / max(power, _FLATTEST))
    return best


def _grow(distilled: DistilledSet, candidates: Candidates, budget: int) -> DistilledSet:
    """Append real samples until one more would not fit; that one too if the set would stay too small."""
    have, larger = torch.tensor(distilled.class_counts()), distilled

    def counts(total: int) -> tuple[int, ...]:
        return tuple(torch.maximum(have, torch.tensor(candidates.counts(total))).tolist())

    def with_total(total: int) -> DistilledSet:
        nonlocal larger
        if not distilled.parameterization.shared_parts:
            return _joined(distilled, candidates, counts(total))
        if total > len(larger):  # fitting samples to what others share takes long: once for many trials
            larger = _joined(distilled, candidates, counts(math.ceil(_FURTHER * total)))
        return first(larger, counts(total))

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
    joined = distilled.parameterization.joined(batch.samples.cpu(), batch.labels.cpu(), order)
    soft = distilled.soft_labels
    if soft is not None:
        soft = soft.joined(SoftLabels.certain(batch.labels.cpu(), distilled.spec.classes), order)
    return DistilledSet(distilled.spec, joined, list(counts), distilled.recipe, soft, distilled.learning_rate)
