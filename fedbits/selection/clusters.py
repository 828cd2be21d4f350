"""k-means: samples near the centres of the clusters of their class, in the features of a random network."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from fedbits.data.tensors import TensorData
from fedbits.rng import derive_seed
from fedbits.selection.features import CANDIDATES, random_features

_MOST_CLUSTERS = 128  # of a class; more take long, and a set of more samples is large enough to be diverse


def cluster(data: TensorData, candidates: Tensor, count: int, seed: int) -> Tensor:
    """The sample nearest to each of ``count`` centres, that of the largest cluster first.

    Where ``count`` is that of all samples, or beyond :data:`_MOST_CLUSTERS`, nobody knows yet how many will
    be taken: clusterings into 1, 2, 4, … follow each other, and each adds a sample to the clusters in which
    none was taken before, so that few cover the class coarsely and many finely. Then come the others.

    Of a class with many candidates the first :data:`CANDIDATES` are clustered.
    """
    looked_at, rest = candidates[:CANDIDATES], candidates[CANDIDATES:]
    features = random_features(data, looked_at, seed)
    stream = derive_seed(seed, "clusters")
    if count < len(looked_at) and count <= _MOST_CLUSTERS:
        return looked_at[torch.tensor(representatives(features, count, stream))]
    taken: list[int] = []
    clusters = 1
    while clusters <= min(_MOST_CLUSTERS, len(looked_at)):
        taken = representatives(features, clusters, stream, taken)
        clusters *= 2
    free = torch.ones(len(looked_at), dtype=torch.bool)
    free[taken] = False
    return torch.cat([looked_at[torch.tensor(taken)], looked_at[free], rest])[:count]


def representatives(features: Tensor, clusters: int, seed: int, taken: list[int] | None = None) -> list[int]:
    """``taken`` and, for each cluster without any of these, its free sample nearest to the centre."""
    taken = list(taken or [])
    centres, member_of = _k_means(features, clusters, seed)
    free = torch.ones(len(features), dtype=torch.bool)
    free[taken] = False
    covered = torch.zeros(clusters, dtype=torch.bool)
    covered[member_of[taken]] = True
    sizes = torch.bincount(member_of, minlength=clusters)
    distances = torch.cdist(centres, features)
    for number in sizes.argsort(descending=True, stable=True).tolist():
        if not covered[number] and bool(free.any()):
            best = int(distances[number].masked_fill(~free, torch.inf).argmin())
            taken.append(best)
            free[best] = False
    return taken


def _k_means(features: Tensor, clusters: int, seed: int) -> tuple[Tensor, Tensor]:
    """Centres ``[clusters, features]`` and the cluster of each sample."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    found = KMeans(clusters, n_init=1, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct samples than clusters
        member_of = found.fit_predict(features.numpy())
    centres = found.cluster_centers_.astype(np.float32)
    return torch.from_numpy(centres), torch.from_numpy(member_of.astype(np.int64))
