"""The folders that ``fedbits deploy keys`` makes: one for the server's host, one for each node's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedbits.errors import ConfigError
from fedbits.files import write_atomic

SERVER_FILE, NODE_FILE = "server.json", "node.json"


@dataclass(frozen=True)
class ServerFolder:
    """What the server's host has: certificates, the nodes' public keys, and in ``state/`` what Flower keeps.

    Attributes:
        path: the folder, absolute.
        port: of the SuperLink, for nodes and for commands on this host.
    """

    path: Path
    port: int

    @classmethod
    def read(cls, path: Path) -> ServerFolder:
        """The server's folder ``path``, or the one in ``path``.

        Raises:
            ConfigError: it is not there or not readable.
        """
        found = path if (path / SERVER_FILE).exists() or not (path / "server").is_dir() else path / "server"
        return cls(found.resolve(), _port(_read(found / SERVER_FILE, "server"), found))

    def write(self) -> Path:
        write_atomic(self.path / SERVER_FILE, json.dumps({"port": self.port}, indent=1) + "\n")
        return self.path / SERVER_FILE

    @property
    def authority(self) -> Path:
        return self.path / "ca.crt"

    @property
    def certificate(self) -> Path:
        return self.path / "server.crt"

    @property
    def key(self) -> Path:
        return self.path / "server.key"

    @property
    def secret(self) -> Path:
        """What the process that starts apps shows to the SuperLink."""
        return self.path / "superexec.secret"

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def address(self) -> str:
        """The SuperLink as commands on this host call it."""
        return f"127.0.0.1:{self.port}"

    def public_keys(self) -> dict[str, Path]:
        """The nodes that may take part, by name, in the order of their numbers' names."""
        return {path.stem: path for path in sorted((self.path / "nodes").glob("*.pub"))}


@dataclass(frozen=True)
class NodeFolder:
    """What a node's host has: its key, the authority's certificate, and who and where it is.

    Attributes:
        path: the folder, absolute.
        name: of the node.
        number: of the node, 0 .., in budgets and reports.
        server: ``HOST:PORT`` of the SuperLink.
    """

    path: Path
    name: str
    number: int
    server: str

    @classmethod
    def read(cls, path: Path) -> NodeFolder:
        """The node's folder ``path``; raises :class:`ConfigError` if it is not there or not readable."""
        found = _read(path / NODE_FILE, "node")
        name, number, server = (found.get(key) for key in ("name", "number", "server"))
        if not (isinstance(name, str) and isinstance(number, int) and isinstance(server, str)):
            raise ConfigError(f"{path / NODE_FILE} lacks a name, a number or a server: copy it again")
        return cls(path.resolve(), name, number, server)

    def write(self) -> Path:
        facts = {"name": self.name, "number": self.number, "server": self.server}
        write_atomic(self.path / NODE_FILE, json.dumps(facts, indent=1) + "\n")
        return self.path / NODE_FILE

    @property
    def authority(self) -> Path:
        return self.path / "ca.crt"

    @property
    def key(self) -> Path:
        return self.path / "node.key"

    @property
    def state(self) -> Path:
        return self.path / "state"


def check_files(*paths: Path) -> None:
    """Raises :class:`ConfigError` for the first of ``paths`` that is not a readable file."""
    for path in paths:
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read ({error.strerror}): copy the folder that 'fedbits deploy keys' made"
            ) from error


def _read(path: Path, whose: str) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path.parent} is not a {whose}'s folder: give the one that 'fedbits deploy keys' made for it"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: copy it again ({error})") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} cannot be read: copy it again")
    return found


def _port(found: Mapping[str, Any], path: Path) -> int:
    port = found.get("port")
    if not isinstance(port, int) or not 0 < port < 65536:
        raise ConfigError(f"{path / SERVER_FILE} names no port: copy it again")
    return port
