"""An exchange under load, and what it puts on the wire.

    python benchmarks/exchange_load.py load --publishers 1000 --bytes 65536
    python benchmarks/exchange_load.py load --publishers 100 --bytes 10485760 --soft
    python benchmarks/exchange_load.py wire --bytes 1024 65536 1048576 104857600

``load``: so many publishers, each with a connection (and, with ``--tls``, a certificate) of its own, publish
at the same time. Seconds are from the call to the acknowledgement, which comes when the set was decoded and
is on disk; clients and exchange share this machine. ``wire``: bytes through a counting proxy, both ways
together, beyond those of the blob; of a connection that is made for one call, and of a further call on it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import record
from exchange_process import Served, noise, quantile, served, soft

from nodes.exchange.certificates import make_certificates
from nodes.exchange.client import ExchangeClient, Target
from nodes.exchange.credentials import Credentials

WIRE_BYTES = [1 << 10, 1 << 16, 1 << 20, 100 << 20]


def credentials(folder: Path | None, name: str) -> Credentials:
    """Of ``name`` in ``folder``, or none at all."""
    if folder is None:
        return Credentials(insecure=True)
    return Credentials(folder / "ca.crt", folder / f"{name}.crt", folder / f"{name}.key")


def serve_options(folder: Path | None) -> list[str]:
    if folder is None:
        return ["--insecure"]
    given = credentials(folder, "server")
    return ["--ca", str(given.authority), "--certificate", str(given.certificate), "--key", str(given.key)]


# ----------------------------------------------------------------------------------------------------- load


async def publish_all(targets: list[Target], blobs: list[bytes]) -> dict[str, Any]:
    """Everybody at once: seconds of each, and what went wrong."""
    connected: list[float] = []
    acknowledged: list[float] = []
    errors: list[str] = []

    async def one(target: Target, blob: bytes) -> None:
        started = time.monotonic()
        try:
            async with ExchangeClient(target) as client:
                connected.append(time.monotonic() - started)
                started = time.monotonic()
                await client.publish(blob)
                acknowledged.append(time.monotonic() - started)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")

    started = time.monotonic()
    await asyncio.gather(*map(one, targets, blobs))
    seconds = time.monotonic() - started
    return {
        "seconds": round(seconds, 2),
        "sets a second": round(len(acknowledged) / seconds, 1),
        "MiB a second": round(sum(map(len, blobs)) / seconds / 2**20, 2),
        "seconds to connect": spread(connected),
        "seconds to publish": spread(acknowledged),
        "errors": len(errors),
        "first errors": sorted(set(errors))[:5],
    }


def spread(values: list[float]) -> dict[str, float]:
    return {
        name: round(quantile(values, share), 3) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))
    }


def load(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    names = [f"publisher-{number}" for number in range(args.publishers)]
    certificates = folder / "certificates" if args.tls else None
    if certificates is not None:
        make_certificates(certificates, names)
    make: Callable[[int, int], bytes] = soft if args.soft else noise
    blobs = [make(args.bytes, seed) for seed in range(args.publishers)]
    options = [*serve_options(certificates), "--examiners", str(args.examiners)]
    with served(folder / "storage", *options) as running:
        before = running.memory("VmRSS")
        targets = [
            Target(f"localhost:{running.port}", credentials(certificates, name), name, patience=600.0)
            for name in names
        ]
        result = asyncio.run(publish_all(targets, blobs))
        result |= {"bytes before": before, "bytes at peak": running.memory()}
        result["listed"] = asyncio.run(count(targets[0]))
        result["exit code"] = running.end()
    return {"publishers": args.publishers, "blob bytes": len(blobs[0]), "tls": args.tls, **result}


async def count(target: Target) -> int:
    async with ExchangeClient(target) as client:
        return len([entry async for entry in client.sets()])


# ----------------------------------------------------------------------------------------------------- wire


class CountingProxy:
    """Passes bytes on between clients and a port of this machine, and counts them."""

    def __init__(self, port: int) -> None:
        self.up = self.down = 0
        self._port = port

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0, limit=1 << 20)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        with contextlib.suppress(asyncio.CancelledError):  # at the end
            await asyncio.gather(self._pump(reader, far_writer, "up"), self._pump(far_reader, writer, "down"))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        try:
            while block := await reader.read(1 << 18):
                setattr(self, way, getattr(self, way) + len(block))
                writer.write(block)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    def taken(self) -> tuple[int, int]:
        """Bytes since the last time, there and back."""
        counted = self.up, self.down
        self.up = self.down = 0
        return counted


async def measure(running: Served, given: Credentials, size: int, folder: Path) -> dict[str, Any]:
    """Overheads of publishing and fetching one blob of about ``size`` bytes."""
    make = soft if size > 4 << 20 else noise
    blobs, proxy = [make(size, seed) for seed in (1, 2)], CountingProxy(running.port)
    found: dict[str, Any] = {"blob bytes": len(blobs[0])}
    async with proxy.listening() as port:
        target = Target(f"localhost:{port}", given, patience=600.0)
        async with ExchangeClient(target) as client:
            entries = []
            for name, blob in zip(("publish", "publish again"), blobs, strict=True):
                entries.append(await client.publish(blob))
                await asyncio.sleep(0.1)  # for acknowledgements that nobody waits for
                found[name] = overhead(proxy.taken(), len(blob))
        async with ExchangeClient(target) as client:
            for name, entry in zip(("fetch", "fetch again"), entries, strict=True):
                await client.fetch(entry.sha256, folder / "fetched")
                await asyncio.sleep(0.1)
                found[name] = overhead(proxy.taken(), entry.size)
    return found


def overhead(counted: tuple[int, int], size: int) -> dict[str, Any]:
    extra = sum(counted) - size
    return {"up": counted[0], "down": counted[1], "beyond the blob": extra, "%": round(100 * extra / size, 3)}


def wire(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    make_certificates(folder / "certificates", ["alpha"])
    result: dict[str, Any] = {}
    for mode, certificates in (("insecure", None), ("mutual TLS", folder / "certificates")):
        with served(folder / mode, *serve_options(certificates)) as running:
            given = credentials(certificates, "alpha")
            for size in args.bytes or WIRE_BYTES:
                result[f"{mode}, {size:,} B"] = found = asyncio.run(measure(running, given, size, folder))
                print(mode, size, {name: part["%"] for name, part in found.items() if isinstance(part, dict)})
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", help="of the file of results")
    parts = parser.add_subparsers(dest="part", required=True)
    loading = parts.add_parser("load")
    loading.add_argument("--publishers", type=int, default=1000)
    loading.add_argument("--bytes", type=int, default=1 << 16, help="of a blob")
    loading.add_argument(
        "--soft", action="store_true", help="blobs of soft labels, which are decoded in no time"
    )
    loading.add_argument("--tls", action="store_true", help="mutual TLS")
    loading.add_argument("--examiners", type=int, default=1)
    wiring = parts.add_parser("wire")
    wiring.add_argument("--bytes", type=int, nargs="+", help="of blobs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = {"load": load, "wire": wire}[args.part](args, Path(folder))
    print(result)
    print(record.write(args.name or f"exchange_{args.part}", result, 0))


if __name__ == "__main__":
    main()
