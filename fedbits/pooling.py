"""What the networks of several sets can do together that each cannot do alone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from fedbits.distilled_set import DistilledSet
from fedbits.errors import ConfigError
from fedbits.labels import RULES, Ensemble, Rule, pooled


def with_pooled_labels(sets: Sequence[DistilledSet]) -> list[DistilledSet]:
    """Those of ``sets`` that have samples; their networks, and those alone, label each other's views.

    A set without a network stays as it is.
    """
    networks = [one.network for one in sets if one.network is not None]
    return [
        one if one.network is None else one.labelled(pooled(one.network, networks))
        for one in sets
        if len(one)
    ]


def taught_by(sets: Sequence[DistilledSet], networks: Sequence[DistilledSet]) -> list[DistilledSet]:
    """Those of ``sets`` that have samples; all ``networks`` label their views."""
    asked = [one.network for one in networks if one.network is not None]
    return [one.labelled(pooled(asked[0], asked)) for one in sets if len(one)] if asked else []


def ensembles(sets: Sequence[DistilledSet]) -> dict[Rule, nn.Module]:
    """The networks of ``sets`` as one classifier, by each rule: normalised samples to log-probabilities.

    Raises:
        ConfigError: none of the sets has a network.
    """
    networks = [one.network for one in sets if one.network is not None]
    if not networks:
        raise ConfigError("none of the sets holds a network: there is nothing to ask")
    return {rule: Ensemble(networks, rule).eval() for rule in RULES}
