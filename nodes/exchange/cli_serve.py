"""``fedbits exchange serve`` and ``certificates``: what the one who runs an exchange needs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedbits.cli import common
from fedbits.errors import ConfigError

if TYPE_CHECKING:
    from nodes.exchange.server import ExchangeServer

AuthorityOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        envvar="FEDBITS_EXCHANGE_CA",
        help="PEM file of the authority that the other end's certificate is from.",
        show_default=False,
    ),
]
CertificateOption = Annotated[
    Path | None,
    typer.Option(
        "--certificate",
        envvar="FEDBITS_EXCHANGE_CERTIFICATE",
        help="PEM file of one's own certificate.",
        show_default=False,
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key",
        envvar="FEDBITS_EXCHANGE_KEY",
        help="PEM file of the key to that certificate.",
        show_default=False,
    ),
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Do without certificates, for a trial on this machine alone.")
]

SERVE_EXAMPLES = (
    "Examples:\n\n"
    "fedbits exchange serve --storage exchange/ --insecure\n\n"
    "fedbits exchange serve --storage /var/lib/fedbits --address 0.0.0.0:9440 --ca ca.crt "
    "--certificate server.crt --key server.key --access access.toml --metrics 127.0.0.1:9441 "
    "--keep-for 30d\n\n"
    "SIGTERM or Ctrl-C ends it, after --grace at most. Logs are JSON lines on standard error; with --json, "
    "one object on standard output says where it serves, once it does."
)
CERTIFICATES_EXAMPLES = (
    "Examples:\n\n"
    "fedbits exchange certificates certificates/ --names alpha,beta --hosts exchange.example.org\n\n"
    "fedbits exchange certificates certificates/ --names gamma\n\n"
    "fedbits exchange certificates certificates/ --names delta --days 7 --json\n\n"
    "The first makes an authority (ca), the exchange's certificate (server) and two nodes'; the others add "
    "nodes. Keep ca.key to yourself, and give each node ca.crt and its own two files."
)


def register(group: typer.Typer) -> None:
    group.command("serve", epilog=SERVE_EXAMPLES)(serve)
    group.command("certificates", epilog=CERTIFICATES_EXAMPLES)(certificates)


@contextmanager
def needing_the_extra() -> Iterator[None]:
    """Say how to get what is not installed; raises :class:`ConfigError` in place of ImportError.

    Standard error is for our own sentences and logs, so grpc is told to keep its own to itself, unless the
    user has asked for them.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"{error}: install what the exchange needs, pip install 'fedbits[exchange]'"
        ) from error


StorageOption = Annotated[Path, typer.Option("--storage", help="Folder to keep sets in.", show_default=False)]
AddressOption = Annotated[
    str, typer.Option("--address", help="Where to listen: HOST:PORT; port 0 is any that is free.")
]
AccessOption = Annotated[
    Path | None,
    typer.Option(
        "--access",
        help="TOML file of who may publish and fetch; read anew when it changes.",
        show_default=False,
    ),
]
MetricsOption = Annotated[
    str | None,
    typer.Option("--metrics", help="Where Prometheus finds metrics: HOST:PORT [default: nowhere]."),
]
QuotaOption = Annotated[
    str, typer.Option("--quota", help="What a node may store, unless --access says more.")
]
CapacityOption = Annotated[str, typer.Option("--capacity", help="What all nodes may store together.")]
BlobLimitOption = Annotated[str, typer.Option("--blob-limit", help="The largest blob.")]
PartialLimitOption = Annotated[
    str, typer.Option("--partial-limit", help="What unfinished uploads may take together.")
]
PartialForOption = Annotated[
    str, typer.Option("--partial-for", help="How long an unfinished upload is kept.")
]
KeepForOption = Annotated[
    str | None, typer.Option("--keep-for", help="How long sets are kept [default: for ever].")
]
KeepNewestOption = Annotated[
    int | None, typer.Option("--keep-newest", min=1, help="Sets kept of each node [default: all].")
]
UploadsOption = Annotated[
    int, typer.Option("--uploads", min=1, help="Uploads that move at the same time; others wait.")
]
IdleOption = Annotated[str, typer.Option("--idle", help="How long a stream may stand still.")]
ExaminersOption = Annotated[
    int, typer.Option("--examiners", min=1, max=256, help="Processes that decode what arrives.")
]
DecodeMemoryOption = Annotated[
    str, typer.Option("--decode-memory", help="Memory that decoding one blob may take.")
]
DecodeTimeOption = Annotated[
    str, typer.Option("--decode-time", help="CPU time that decoding one blob may take.")
]
GraceOption = Annotated[
    str, typer.Option("--grace", help="How long running calls get to end when the exchange does.")
]


def serve(
    storage: StorageOption,
    address: AddressOption = "127.0.0.1:9440",
    ca: AuthorityOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    insecure: InsecureOption = False,
    access: AccessOption = None,
    metrics: MetricsOption = None,
    quota: QuotaOption = "1GiB",
    capacity: CapacityOption = "1000GiB",
    blob_limit: BlobLimitOption = "256MiB",
    partial_limit: PartialLimitOption = "4GiB",
    partial_for: PartialForOption = "1d",
    keep_for: KeepForOption = None,
    keep_newest: KeepNewestOption = None,
    uploads: UploadsOption = 64,
    idle: IdleOption = "30s",
    examiners: ExaminersOption = 1,
    decode_memory: DecodeMemoryOption = "2GiB",
    decode_time: DecodeTimeOption = "3m",
    grace: GraceOption = "10s",
    json: common.JsonOption = False,
) -> None:
    """Run an exchange, until SIGTERM or Ctrl-C."""
    with common.guard("everything acknowledged is stored"), needing_the_extra():
        from nodes.exchange.credentials import Credentials
        from nodes.exchange.examination import ExaminationLimits
        from nodes.exchange.logs import log_json
        from nodes.exchange.server import serve as serve_until_told
        from nodes.exchange.settings import Settings, Traffic
        from nodes.exchange.space import SpaceLimits
        from nodes.exchange.store import Retention
        from nodes.exchange.units import parse_duration, parse_size

        settings = Settings(
            storage=storage,
            address=address,
            credentials=Credentials(ca, certificate, key, insecure),
            access=access,
            metrics=metrics,
            blob_bytes=parse_size(blob_limit),
            examiners=examiners,
            grace=parse_duration(grace),
            traffic=Traffic(uploads=uploads, downloads=uploads, idle=parse_duration(idle)),
            space=SpaceLimits(
                quota=parse_size(quota),
                capacity=parse_size(capacity),
                partial_bytes=parse_size(partial_limit),
                partial_seconds=parse_duration(partial_for),
            ),
            retention=Retention(parse_duration(keep_for) if keep_for else None, keep_newest),
            examination=ExaminationLimits(parse_size(decode_memory), parse_duration(decode_time)),
        )
        log_json()
        asyncio.run(serve_until_told(settings, lambda server: _tell(server, json)))


def certificates(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write them.")],
    names: Annotated[str, typer.Option("--names", help="Nodes, after commas.", show_default=False)],
    hosts: Annotated[
        str,
        typer.Option("--hosts", help="Names and addresses of the exchange, after commas, besides localhost."),
    ] = "",
    days: Annotated[float, typer.Option("--days", min=0.001, help="For which they are valid.")] = 365.0,
    json: common.JsonOption = False,
) -> None:
    """Make certificates for a trial: an authority, the exchange's, and one for each node."""
    with common.guard(), needing_the_extra():
        from nodes.exchange.certificates import make_certificates

        written = make_certificates(folder, _split(names), _split(hosts), days)
        if json:
            common.print_json({"folder": folder, "files": [path.name for path in written]})
        else:
            typer.echo("\n".join(str(path) for path in written))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _tell(server: ExchangeServer, json: bool) -> None:
    if json:
        settings = server.settings
        common.print_json(
            {
                "port": server.port,
                "metrics_port": server.metrics_port or None,
                "storage": settings.storage,
                "insecure": settings.credentials.insecure,
            }
        )
