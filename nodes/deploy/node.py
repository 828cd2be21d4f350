"""A node's host: a SuperNode that says itself what its data are."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import tomli_w

from fedbits.data.registry import anchored
from fedbits.errors import ConfigError
from fedbits.files import write_atomic
from nodes.config import RunConfig, Scalar
from nodes.deploy.folders import NodeFolder, check_files
from nodes.deploy.surroundings import environment, program
from nodes.roles import EDGE_NODE, check_name

MAX_PARTITIONS = 10_000


@dataclass(frozen=True)
class NodeSettings:
    """What a node is and owns.

    Attributes:
        folder: its keys, and where its server is.
        data, data_root, download: its data set, as ``fedbits.data.load`` takes it.
        partition_id, partitions: it owns this part (0 ..) of so many; all of the data set when None.
        partition, partition_seed: how the data set is cut, where the node owns a part of it.
        role: what it is among the nodes, one of :data:`nodes.roles.ROLES`, whatever the run's role is.
        port: on this host alone, for the processes that run the apps; 0 takes a free one.
    """

    folder: NodeFolder
    data: str
    data_root: str = ""
    download: bool = False
    partition_id: int | None = None
    partitions: int = 1
    partition: str = "iid"
    partition_seed: int = 0
    role: str = EDGE_NODE
    port: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.partitions <= MAX_PARTITIONS:
            raise ConfigError(f"--partitions {self.partitions} is not between 1 and {MAX_PARTITIONS:,}")
        if self.partition_id is not None and not 0 <= self.partition_id < self.partitions:
            raise ConfigError(
                f"--partition-id {self.partition_id} is not between 0 and {self.partitions - 1} "
                f"(--partitions {self.partitions})"
            )
        check_name(self.role)

    def to_flat(self) -> dict[str, Scalar]:
        """As Flower's node config, which the apps read; paths are absolute, since apps run elsewhere."""
        flat: dict[str, Scalar] = {
            "name": self.folder.name,
            "number": self.folder.number,
            "role": self.role,
            "data": anchored(self.data),
            "data-root": str(Path(self.data_root).expanduser().absolute()) if self.data_root else "",
            "download": self.download,
        }
        if self.partition_id is not None:
            flat |= {
                "partition-id": self.partition_id,
                "num-partitions": self.partitions,
                "partition": self.partition,
                "partition-seed": self.partition_seed,
            }
        return flat


def check_data(settings: NodeSettings) -> int:
    """Load the node's data once, before it offers its services: the number of its samples.

    Raises:
        DataError, ConfigError: it cannot be loaded, has no such part, or is none that the role is for.
    """
    from nodes import roles
    from nodes.shard import Holding

    held = Holding.of(RunConfig(), settings.to_flat()).load()
    roles.get(settings.role).check_data(held)
    return len(held)


def supernode_command(settings: NodeSettings, node_config: Path) -> list[str]:
    folder = settings.folder
    return [
        program("flower-supernode"),
        *("--superlink", folder.server, "--root-certificates", str(folder.authority)),
        *("--auth-supernode-private-key", str(folder.key)),
        *("--node-config", str(node_config)),
        *("--host", "127.0.0.1", "--port", str(settings.port or _free_port())),
    ]


def become_supernode(settings: NodeSettings) -> NoReturn:
    """Turn this process into the node's SuperNode, so that signals and exit codes are its own.

    Raises:
        ConfigError: files that are not there.
    """
    folder = settings.folder
    check_files(folder.authority, folder.key)
    surroundings = environment(folder.state / "flwr")
    node_config = folder.state / "node.toml"
    write_atomic(node_config, tomli_w.dumps(settings.to_flat()))
    command = supernode_command(settings, node_config)
    os.execve(command[0], command, surroundings)


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def describe(settings: NodeSettings, samples: int) -> dict[str, object]:
    """What a node tells about itself when it starts."""
    return {**settings.to_flat(), "samples": samples, "server": settings.folder.server}
