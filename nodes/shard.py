"""The data of one node, loaded once per process."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fedbits import data
from fedbits.data import DataSet, TensorData
from nodes.config import RunConfig


@dataclass(frozen=True)
class Source:
    """Where a data set comes from and how it is spread: the part of a run that decides what a node owns."""

    name: str
    root: Path | None
    download: bool
    scheme: str
    seed: int

    @classmethod
    def of(cls, config: RunConfig) -> Source:
        return cls(config.data, config.root, config.download, config.partition, config.seed)


def load_shard(source: Source, partition: int | None, partitions: int) -> TensorData:
    """The training samples of partition ``partition`` of ``partitions``; all of them when it is None.

    Raises:
        DataError: the data set is not there or not of the expected form.
        ConfigError: it cannot be spread in this way, or there is no such partition.
    """
    whole = load(source).train
    if partition is None:
        return whole
    return whole.subset(_parts(source, partitions)[partition])


@functools.lru_cache(maxsize=2)
def load(source: Source) -> DataSet:
    """The whole data set, kept for the next call."""
    return data.load(source.name, source.root, source.download)


@functools.lru_cache(maxsize=2)
def _parts(source: Source, partitions: int) -> list[Tensor]:
    return data.partition(load(source).train, source.scheme, partitions, source.seed)
