"""An exchange killed with -9 at random instants under load, and started again each time.

    python benchmarks/faults/exchange_kill.py --kills 100

Publishers publish one set after the other, each until it is acknowledged, through every death of the
exchange; one watcher reads what is published. After each kill, before the exchange serves again, its folder
is looked at as the kill has left it: every listed set must be there whole. In the end every set that was ever
acknowledged must be listed under the number that its publisher was told, and fetched, it must be the same.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import record
from exchange_process import Served, soft, start

from fedbits.rng import numpy_stream
from fedbits.wire import exchange_pb2 as pb
from nodes.exchange.client import ExchangeClient, Target
from nodes.exchange.credentials import Credentials

PATIENCE = 120.0


@dataclass
class Load:
    """What the publishers have been told, and what the watcher has seen."""

    target: Target
    bytes: int
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    acknowledged: dict[bytes, int] = field(default_factory=dict)
    blobs: dict[bytes, bytes] = field(default_factory=dict)
    seen: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    async def publish(self, number: int) -> None:
        """One set after the other, of sizes up to ``bytes``."""
        draws = numpy_stream(0, "exchange publisher", number)
        target = Target(self.target.address, self.target.credentials, f"node-{number}", PATIENCE)
        while not self.stop.is_set():
            blob = soft(int(draws.integers(200, self.bytes)), int(draws.integers(1 << 30)))
            digest = hashlib.sha256(blob).digest()
            self.blobs[digest] = blob
            try:
                async with ExchangeClient(target) as client:
                    self.acknowledged[digest] = (await client.publish(blob)).sequence
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")

    async def watch(self) -> None:
        async with ExchangeClient(self.target) as client:
            async for entry in client.watch():
                self.seen.append(entry.sequence)


def look(storage: Path) -> dict[str, int]:
    """What a kill has left: published sets, blobs that nobody was told of, unfinished uploads.

    Raises:
        AssertionError: a published set is not there, or not whole.
    """
    with tempfile.TemporaryDirectory() as folder:  # of a copy, as even reading tidies up an index
        for path in storage.glob("index.sqlite*"):
            shutil.copy(path, folder)
        rows = sqlite3.connect(Path(folder) / "index.sqlite")
        there = rows.execute("SELECT sha256, size FROM sets WHERE removed_ms IS NULL").fetchall()
        rows.close()
    for digest, size in there:
        content = (storage / "blobs" / digest.hex()).read_bytes()
        assert len(content) == size and hashlib.sha256(content).digest() == digest, digest.hex()
    blobs = sum(1 for _ in (storage / "blobs").iterdir())
    partials = sum(1 for _ in (storage / "partial").iterdir())
    return {"published": len(there), "without a row": blobs - len(there), "unfinished": partials}


async def kill_again_and_again(running: Served, storage: Path, args: argparse.Namespace) -> dict[str, Any]:
    given = Credentials(insecure=True)
    load = Load(Target(f"127.0.0.1:{running.port}", given, patience=PATIENCE), args.bytes)
    draws, kills, port = numpy_stream(0, "exchange kills"), [], running.port
    tasks = [asyncio.create_task(load.publish(number)) for number in range(args.publishers)]
    watching = asyncio.create_task(load.watch())
    for _ in range(args.kills):
        await asyncio.sleep(draws.uniform(0.0, args.longest))
        running.process.kill()
        await asyncio.to_thread(running.process.wait)
        kills.append(await asyncio.to_thread(look, storage))
        running = await asyncio.to_thread(
            start, storage, "--insecure", port=port, log=storage.with_suffix(".log")
        )
    load.stop.set()
    await asyncio.gather(*tasks)
    found = await check(load, given)
    watching.cancel()
    return found | {"kills": kills, "exit code": await asyncio.to_thread(running.end)}


async def check(load: Load, given: Credentials) -> dict[str, Any]:
    """What is there in the end, against what was said."""
    wrong = []
    async with ExchangeClient(load.target) as client:
        entries: dict[bytes, pb.Entry] = {entry.sha256: entry async for entry in client.sets()}
        with tempfile.TemporaryDirectory() as folder:
            for digest, entry in entries.items():
                await client.fetch(digest, Path(folder) / "set")
                if (Path(folder) / "set").read_bytes() != load.blobs[digest]:
                    wrong.append(entry.sequence)
    lost = [
        n for digest, n in load.acknowledged.items() if digest not in entries or entries[digest].sequence != n
    ]
    numbers = sorted(entry.sequence for entry in entries.values())
    for _ in range(100):  # the watcher may be a moment behind
        if len(load.seen) >= len(numbers):
            break
        await asyncio.sleep(0.1)
    return {
        "acknowledged": len(load.acknowledged),
        "listed": len(entries),
        "lost": lost,
        "wrong": wrong,
        "watched in order, each once": load.seen == numbers,
        "errors": len(load.errors),
        "first errors": sorted(set(load.errors))[:5],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--publishers", type=int, default=8)
    parser.add_argument("--bytes", type=int, default=600_000, help="of the largest blob; some have chunks")
    parser.add_argument("--longest", type=float, default=4.0, help="seconds between a start and a kill")
    parser.add_argument("--name", default="exchange_kill", help="of the file of results")
    args = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder) / "storage"
        running = start(storage, "--insecure")
        result = asyncio.run(kill_again_and_again(running, storage, args))
        log = Path(folder) / "storage.log"
        events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    deleted = [len(event["deleted"]) for event in events if "deleted" in event]
    resumed = sum(1 for event in events if event.get("outcome") == "ok" and event.get("resumed_at"))
    result |= {"seconds": round(time.monotonic() - started, 1), "publishers": args.publishers}
    result |= {"blobs deleted at starts": sum(deleted), "uploads resumed": resumed}
    kills = result.pop("kills")
    result["after kills"] = {
        name: sum(kill[name] for kill in kills) for name in ("without a row", "unfinished")
    }
    result["kills"] = len(kills)
    print(json.dumps(result, indent=1))
    print(record.write(args.name, result, 0))
    if result["lost"] or result["wrong"] or result["errors"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
