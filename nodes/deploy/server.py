"""The server's host: SuperLink with TLS, keys of nodes and a database; beside it, what starts the ServerApps.

They are two processes (Flower's isolation ``process``), so that a run outlives the SuperLink: when that is
started again, the ServerApp and the nodes go on with what its database has.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fedbits.errors import ConfigError, FedbitsError
from fedbits.files import write_atomic
from nodes.deploy.control import Control
from nodes.deploy.folders import ServerFolder, check_files
from nodes.deploy.superlink import ADMITTED
from nodes.deploy.supervise import Child, end_all, stopped_by_signals, watch
from nodes.deploy.surroundings import environment, program

logger = logging.getLogger("fedbits.deploy")

READY_SECONDS = 120.0
ADDRESSES = ("0.0.0.0", "127.0.0.1")


@dataclass(frozen=True)
class ServerSettings:
    """``host`` is the address to listen on: 0.0.0.0, or 127.0.0.1 for a trial on one machine."""

    folder: ServerFolder
    host: str = "0.0.0.0"

    def __post_init__(self) -> None:
        if self.host not in ADDRESSES:  # commands on this host, and what starts apps, call 127.0.0.1
            raise ConfigError(f"cannot listen on {self.host!r}: take {' or '.join(ADDRESSES)}")


def superlink_command(settings: ServerSettings) -> list[str]:
    folder = settings.folder
    return [
        *(sys.executable, "-m", "nodes.deploy.superlink"),
        *("--host", settings.host, "--port", str(folder.port)),
        *("--ssl-certfile", str(folder.certificate), "--ssl-keyfile", str(folder.key)),
        *("--ssl-ca-certfile", str(folder.authority)),
        *("--isolation", "process", "--superexec-auth-secret-file", str(folder.secret)),
        *("--database", str(folder.state / "superlink.db")),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
    ]


def superexec_command(settings: ServerSettings) -> list[str]:
    folder = settings.folder
    return [
        program("flower-superexec"),
        *("--runtime-api-address", folder.address, "--root-certificates", str(folder.authority)),
        *("--superexec-auth-secret-file", str(folder.secret)),
    ]


def serve(settings: ServerSettings, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; ``ready`` is called once nodes and runs are welcome.

    Raises:
        ConfigError: files that are not there, or a port that is taken.
        FedbitsError: one of Flower's processes does not start, or ends again and again.
    """
    folder = settings.folder
    check_files(folder.authority, folder.certificate, folder.key, folder.secret)
    check_certificate(folder.certificate, datetime.now(UTC))
    _check_port(settings)
    admitted = folder.state / "admitted"
    admitted.unlink(missing_ok=True)
    surroundings = environment(folder.state / "flwr") | {ADMITTED: str(admitted)}
    superlink = Child("SuperLink", superlink_command(settings), surroundings)
    superexec = Child("SuperExec", superexec_command(settings), surroundings)
    children = [superlink, superexec]
    with stopped_by_signals() as stop:
        try:
            superlink.start()
            _wait_for(superlink, folder.port, stop)
            if not stop.is_set():
                admit_nodes(Control(folder))
                write_atomic(admitted, "")
                superexec.start()
                ready()
                watch(children, stop)
        finally:
            end_all(children)


def admit_nodes(control: Control) -> dict[str, int]:
    """Bring the SuperLink in line with the public keys in the folder: the addresses of nodes, by name.

    A key that is new is registered; where one is gone, or is another one now, the old one is shut out.
    """
    file = control.folder.state / "nodes.json"
    known: dict[str, dict[str, str]] = json.loads(file.read_text()) if file.exists() else {}
    keys = {name: path.read_text().strip() for name, path in control.folder.public_keys().items()}
    for name in [name for name, node in known.items() if keys.get(name) != node["key"]]:
        control.unregister(int(known.pop(name)["address"]))
        logger.info("node %s is shut out", name)
        _remember(file, known)
    for name in keys.keys() - known.keys():
        address = control.register(name, control.folder.public_keys()[name])
        if address is not None:
            known[name] = {"address": str(address), "key": keys[name]}
            logger.info("node %s is registered", name)
            _remember(file, known)
    return {name: int(node["address"]) for name, node in known.items()}


def _remember(file: Path, known: dict[str, dict[str, str]]) -> None:
    write_atomic(file, json.dumps(known, indent=1) + "\n")


def check_certificate(path: Path, now: datetime) -> None:
    """Raises :class:`ConfigError` for a certificate that cannot be read or is not valid ``now``."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{path} is not a certificate: copy it again") from error
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not first <= now <= last:
        raise ConfigError(
            f"{path} is valid from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC only, and it is "
            f"{now:%Y-%m-%d %H:%M}: make new keys, or set the clock"
        )


def _check_port(settings: ServerSettings) -> None:
    host, port = settings.host, settings.folder.port
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host} port {port}: {error.strerror}; is a server running already?"
            ) from error


def _wait_for(superlink: Child, port: int, stop: threading.Event) -> None:
    end = time.monotonic() + READY_SECONDS
    while not stop.wait(0.1):
        code = superlink.ended()
        if code is not None:
            raise FedbitsError(f"the SuperLink ended with code {code} before it served; its log says why")
        if time.monotonic() > end:
            raise FedbitsError(f"the SuperLink does not serve after {READY_SECONDS:.0f} seconds")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return
        except OSError:
            continue
