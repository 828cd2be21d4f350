"""``fedbits deploy keys``, ``server`` and ``node``: what is done once on each host."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from fedbits.cli import common

KEYS_EXAMPLES = (
    "Examples:\n\n"
    "fedbits deploy keys --hosts alpha,beta,gamma --out keys/\n\n"
    "fedbits deploy keys --hosts alpha,beta --server fedbits.example.org,192.0.2.7 --out keys/\n\n"
    "fedbits deploy keys --hosts delta --out keys/\n\n"
    "Copy keys/server to the server's host and keys/nodes/alpha to alpha; keep keys/ca.key to yourself. The "
    "last example adds a node: copy its key (keys/server/nodes/delta.pub) to the server and restart that."
)
SERVER_EXAMPLES = (
    "Examples:\n\n"
    "fedbits deploy server keys/server\n\n"
    "fedbits deploy server keys/server --host 127.0.0.1 --json\n\n"
    "SIGTERM or Ctrl-C ends it. Nodes with a key in keys/server/nodes take part; delete a key and restart "
    "to shut its node out."
)
NODE_EXAMPLES = (
    "Examples:\n\n"
    "fedbits deploy node keys/nodes/alpha --data folder:/srv/images\n\n"
    "fedbits deploy node keys/nodes/beta --data fashion_mnist --data-root /srv/data --partition-id 1 "
    "--partitions 3 --partition dirichlet:0.3\n\n"
    "fedbits deploy node keys/nodes/gamma --data beams:canyon --role base_station\n\n"
    "It goes on until SIGTERM or Ctrl-C, and waits for a server that is not there yet."
)


def register(group: typer.Typer) -> None:
    group.command("keys", epilog=KEYS_EXAMPLES)(keys)
    group.command("server", epilog=SERVER_EXAMPLES)(server)
    group.command("node", epilog=NODE_EXAMPLES)(node)


def keys(
    hosts: Annotated[str, typer.Option("--hosts", help="Names of nodes, after commas.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder to write them to.", show_default=False)],
    server: Annotated[
        str,
        typer.Option(
            "--server",
            help="Names and addresses of the server's host, after commas; nodes call the first. "
            "[default: 127.0.0.1]",
            show_default=False,
        ),
    ] = "",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The server's port.")] = 8000,
    days: Annotated[float, typer.Option("--days", min=0.0001, help="Of the server's certificate.")] = 365.0,
    json: common.JsonOption = False,
) -> None:
    """Make an authority, the server's certificate, and a key for each node."""
    with common.guard():
        from nodes.deploy.extra import needing_the_extra

        with needing_the_extra():
            from nodes.deploy.keys import Deployment, make_keys

            written = make_keys(Deployment(out, _split(hosts), _split(server), port, days))
        if json:
            common.print_json({"folder": out, "files": [str(path.relative_to(out)) for path in written]})
        else:
            typer.echo("\n".join(str(path) for path in written))


def server(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The server's folder: keys/server.")],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 127.0.0.1 for a trial on one machine.")
    ] = "0.0.0.0",
    json: common.JsonOption = False,
) -> None:
    """Serve nodes and runs: Flower's SuperLink with TLS, keys of nodes, and a database."""
    with common.guard("what nodes have sent is in the database"):
        from nodes.deploy.folders import ServerFolder
        from nodes.deploy.server import ServerSettings, serve

        settings = ServerSettings(ServerFolder.read(folder), host)
        logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s: %(message)s")
        logging.getLogger("fedbits").setLevel(logging.INFO)
        serve(settings, lambda: _tell(settings.folder.port, settings.folder.path, json))


def node(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder: keys/nodes/NAME.")],
    data: common.DataOption,
    data_root: common.DataRootOption = None,
    download: common.DownloadOption = False,
    role: Annotated[
        str, typer.Option("--role", help="What the node is: edge_node, base_station or cl_learner.")
    ] = "edge_node",
    partition_id: Annotated[
        int | None,
        typer.Option("--partition-id", min=0, help="Own this part of the data set [default: all of it]."),
    ] = None,
    partitions: Annotated[int, typer.Option("--partitions", min=1, help="of so many parts")] = 1,
    partition: Annotated[
        str, typer.Option("--partition", help="cut so: iid, dirichlet:ALPHA, classes:K or site.")
    ] = "iid",
    partition_seed: Annotated[
        int, typer.Option("--partition-seed", min=0, help="Seed of the cut; the same on all nodes.")
    ] = 0,
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65535, help="On this host alone [default: a free one]."),
    ] = 0,
) -> None:
    """Be a node with data of its own: Flower's SuperNode, which distils when a run asks it to."""
    with common.guard():
        from nodes.deploy.folders import NodeFolder
        from nodes.deploy.node import NodeSettings, become_supernode, check_data

        settings = NodeSettings(
            folder=NodeFolder.read(folder),
            data=data,
            data_root=str(data_root or ""),
            download=download,
            partition_id=partition_id,
            partitions=partitions,
            partition=partition,
            partition_seed=partition_seed,
            role=role,
            port=port,
        )
        samples = check_data(settings)
        common.say(f"{settings.folder.name}: {samples:,} samples of {data}; server {settings.folder.server}")
        become_supernode(settings)


def _tell(port: int, folder: Path, json: bool) -> None:
    if json:
        common.print_json({"port": port, "folder": folder})
        sys.stdout.flush()
    else:
        common.say(f"serving on port {port}; runs start with 'fedbits deploy run {folder}'")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
