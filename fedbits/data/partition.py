"""Who owns which samples: federated partitions, by flwr-datasets' partitioners."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fedbits.data.tensors import TensorData
from fedbits.errors import ConfigError
from fedbits.rng import derive_seed, numpy_stream

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner

_FORMS = "write iid, dirichlet:ALPHA (as dirichlet:0.3), classes:K (as classes:2) or site"
_ALPHAS = (1e-4, 1e6)  # outside, the draws under- or overflow and mean nothing new


def partition(data: TensorData, scheme: str, nodes: int, seed: int) -> list[Tensor]:
    """The samples of each node: ``nodes`` ascending int64 index tensors, every sample in exactly one.

    Schemes:
        ``iid``: equal random parts.
        ``dirichlet:ALPHA``: each class is divided in proportions drawn from a symmetric Dirichlet
            distribution; no balancing of sizes. A draw that leaves a node empty is repeated up to ten times.
            Where that does not help (``dirichlet:0.01`` with ten nodes, say, where a class goes to one
            node whole) the next draw is taken as it is: **a node may then be empty**, an index of length 0.
        ``classes:K``: each node has K classes, chosen at random but so that every class is held by as many
            nodes as every other, give or take one; a class is divided evenly among those that hold it.
        ``site``: each node has the samples of one site, for data that tells (beams). Of more nodes than
            sites, those of one site share its samples evenly at random; of fewer, a node has several sites.

    The same arguments give the same parts on every machine; no global random state is touched.

    Raises:
        ConfigError: an unknown scheme, a value out of range, more nodes than samples, more shares of a class
            than it has samples, classes that no node would hold, data without sites, or flwr-datasets is not
            installed.
    """
    kind, _, value = scheme.partition(":")
    if nodes < 1 or nodes > len(data):
        raise ConfigError(f"{nodes} nodes cannot share {len(data):,} samples: give 1 to {len(data):,} nodes")
    if kind == "iid" and not value:
        return _iid(data.labels.cpu(), nodes, seed)
    if kind == "dirichlet":
        return _dirichlet(data.labels.cpu(), _alpha(scheme, value), nodes, seed)
    if kind == "classes":
        return _by_classes(data.labels.cpu(), scheme, value, nodes, seed)
    if kind == "site" and not value:
        return _by_site(data, nodes, seed)
    raise ConfigError(f"partition scheme {scheme!r} is unknown: {_FORMS}")


def _iid(labels: Tensor, nodes: int, seed: int) -> list[Tensor]:
    from_flower = _partitioners()
    order = numpy_stream(seed, "partition", "iid").permutation(len(labels))  # its shards are contiguous
    return _parts(from_flower.IidPartitioner(nodes), labels.numpy()[order], order)


def _dirichlet(labels: Tensor, alpha: float, nodes: int, seed: int) -> list[Tensor]:
    from_flower = _partitioners()
    order = np.arange(len(labels))
    for attempt, smallest in enumerate((1, 0)):
        partitioner = from_flower.DirichletPartitioner(
            nodes,
            "label",
            alpha,
            min_partition_size=smallest,
            self_balancing=False,  # it would move the draws away from the named distribution
            shuffle=False,
            seed=derive_seed(seed, "partition", "dirichlet", attempt),
        )
        try:
            return _parts(partitioner, labels.numpy(), order)
        except ValueError:  # the partitioner's way to say that its draws all left a node empty
            if not smallest:
                raise
    raise AssertionError("unreachable: a smallest size of 0 is always met")


def _by_classes(labels: Tensor, scheme: str, value: str, nodes: int, seed: int) -> list[Tensor]:
    """Each node is dealt K classes; flwr-datasets divides the classes into as many shares as were dealt.

    Its own assignments leave classes, and so samples, with nobody. Hence it is asked for ``nodes * K``
    partitions of one class, dealt round-robin over the classes, and a node takes the K that it holds.
    """
    present, of_class = labels.unique(return_inverse=True)
    each = _class_count(scheme, value, len(present), nodes)
    hands = _deal(len(present), each, nodes, seed)
    uses = np.bincount(hands.flatten(), minlength=len(present))
    counts = torch.bincount(of_class).numpy()
    if (uses > counts).any():
        label = int(np.argmax(uses - counts))
        raise ConfigError(
            f"{scheme} with {nodes} nodes divides class {int(present[label])} into {uses[label]} shares, but "
            f"it has {counts[label]} samples: use fewer nodes or fewer classes each"
        )
    rank = np.empty_like(uses)  # the classes with one share more come first, as in round-robin
    rank[np.argsort(-uses, kind="stable")] = np.arange(len(uses))
    from_flower = _partitioners()
    shares = _parts(
        from_flower.PathologicalPartitioner(
            nodes * each, "label", 1, class_assignment_mode="deterministic", shuffle=False
        ),
        rank[of_class.numpy()],
        np.arange(len(labels)),
    )
    taken = np.zeros_like(uses)
    parts = []
    for hand in hands:
        parts.append(torch.cat([shares[rank[c] + taken[c] * len(uses)] for c in hand]).sort().values)
        taken[hand] += 1
    return parts


def _deal(classes: int, each: int, nodes: int, seed: int) -> np.ndarray:
    """``[nodes, each]`` distinct classes for each node, always those dealt least often so far."""
    rng = numpy_stream(seed, "partition", "classes")
    uses = np.zeros(classes, dtype=np.int64)
    hands = np.empty((nodes, each), dtype=np.int64)
    for hand in hands:
        hand[:] = np.lexsort((rng.random(classes), uses))[:each]
        uses[hand] += 1
    return hands


def _by_site(data: TensorData, nodes: int, seed: int) -> list[Tensor]:
    """Node ``i`` belongs to site ``i`` modulo their number, or site ``s`` to node ``s`` modulo theirs."""
    if data.sites is None:
        raise ConfigError(
            f"samples of {data.spec.name} do not tell which site they are from: partition 'site' is for beams"
        )
    sites = data.sites.cpu()
    present = sites.unique().tolist()
    parts: list[list[Tensor]] = [[] for _ in range(nodes)]
    for number, site in enumerate(present):
        members = torch.nonzero(sites == site).flatten()
        holders = range(number % nodes, nodes, len(present))
        if len(members) < len(holders):
            raise ConfigError(
                f"site {site} has {len(members)} samples for {len(holders)} nodes: use fewer nodes"
            )
        if len(holders) > 1:
            order = numpy_stream(seed, "partition", "site", site).permutation(len(members))
            members = members[torch.from_numpy(order)]
        for node, share in zip(holders, members.tensor_split(len(holders)), strict=True):
            parts[node].append(share)
    return [torch.cat(part).sort().values for part in parts]


def _parts(partitioner: Partitioner, labels: np.ndarray, index: np.ndarray) -> list[Tensor]:
    """What ``partitioner`` makes of samples with ``labels``, as ascending values of ``index``."""
    from datasets import Dataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of every repeated draw
        partitioner.dataset = Dataset.from_dict({"label": labels, "index": index})
        parts = [partitioner.load_partition(node)["index"][:] for node in range(partitioner.num_partitions)]
    return [torch.from_numpy(np.sort(np.asarray(part, dtype=np.int64))) for part in parts]


def _partitioners() -> Any:
    try:
        from flwr_datasets import partitioner
    except ImportError as error:
        raise ConfigError(
            f"partitions need flwr-datasets ({error}): install it with pip install 'fedbits[federated]'"
        ) from error
    return partitioner


def _alpha(scheme: str, value: str) -> float:
    low, high = _ALPHAS
    try:
        alpha = float(value)
    except ValueError:
        alpha = math.nan
    if not low <= alpha <= high:
        raise ConfigError(
            f"partition scheme {scheme!r} needs a concentration from {low:g} to {high:g}, as in dirichlet:0.3"
        )
    return alpha


def _class_count(scheme: str, value: str, present: int, nodes: int) -> int:
    each = int(value) if value.isascii() and value.isdecimal() else 0
    if not 1 <= each <= present:
        raise ConfigError(
            f"partition scheme {scheme!r} needs a number of classes from 1 to {present}, as in classes:2"
        )
    if nodes * each < present:
        raise ConfigError(
            f"{scheme} with {nodes} nodes leaves {present - nodes * each} of {present} classes with nobody: "
            f"use at least {math.ceil(present / each)} nodes or classes:{math.ceil(present / nodes)}"
        )
    return each
