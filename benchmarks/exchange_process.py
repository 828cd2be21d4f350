"""What the benchmarks of the exchange share: one that is served, sets to publish, and figures of both."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fedbits.coding import RangeWriter, code_grid
from fedbits.wire import distilled_set_pb2 as pb

ROOT = Path(__file__).parent.parent
MAIN = """
import typer
from nodes.exchange.cli import register
app = typer.Typer()
app.callback()(lambda: None)
register(app)
app()
"""


@dataclass
class Served:
    """``fedbits exchange serve`` in a process of its own."""

    process: subprocess.Popen[str]
    port: int

    def memory(self, what: str = "VmHWM") -> dict[str, int]:
        """Bytes (the peak, by default) of the exchange and, together, of its examiners."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {
            "exchange": _status(self.process.pid, what),
            "examiners": sum(_status(int(child), what) for child in children),
        }

    def end(self, number: int = signal.SIGTERM) -> int:
        """The exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait()


def start(storage: Path, *options: str, port: int = 0, log: Path | None = None) -> Served:
    """Serve on 127.0.0.1; returns when it is ready. Its log goes to the end of the file ``log``, if any."""
    words = [
        "exchange",
        "serve",
        "--storage",
        str(storage),
        "--address",
        f"127.0.0.1:{port}",
        "--json",
        *options,
    ]
    with (log or Path(os.devnull)).open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN, *words], stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT
        )
    assert process.stdout is not None
    said = "".join(iter(process.stdout.readline, "}\n")) + "}"
    return Served(process, json.loads(said)["port"])


@contextmanager
def served(storage: Path, *options: str) -> Iterator[Served]:
    """The same, ended when the block is."""
    running = start(storage, *options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end()


def _status(process: int, what: str) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what + ":"))


def noise(size: int, number: int) -> bytes:
    """A valid blob of about ``size`` bytes: one-byte values, coded as they are; decoded in a second a MiB.

    Blobs of one size differ in the recipe that they name: making each takes no time.
    """
    message = _noise(size)
    message.recipe_name = f"noise {number}"
    return _packed(message)


def soft(size: int, number: int) -> bytes:
    """The same, but almost all of it soft labels, which are decoded in no time: for blobs of many MiB."""
    message = _soft(size)
    message.recipe_name = f"soft {number}"
    return _packed(message)


@lru_cache(4)
def _noise(size: int) -> pb.DistilledSet:
    side = 28 if size >= 1 << 14 else 7
    count = max(1, size // (side * side))
    pixel = pb.Pixel(bits=8, grid=np.array([-1, 0.01], "<f2").tobytes())
    stream = _coded((count, 1, side, side), 256)
    return pb.DistilledSet(task_described=_task(side, 1), class_counts=[count], pixel=pixel, stream=stream)


@lru_cache(4)
def _soft(size: int) -> pb.DistilledSet:
    classes = max(1, min(1024, int((size / 2) ** 0.5)))
    each = max(1, size // (2 * classes * classes))
    logits = np.random.default_rng(0).integers(0, 0x7C00, each * classes * classes, dtype="<u2")  # finite
    return pb.DistilledSet(
        task_described=_task(1, classes),
        class_counts=[each],
        pixel=pb.Pixel(bits=1, grid=np.array([0, 1], "<f2").tobytes()),
        stream=_coded((each * classes, 1, 1, 1), 2),
        soft_labels=pb.SoftLabels(logits=logits.tobytes()),
    )


def _coded(shape: tuple[int, int, int, int], levels: int) -> bytes:
    """Random symbols, as they are."""
    writer = RangeWriter()
    symbols = np.random.default_rng(0).integers(0, levels, shape, dtype=np.uint8)
    code_grid(writer, 0, levels, shape, symbols)
    return writer.bytes()


def _task(side: int, classes: int) -> pb.Task:
    normalisation = np.array([0, 1], "<f2").tobytes()
    return pb.Task(name="noise", shape=(1, side, side), classes=classes, normalisation=normalisation)


def _packed(message: pb.DistilledSet) -> bytes:
    """A blob around ``message``: see docs/format.md, section 2."""
    body = message.SerializeToString()
    start = struct.pack("<BBI", 1, 0, len(body))
    return b"FBIT" + start + struct.pack("<I", zlib.crc32(body, zlib.crc32(start))) + body


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of ``values`` are; they must not be empty."""
    return float(np.quantile(np.asarray(values), share))
