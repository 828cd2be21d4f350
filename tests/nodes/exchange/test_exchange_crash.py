"""Killed with -9 at the instants that matter, in a process of its own, and started again."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from crashing_exchange import INSTANTS
from exchanges import Loop, first

from fedbits.wire import exchange_pb2 as pb
from nodes.exchange import rpc
from nodes.exchange.client import ExchangeClient, Target
from nodes.exchange.credentials import Credentials
from nodes.exchange.refusals import UnreachableError

BLOB, EARLIER = bytes(2 * rpc.CHUNK + 5), b"earlier"


@contextmanager
def serving(storage: Path, instant: str) -> Iterator[tuple[subprocess.Popen[str], Target]]:
    script = Path(__file__).with_name("crashing_exchange.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(storage), "0", instant],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        yield process, Target(f"127.0.0.1:{port}", Credentials(insecure=True), "alpha", patience=0.5)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


async def publish(target: Target, blob: bytes) -> pb.Entry:
    async with ExchangeClient(target) as client:
        return await client.publish(blob)


async def listed(target: Target, folder: Path) -> dict[bytes, bytes]:
    """Every set that is listed, and what can be fetched of it."""
    async with ExchangeClient(target) as client:
        entries = [entry async for entry in client.sets()]
        for entry in entries:
            await client.fetch(entry.sha256, folder / entry.sha256.hex())
        if entries:
            assert await first(len(entries), client.watch()) == entries
    return {entry.sha256: (folder / entry.sha256.hex()).read_bytes() for entry in entries}


@pytest.mark.parametrize("instant", [name for name in INSTANTS if name != "never"])
def test_killed_at_an_instant(loop: Loop, tmp_path: Path, instant: str) -> None:
    storage = tmp_path / "storage"
    with serving(storage, "never") as (_, target):
        loop(publish(target, EARLIER))
    with serving(storage, instant) as (process, target):
        with pytest.raises(UnreachableError):
            loop(publish(target, BLOB))
        assert process.wait(10) == -9
    with serving(storage, "never") as (_, target):
        found = loop(listed(target, tmp_path / "first"))
        whole = {hashlib.sha256(content).digest(): content for content in (EARLIER, BLOB)}
        assert found.items() <= whole.items() and hashlib.sha256(EARLIER).digest() in found
        assert (len(found) == 2) == (instant == "after the row")  # written, though nobody was told
        assert loop(publish(target, BLOB)).sequence == 2
        assert loop(listed(target, tmp_path / "second")) == whole
    assert list((storage / "partial").iterdir()) == []
