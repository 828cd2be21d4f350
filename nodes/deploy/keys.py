"""Keys and certificates of a deployment, sorted into the folders of the hosts that need them."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedbits.errors import ConfigError
from fedbits.files import write_atomic
from nodes.deploy.folders import NodeFolder, ServerFolder
from nodes.exchange.certificates import make_certificates, write_secret
from nodes.exchange.identity import check_name

DEFAULT_PORT = 8000
_SECRET_BYTES = 32


@dataclass(frozen=True)
class Deployment:
    """What keys are for.

    Attributes:
        folder: where they are written.
        hosts: names of the nodes.
        server: names and addresses of the server's host, the first of them the one that nodes call.
        port: of the SuperLink.
        days: for which the certificates are valid.
    """

    folder: Path
    hosts: Sequence[str]
    server: Sequence[str] = ()
    port: int = DEFAULT_PORT
    days: float = 365.0


def make_keys(deployment: Deployment) -> list[Path]:
    """Write ``server/`` and ``nodes/NAME/``, each to be copied to its host: the files written.

    A folder that has an authority (``ca``) already gets more nodes; its server stays as it is.

    Raises:
        ConfigError: names that cannot be or are there already, or a folder that cannot be used.
    """
    for name in deployment.hosts:
        check_name(name)
        if _node_path(deployment, name).exists() or deployment.hosts.count(name) > 1:
            raise ConfigError(f"a node {name!r} is there already: take another name, or delete its keys")
    if not deployment.hosts:
        raise ConfigError("--hosts names no node: give one name or more, after commas")
    server, written = _server(deployment)
    number = len(list((deployment.folder / "nodes").glob("*/node.json")))
    for offset, name in enumerate(deployment.hosts):
        written += _node(deployment, name, number + offset, server)
    return written


def _server(deployment: Deployment) -> tuple[str, list[Path]]:
    """The address that nodes call, and the files written for the server's host."""
    folder, path = deployment.folder, deployment.folder / "server"
    address_file = path / "address"
    if (folder / "ca.key").exists():
        if deployment.server:
            raise ConfigError(f"{folder} has a server's certificate already: --server is for a new folder")
        try:
            return address_file.read_text().strip(), []
        except OSError as error:
            raise ConfigError(f"{folder} has an authority but no server: take another folder") from error
    names = list(deployment.server) or ["127.0.0.1"]
    make_certificates(folder, (), names, deployment.days)
    path.mkdir(exist_ok=True)
    for name in ("server.crt", "server.key"):
        (folder / name).replace(path / name)
    shutil.copy(folder / "ca.crt", path / "ca.crt")
    server = ServerFolder(path, deployment.port)
    write_secret(server.secret, secrets.token_bytes(_SECRET_BYTES))
    host = f"[{names[0]}]" if ":" in names[0] else names[0]
    write_atomic(address_file, f"{host}:{deployment.port}\n")
    authority = [folder / "ca.key", folder / "ca.crt"]
    return f"{host}:{deployment.port}", [
        *authority,
        server.authority,
        server.certificate,
        server.key,
        server.secret,
        server.write(),
    ]


def _node(deployment: Deployment, name: str, number: int, server: str) -> list[Path]:
    """A node's folder; its public key goes to the server's."""
    key = ec.generate_private_key(ec.SECP384R1())  # a NIST curve, as Flower asks for
    node = NodeFolder(_node_path(deployment, name), name, number, server)
    node.path.mkdir(parents=True)
    shutil.copy(deployment.folder / "ca.crt", node.authority)
    write_secret(
        node.key,
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        ),
    )
    public = deployment.folder / "server" / "nodes" / f"{name}.pub"
    encoded = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    write_atomic(public, encoded + b"\n")
    return [node.authority, node.key, node.write(), public]


def _node_path(deployment: Deployment, name: str) -> Path:
    return deployment.folder / "nodes" / name
