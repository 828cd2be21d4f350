"""An event loop beside the tests, one examiner for all of them, and exchanges that run in it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from exchanges import Loop, Running, SharedExaminers
from making import make_data, make_set

from fedbits.container import encode
from nodes.exchange import server as server_module
from nodes.exchange.credentials import Credentials
from nodes.exchange.examination import ExaminationLimits, Examiners
from nodes.exchange.metrics import Metrics
from nodes.exchange.server import ExchangeServer
from nodes.exchange.settings import Settings


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    running = asyncio.new_event_loop()
    running.set_default_executor(ThreadPoolExecutor(8))
    thread = threading.Thread(target=running.run_forever, daemon=True)
    thread.start()
    yield lambda work: asyncio.run_coroutine_threadsafe(work, running).result(60)
    running.call_soon_threadsafe(running.stop)
    thread.join()


@pytest.fixture(scope="session")
def examiners(loop: Loop) -> Iterator[Examiners]:
    """One process that decodes, with real limits; it takes seconds to start."""
    started = Examiners(1, ExaminationLimits(memory=256 << 20, seconds=10.0), Metrics())
    loop(started.start())
    yield started
    loop(started.close())


@pytest.fixture
def exchange(
    loop: Loop, examiners: Examiners, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Running]]:
    """``exchange(**settings)`` starts one on a free port; all are stopped in the end."""
    monkeypatch.setattr(server_module, "Examiners", lambda *_: SharedExaminers(examiners))
    running: list[Running] = []

    def start(**settings: Any) -> Running:
        given: dict[str, Any] = {
            "storage": tmp_path / "storage",
            "address": "127.0.0.1:0",
            "credentials": Credentials(insecure=True),
            "grace": 0.5,
        }

        async def make() -> ExchangeServer:
            return await ExchangeServer(Settings(**given | settings)).__aenter__()

        running.append(Running(loop, loop(make())))
        return running[-1]

    yield start
    for each in running:
        each.stop()


@pytest.fixture(scope="session")
def blobs() -> list[bytes]:
    """A few small sets, no two the same."""
    return [encode(make_set(make_data((1, 6, 6), [3, 2, 2], seed=seed))) for seed in range(6)]
