"""``fedbits exchange``: serve an exchange, and publish, fetch, list and watch sets through one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedbits.cli import common
from fedbits.errors import ConfigError, FedbitsError
from nodes.exchange import cli_serve
from nodes.exchange.cli_serve import AuthorityOption, CertificateOption, InsecureOption, KeyOption

if TYPE_CHECKING:
    from fedbits.wire import exchange_pb2 as pb
    from nodes.exchange.client import ExchangeClient

AddressOption = Annotated[
    str,
    typer.Option("--address", envvar="FEDBITS_EXCHANGE_ADDRESS", help="The exchange: HOST:PORT."),
]
AsOption = Annotated[
    str, typer.Option("--as", metavar="NAME", help="One's own name, where no certificate says it.")
]
PatienceOption = Annotated[
    str, typer.Option("--patience", help="How long to go on trying after the last sign of life: 30s, 5m.")
]
NodeOption = Annotated[str, typer.Option("--node", help="Only sets of this node.")]
DataSetOption = Annotated[str, typer.Option("--data-set", help="Only sets of this data set.")]
RecipeOption = Annotated[str, typer.Option("--recipe", help="Only sets made by this recipe.")]
SinceOption = Annotated[int, typer.Option("--since", min=0, help="Only sets after the one with this number.")]
_ADDRESS = "127.0.0.1:9440"

PUBLISH_EXAMPLES = (
    "Examples:\n\n"
    "fedbits exchange publish set.fbits --insecure --as alpha\n\n"
    "fedbits exchange publish *.fbits --address exchange.example.org:9440 --ca ca.crt "
    "--certificate alpha.crt --key alpha.key --json"
)
FETCH_EXAMPLES = (
    "Examples:\n\n"
    "fedbits exchange fetch 3f2a9c -o set.fbits --insecure\n\n"
    "An interrupted fetch goes on with the same command."
)
LIST_EXAMPLES = (
    "Examples:\n\n"
    "fedbits exchange list --insecure\n\n"
    "fedbits exchange list --data-set fashion_mnist --since 12 --insecure --json"
)
WATCH_EXAMPLES = (
    "Examples:\n\n"
    "fedbits exchange watch --insecure\n\n"
    "fedbits exchange watch --into received/ --data-set digits --since 12 --insecure --json\n\n"
    "With --json, one object a line."
)


def register(app: typer.Typer) -> None:
    """Add ``exchange`` to the ``fedbits`` command."""
    group = typer.Typer(
        cls=common.OneSentenceGroup,
        no_args_is_help=True,
        help="Share sets with other nodes, without a round.",
    )
    cli_serve.register(group)
    group.command("publish", epilog=PUBLISH_EXAMPLES)(publish)
    group.command("fetch", epilog=FETCH_EXAMPLES)(fetch)
    group.command("list", epilog=LIST_EXAMPLES)(list_sets)
    group.command("watch", epilog=WATCH_EXAMPLES)(watch)
    app.add_typer(group, name="exchange")


def publish(
    blobs: Annotated[list[Path], typer.Argument(metavar="BLOB...", help="Files of 'fedbits distill'.")],
    parent: Annotated[
        list[str] | None,
        typer.Option("--parent", help="SHA-256 of a set that these were made from; may be repeated."),
    ] = None,
    address: AddressOption = _ADDRESS,
    ca: AuthorityOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    insecure: InsecureOption = False,
    name: AsOption = "local",
    patience: PatienceOption = "30s",
    json: common.JsonOption = False,
) -> None:
    """Publish sets; each is stored for good when the command ends."""

    async def work(client: ExchangeClient) -> None:
        entries = []
        for blob in blobs:
            try:
                entries.append(await client.publish(blob, parents))
            except FedbitsError as error:
                raise FedbitsError(f"{blob}: {error}") from error
            if not json:
                _show(entries[-1:], json)
        if json:
            _show(entries, json)

    with _talk("what was sent of the set is kept for a while: the same command goes on from there"):
        for blob in blobs:
            common.read_file(blob, 1 << 40)
        parents = [_digest(text) for text in parent or []]
        _run(work, address, (ca, certificate, key, insecure), name, patience)


def fetch(
    digest: Annotated[str, typer.Argument(metavar="SHA256", help="Of the set, or its first digits.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write.", show_default=False)],
    address: AddressOption = _ADDRESS,
    ca: AuthorityOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    insecure: InsecureOption = False,
    name: AsOption = "local",
    patience: PatienceOption = "30s",
    json: common.JsonOption = False,
) -> None:
    """Bring a set to a file, which is whole or not there."""

    async def work(client: ExchangeClient) -> None:
        entry = await client.fetch((await client.find(digest)).sha256, out)
        _show([entry], json, file=str(out))

    with _talk("what has arrived is kept beside the file: the same command goes on from there"):
        common.check_output(out)
        _run(work, address, (ca, certificate, key, insecure), name, patience)


def list_sets(
    node: NodeOption = "",
    data_set: DataSetOption = "",
    recipe: RecipeOption = "",
    since: SinceOption = 0,
    address: AddressOption = _ADDRESS,
    ca: AuthorityOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    insecure: InsecureOption = False,
    name: AsOption = "local",
    patience: PatienceOption = "30s",
    json: common.JsonOption = False,
) -> None:
    """List the sets that are there, in the order in which they were published."""

    async def work(client: ExchangeClient) -> None:
        from nodes.exchange.entries import print_entries

        entries = [entry async for entry in client.sets(_chosen(node, data_set, recipe, since))]
        if json:
            _show(entries, json)
        else:
            print_entries(entries)

    with _talk("nothing was changed"):
        _run(work, address, (ca, certificate, key, insecure), name, patience)


def watch(
    into: Annotated[
        Path | None,
        typer.Option("--into", help="Folder to fetch each set into, as SHA256.fbits.", show_default=False),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="End after so many sets [default: never].")
    ] = None,
    node: NodeOption = "",
    data_set: DataSetOption = "",
    recipe: RecipeOption = "",
    since: SinceOption = 0,
    address: AddressOption = _ADDRESS,
    ca: AuthorityOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    insecure: InsecureOption = False,
    name: AsOption = "local",
    patience: PatienceOption = "10m",
    json: common.JsonOption = False,
) -> None:
    """Print sets as they are published, after those that are there; go on after the exchange was away."""
    seen = since

    async def work(client: ExchangeClient) -> None:
        nonlocal seen
        left = count
        async for entry in client.watch(_chosen(node, data_set, recipe, since)):
            path = into and into / f"{entry.sha256.hex()}.fbits"
            if path and not path.exists():
                await client.fetch(entry.sha256, path)
            _print_watched(entry, json, path)
            seen = entry.sequence
            left = left and left - 1
            if left == 0:
                return

    with _talk(lambda: f"the last set had number {seen}: go on with --since {seen}"):
        if into is not None:
            common.check_output(into / "x")
        _run(work, address, (ca, certificate, key, insecure), name, patience)


# ---------------------------------------------------------------------------------------------------- parts


@contextmanager
def _talk(kept: str | Callable[[], str]) -> Iterator[None]:
    with common.guard(kept), cli_serve.needing_the_extra():
        yield


def _run(
    work: Callable[[ExchangeClient], Awaitable[None]],
    address: str,
    credentials: tuple[Path | None, Path | None, Path | None, bool],
    name: str,
    patience: str,
) -> None:
    """Do ``work`` with a client that is connected."""
    from nodes.exchange.client import ExchangeClient, Target
    from nodes.exchange.credentials import Credentials
    from nodes.exchange.units import parse_duration

    target = Target(address, Credentials(*credentials), name, parse_duration(patience))

    async def talk() -> None:
        async with ExchangeClient(target) as client:
            await work(client)

    asyncio.run(talk())


def _chosen(node: str, data_set: str, recipe: str, since: int) -> pb.ListRequest:
    from fedbits.wire import exchange_pb2 as pb

    return pb.ListRequest(after=since, node=node, data_set=data_set, recipe=recipe)


def _digest(text: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ConfigError(f"{text!r} is not a SHA-256: give its 64 hexadecimal digits")
    return digest


def _show(entries: list[pb.Entry], json: bool, **more: Any) -> None:
    from nodes.exchange.entries import as_json, as_line

    if json:
        common.print_json({"sets": [as_json(entry) for entry in entries], **more})
    else:
        for entry in entries:
            typer.echo(as_line(entry))


def _print_watched(entry: pb.Entry, json: bool, path: Path | None) -> None:
    from json import dumps

    from nodes.exchange.entries import as_json, as_line

    if json:
        typer.echo(dumps({**as_json(entry), "file": path and str(path)}))
    else:
        typer.echo(as_line(entry))
