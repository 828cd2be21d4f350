"""Examination of uploads in processes of their own, and what happens when those do not survive it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nodes.exchange.metrics import Metrics
from nodes.exchange.refusals import Reason, RefusedError

logger = logging.getLogger("fedbits.exchange")

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 120.0  # on a machine that is busy


@dataclass(frozen=True)
class ExaminationLimits:
    """What one blob may cost.

    Attributes:
        memory: bytes that decoding may take beyond what the process has before it.
        seconds: of CPU time; of any time, four times as many.
        elements: numbers in all samples of a blob; decoding takes at most 8 bytes for each.
    """

    memory: int = 2 << 30
    seconds: float = 180.0
    elements: int = 1 << 26


class Examiners:
    """A fixed number of processes, each at one blob at a time; callers wait for their turn, first come first.

    One that dies, of a limit or of a mistake in the decoder, costs the blob that it was at, and is replaced.
    """

    def __init__(self, number: int, limits: ExaminationLimits, metrics: Metrics) -> None:
        self._number, self._limits, self._metrics = number, limits, metrics
        self._idle: asyncio.Queue[_Process] = asyncio.Queue()
        self._all: set[_Process] = set()
        self._closing = False
        self.newest_format = 0

    async def start(self) -> None:
        """Start the processes; returns when all are ready.

        Raises:
            RefusedError: they do not come up.
        """
        for process in await asyncio.gather(*(self._started() for _ in range(self._number))):
            self._idle.put_nowait(process)

    async def close(self) -> None:
        """End all processes; whoever waits for one is refused."""
        self._closing = True
        for process in list(self._all):
            await self._end(process)

    async def examine(self, path: Path, digest: bytes, size: int) -> dict[str, Any]:
        """Facts of the blob at ``path``, which has that digest and can be decoded.

        To be awaited to its end: a caller that gives up leaves a process that answers the wrong question.

        Raises:
            RefusedError: what is wrong with the blob.
        """
        process = await self._idle.get()
        started = time.monotonic()
        try:
            if self._closing:
                raise RefusedError(Reason.SHUTDOWN)
            reply = await self._ask(process, {"path": str(path), "sha256": digest.hex(), "size": size})
            if reply["leaves"]:
                await self._end(process)
        except RefusedError:
            await self._end(process)
            raise
        finally:
            self._metrics.examinations.observe(time.monotonic() - started)
            self._idle.put_nowait(process)
        if "reason" in reply:
            raise RefusedError(Reason(reply["reason"]))
        return dict(reply["facts"])

    async def _ask(self, process: _Process, question: dict[str, Any]) -> dict[str, Any]:
        """The answer of a process, or what it died of; one that has ended before is started anew."""
        if process.ended:
            await self._start(process)
        try:
            async with asyncio.timeout(4 * self._limits.seconds):
                line = await process.ask(json.dumps(question).encode())
        except TimeoutError:
            raise RefusedError(Reason.DECODE_TIME) from None
        if line:
            return dict(json.loads(line))
        code = await process.wait()
        if self._closing:
            raise RefusedError(Reason.SHUTDOWN)
        logger.error("an examiner died", extra={"facts": {"code": code, **question}})
        raise RefusedError(Reason.DECODE_TIME if code == -signal.SIGXCPU else Reason.DECODER_DIED)

    async def _started(self) -> _Process:
        process = _Process()
        await self._start(process)
        return process

    async def _start(self, process: _Process) -> None:
        self._metrics.examiner_starts.inc()
        self._all.add(process)
        await process.start(json.dumps(asdict(self._limits)))
        try:
            async with asyncio.timeout(_START_SECONDS):
                hello = json.loads(await process.answer() or b"null")
        except TimeoutError:
            hello = None
        if hello is None:
            await self._end(process)
            raise RefusedError(Reason.FAILED)
        self.newest_format = hello["format"]

    async def _end(self, process: _Process) -> None:
        self._all.discard(process)
        await process.kill()


class _Process:
    """One examiner and its two pipes."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.returncode is not None

    async def start(self, limits: str) -> None:
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # as many threads would each take memory
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "nodes.exchange.examiner", limits),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C is for the exchange, which ends this process when it is ready
        )

    async def ask(self, question: bytes) -> bytes:
        """One line for another; nothing if the process has ended."""
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(question + b"\n")
            await self._process.stdin.drain()
        except ConnectionError:
            return b""
        return await self.answer()

    async def answer(self) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        return await self._process.stdout.readline()

    async def wait(self) -> int:
        assert self._process is not None
        return await self._process.wait()

    async def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
