"""Names of nodes, and addresses: who calls, and whether it is on this machine."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping

from fedbits.errors import ConfigError
from nodes.exchange.refusals import Reason, RefusedError

UNNAMED = "local"  # who calls without a certificate and without a name
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]+):(\d{1,5})")
_CERTIFIED = ("x509_common_name", "x509_subject_alternative_name")  # as grpc calls them


def is_name(text: str) -> bool:
    """Whether ``text`` can name a node: 1 to 100 letters, digits, '.', '_', '-', also in files' names."""
    return _NAME.fullmatch(text) is not None


def check_name(text: str) -> str:
    """``text``, if it can name a node; raises :class:`ConfigError` where it cannot."""
    if not is_name(text):
        raise ConfigError(
            f"{text[:120]!r} cannot name a node: take letters, digits, '.', '_' and '-', at most 100, "
            "the first a letter or digit"
        )
    return text


def certified_name(auth_context: Mapping[str, Iterable[bytes]]) -> str:
    """The name in the certificate of a connection: its common name, or else its first alternative name.

    Raises:
        RefusedError: there is no certificate, or no such name in it.
    """
    for field in _CERTIFIED:
        for value in auth_context.get(field, ()):
            name = value.decode("utf-8", "replace")
            if name:
                return _checked(name)
    raise RefusedError(Reason.UNIDENTIFIED, "the caller has no certificate with a name in it")


def claimed_name(metadata: Iterable[tuple[str, str | bytes]], key: str) -> str:
    """The name that a caller on this machine gives itself; raises :class:`RefusedError` if it is none."""
    for name, value in metadata:
        if name == key:
            return _checked(value if isinstance(value, str) else value.decode("utf-8", "replace"))
    return UNNAMED


def _checked(name: str) -> str:
    if not is_name(name):
        raise RefusedError(Reason.UNIDENTIFIED, "the caller's name is not one that a node can have")
    return name


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[IPv6]:PORT``; raises :class:`ConfigError` on anything else."""
    match = _ADDRESS.fullmatch(address)
    if not match or int(match[2]) > 65535:
        raise ConfigError(f"the address {address!r} cannot be read: write HOST:PORT, such as 127.0.0.1:9440")
    return match[1].strip("[]"), int(match[2])


def check_loopback(address: str) -> None:
    """Refuse to do without certificates where others could listen.

    Raises:
        ConfigError: ``address`` is not one of this machine alone.
    """
    host, _ = split_address(address)
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise ConfigError(
            f"--insecure is for trials on one machine, and {host!r} is not its loopback address: "
            "give --ca, --certificate and --key instead"
        )
