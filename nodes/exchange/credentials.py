"""Certificates of one end of a connection, and the channel or port that they make."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from fedbits.errors import ConfigError
from nodes.exchange.identity import check_loopback


@dataclass(frozen=True)
class Credentials:
    """PEM files: the authority that the other end's certificate must be from, one's own certificate and key.

    All three, or none of them: then ``insecure`` must be set, and the address be one of this machine.
    """

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False

    def check(self, address: str) -> None:
        """Raises :class:`ConfigError` unless these are the right credentials for ``address``."""
        given = [self.authority, self.certificate, self.key]
        if self.insecure:
            if any(given):
                raise ConfigError("--insecure does without --ca, --certificate and --key: give it or them")
            check_loopback(address)
        elif not all(given):
            raise ConfigError("give --ca, --certificate and --key, or --insecure for a trial on this machine")

    def server(self) -> grpc.ServerCredentials:
        """For a server that wants a certificate of everybody; raises :class:`ConfigError`."""
        authority, certificate, key = self._read()
        return grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)

    def channel(self) -> grpc.ChannelCredentials:
        """For a client; raises :class:`ConfigError`."""
        authority, certificate, key = self._read()
        return grpc.ssl_channel_credentials(authority, key, certificate)

    def _read(self) -> tuple[bytes, bytes, bytes]:
        contents = _pem(self.authority), _pem(self.certificate), _pem(self.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which says what is wrong, where grpc only fails
        try:
            context.load_cert_chain(str(self.certificate), str(self.key), password="")
            context.load_verify_locations(cafile=str(self.authority))
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                f"{self.certificate} and {self.key} are not a certificate and its key, without a password, "
                f"or {self.authority} is not an authority's certificate"
            ) from error
        return contents


def _pem(path: Path | None) -> bytes:
    assert path is not None, "check() comes first"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    if b"-----BEGIN " not in content:
        raise ConfigError(
            f"{path} is not a PEM file: make some for a trial with 'fedbits exchange certificates'"
        )
    return content
