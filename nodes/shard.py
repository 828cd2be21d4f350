"""The data of one node, loaded once per process."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fedbits import data
from fedbits.data import DataSet, TensorData
from fedbits.errors import ConfigError
from nodes.config import RunConfig, Scalar


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


_OWN: dict[str, Scalar] = {"data-root": "", "download": False, "partition": "iid", "partition-seed": 0}


@dataclass(frozen=True)
class Holding:
    """What one node owns: partition ``partition`` of ``partitions`` of a source, or all of it (None)."""

    source: Source
    partition: int | None
    partitions: int

    @classmethod
    def of(cls, config: RunConfig, node_config: Mapping[str, Scalar]) -> Holding:
        """What a node of a run owns, by what Flower tells it of itself.

        A node of a deployment says itself what its data are (``data``); nothing that the server sends then
        has a say in it. In a simulation the run says so.

        Raises:
            ConfigError: settings of the node that are of the wrong type.
        """
        if "data" not in node_config:
            partition = node_config.get("partition-id")
            if not isinstance(partition, int) or not 0 <= partition < config.nodes:
                partition = None
            return cls(Source.of(config), partition, config.nodes)
        own: dict[str, Scalar] = {**_OWN, **node_config}
        kinds = {"data": str, "data-root": str, "download": bool, "partition": str, "partition-seed": int}
        for key, kind in kinds.items():
            if type(own[key]) is not kind:
                raise ConfigError(f"the node's setting {key!r} is {own[key]!r}, not a {kind.__name__}")
        root = Path(str(own["data-root"])) if own["data-root"] else None
        source = Source(
            str(own["data"]), root, bool(own["download"]), str(own["partition"]), int(own["partition-seed"])
        )
        partition, partitions = own.get("partition-id"), own.get("num-partitions", 1)
        if partition is None:
            return cls(source, None, 1)
        if not (isinstance(partition, int) and isinstance(partitions, int) and 0 <= partition < partitions):
            raise ConfigError(f"the node's partition {partition!r} is none of 0 .. {partitions!r} - 1")
        return cls(source, partition, partitions)

    def load(self) -> TensorData:
        """The samples; errors are those of :func:`load_shard`."""
        return load_shard(self.source, self.partition, self.partitions)


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
