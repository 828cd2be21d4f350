"""What a process that decodes may cost, and what becomes of it."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from exchanges import Loop
from making import packed

from fedbits.wire import distilled_set_pb2 as pb
from nodes.exchange.examination import ExaminationLimits, Examiners
from nodes.exchange.metrics import Metrics
from nodes.exchange.refusals import Reason, RefusedError


def noise(samples: int, side: int, coder: int) -> bytes:
    """A blob of so many one-bit images, of which every symbol is random."""
    task = pb.Task(shape=(1, side, side), classes=1, normalisation=np.array([0, 1], "<f2").tobytes())
    pixel = pb.Pixel(bits=1, coder=coder, grid=np.array([0, 1], "<f2").tobytes())
    stream = np.random.default_rng(0).bytes(samples * side * side // 8 + 4096)
    return packed(pb.DistilledSet(task_described=task, class_counts=[samples], pixel=pixel, stream=stream))


@pytest.fixture
def start(loop: Loop) -> Callable[..., Examiners]:
    started: list[Examiners] = []

    def make(**limits: float) -> Examiners:
        started.append(Examiners(1, ExaminationLimits(**limits), Metrics()))  # type: ignore[arg-type]
        loop(started[-1].start())
        return started[-1]

    yield make  # type: ignore[misc]
    for each in started:
        loop(each.close())


def examine(loop: Loop, examiners: Examiners, blob: bytes, folder: Path) -> dict[str, object]:
    path = folder / "blob"
    path.write_bytes(blob)
    return loop(examiners.examine(path, hashlib.sha256(blob).digest(), len(blob)))


def refusal(loop: Loop, examiners: Examiners, blob: bytes, folder: Path) -> Reason:
    with pytest.raises(RefusedError) as refused:
        examine(loop, examiners, blob, folder)
    return refused.value.reason


def starts(examiners: Examiners) -> float:
    return examiners._metrics.examiner_starts._value.get()


def test_a_blob_that_takes_too_much_memory_is_refused(
    loop: Loop, start: Callable[..., Examiners], tmp_path: Path, blobs: list[bytes]
) -> None:
    examiners = start(memory=192 << 20, seconds=60)
    greedy = noise(16000, 64, 0)  # 8 MB that stand for 65 million numbers
    assert refusal(loop, examiners, greedy, tmp_path) is Reason.DECODE_MEMORY
    assert examine(loop, examiners, blobs[0], tmp_path)["samples"] == 6
    assert starts(examiners) == 2  # the second has found a fresh process


def test_a_blob_that_takes_too_long_is_refused(
    loop: Loop, start: Callable[..., Examiners], tmp_path: Path
) -> None:
    examiners = start(seconds=0.1)
    slow = noise(8000, 64, 0)
    for attempt in (1, 2):
        assert refusal(loop, examiners, slow, tmp_path) is Reason.DECODE_TIME
        assert starts(examiners) == attempt  # each has found a fresh process


def test_an_examiner_that_dies_costs_the_blob_that_it_was_at(
    loop: Loop, start: Callable[..., Examiners], tmp_path: Path, blobs: list[bytes]
) -> None:
    examiners = start()
    (process,) = examiners._all
    os.kill(process._process.pid, signal.SIGKILL)  # type: ignore[union-attr]
    assert refusal(loop, examiners, blobs[0], tmp_path) is Reason.DECODER_DIED
    assert examine(loop, examiners, blobs[0], tmp_path)["samples"] == 6
    assert starts(examiners) == 2


def test_the_digest_is_that_of_the_file(
    loop: Loop, examiners: Examiners, tmp_path: Path, blobs: list[bytes]
) -> None:
    (tmp_path / "blob").write_bytes(blobs[0])
    for digest, size in ((bytes(32), len(blobs[0])), (hashlib.sha256(blobs[0]).digest(), 1)):
        with pytest.raises(RefusedError) as refused:
            loop(examiners.examine(tmp_path / "blob", digest, size))
        assert refused.value.reason is Reason.WRONG_DIGEST
