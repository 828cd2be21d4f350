"""What sites know together and each by itself: models of their sets and of their raw measurements."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch

from fedbits.data import Labelled, TensorData
from fedbits.data.beams import SITES
from fedbits.data.beams.measurements import SAMPLE_BYTES
from fedbits.data.union import Union
from nodes.messages import Facts
from nodes.server_app import RunResult, Session, test_union
from nodes.strategy import Outcome

logger = logging.getLogger("fedbits.nodes")

ALL = ""  # the test samples of all sites


class Origin(StrEnum):
    """What a model was trained on."""

    SETS = "sets"  # of all sites: the server's model
    OWN_SET = "own set"  # what one site has sent
    OWN_RAW = "own raw data"  # all measurements of one site
    RAW = "raw data"  # of all sites


@dataclass(frozen=True)
class SiteModel:
    """What networks know that were trained on one thing.

    Attributes:
        origin: what that is.
        sites: whose it is.
        size: its bytes: of blobs, or of float32 powers as they were measured.
        samples: how many it has.
        accuracies: one a network, in [0, 1], by the site whose test samples they are on, and on :data:`ALL`.
    """

    origin: Origin
    sites: tuple[str, ...]
    size: int
    samples: int
    accuracies: dict[str, list[float]]


@dataclass(frozen=True)
class StationsResult(RunResult):
    """Of base stations; ``models`` are empty where no set was ever accepted."""

    models: list[SiteModel]


def of_sites(data: TensorData) -> dict[str, TensorData]:
    """The samples of each site that has any, by its name."""
    return {name: part for name in SITES if len(part := of_some(data, [name]))}


def of_some(data: TensorData, names: Sequence[str]) -> TensorData:
    """The samples of the sites ``names``, in order."""
    assert data.sites is not None
    wanted = torch.tensor([list(SITES).index(name) for name in names], dtype=torch.int64)
    return data.subset(torch.isin(data.sites, wanted).nonzero().flatten())


def names_of(facts: Facts) -> tuple[str, ...]:
    """The sites that a node says its samples are of; none that we know where it does not say."""
    return tuple(name for name, count in zip(SITES, facts.site_counts, strict=False) if count)


def compare(session: Session, result: RunResult) -> list[SiteModel]:
    """The server's model, and beside it those of each site's set, of its raw data, and of all raw data.

    Nodes of the same sites count as one. Raw data are the server's own copy of the run's training data: in a
    deployment, a yardstick that only trials have.
    """
    learned = result.rounds[-1].learned
    if learned is None:
        return []
    plan = session.plan
    sent = [o for entry in result.rounds for o in entry.outcomes if o.distilled is not None]
    of_all = {ALL: list(learned.accuracies), **learned.by_part}
    size = _bytes(sent) + sum(entry.size for entry in result.joined)
    samples = _samples(sent) + sum(len(entry.distilled) for entry in result.joined)
    models = [SiteModel(Origin.SETS, _sites_of(sent), size, samples, of_all)]
    groups = _by_sites(sent)
    for names, outcomes in groups.items():
        union = Union(plan.data.spec, [o.distilled for o in outcomes if o.distilled is not None])
        models.append(_tested(session, Origin.OWN_SET, names, union, _bytes(outcomes)))
    for names in groups:
        raw = of_some(plan.data.train, names)
        if len(raw):
            models.append(_tested(session, Origin.OWN_RAW, names, raw, len(raw) * SAMPLE_BYTES))
    raw = plan.data.train
    models.append(_tested(session, Origin.RAW, tuple(of_sites(raw)), raw, len(raw) * SAMPLE_BYTES))
    return models


def _tested(session: Session, origin: Origin, names: tuple[str, ...], data: Labelled, size: int) -> SiteModel:
    logger.info("a model of %s of %s", origin, ", ".join(names))
    test = session.plan.data.test
    found = test_union(data, {ALL: test, **of_sites(test)}, session)
    accuracies = {name: list(evaluation.accuracies) for name, evaluation in found.items()}
    return SiteModel(origin, names, size, len(data), accuracies)


def _by_sites(sent: Iterable[Outcome]) -> dict[tuple[str, ...], list[Outcome]]:
    """What was accepted, by the sites of its node, in the order of sites; not of nodes that do not say."""
    groups: dict[tuple[str, ...], list[Outcome]] = {}
    for outcome in sent:
        groups.setdefault(names_of(outcome.facts), []).append(outcome)
    order = list(SITES)
    return {
        names: groups[names] for names in sorted(groups, key=lambda g: [order.index(n) for n in g]) if names
    }


def _sites_of(sent: Iterable[Outcome]) -> tuple[str, ...]:
    held = {name for outcome in sent for name in names_of(outcome.facts)}
    return tuple(name for name in SITES if name in held)


def _bytes(sent: Iterable[Outcome]) -> int:
    return sum(outcome.blob_bytes for outcome in sent)


def _samples(sent: Iterable[Outcome]) -> int:
    return sum(len(outcome.distilled) for outcome in sent if outcome.distilled is not None)
