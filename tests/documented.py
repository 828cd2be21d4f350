"""The decoder written from docs/format.md beside the one of fedbits, and the page itself."""

from __future__ import annotations

import re
from pathlib import Path
from unittest import mock

import constriction
import numpy as np
from golden import reader, reader_stream
from numpy.typing import NDArray

from fedbits import decode, encode
from fedbits.distilled_set import DistilledSet

COUNTING, MIXED = [0, 1, 2, 3], 4  # coders
GOLDEN = Path(__file__).parent / "golden"
FAMILY = constriction.stream.model.Categorical(perfect=False)
DOCUMENT = (Path(__file__).parent.parent / "docs" / "format.md").read_text(encoding="utf-8")


def written(distilled: DistilledSet, coder: int) -> bytes:
    """The blob of a set under a given coder."""
    with mock.patch("fedbits.parameterization.pixel.smallest_coder", lambda *_: (coder, 0.0)):
        return encode(distilled)


def assert_reads_the_same(blob: bytes, received: DistilledSet | None = None) -> None:
    received = decode(blob) if received is None else received
    read = reader.read(blob)
    assert read.samples.dtype == np.float32
    assert read.samples.shape == tuple(received.samples.shape)
    assert read.samples.tobytes() == received.samples.numpy().tobytes()
    assert read.raw().tobytes() == received.raw().numpy().tobytes()
    assert read.counts == received.class_counts()
    assert read.recipe == received.recipe
    assert (read.learning_rate or None) == received.learning_rate
    if received.soft_labels is None:
        assert read.logits is None
    else:
        assert read.logits is not None
        assert read.logits.astype(np.float32).tolist() == received.soft_labels.logits.tolist()
    assert_same_task(read.task, received)


def assert_same_task(task: reader.Task, received: DistilledSet) -> None:
    spec = received.spec
    assert (task.name, task.shape, task.classes) == (spec.name, spec.shape, spec.classes)
    assert (task.mean.tolist(), task.std.tolist()) == (list(spec.mean), list(spec.std))
    assert task.floating == (spec.dtype == "float32")


def constricted(symbols: list[int], weights: NDArray[np.int64]) -> bytes:
    """A stream of constriction's range coder, which is that of section 5, with rows of ``weights``."""
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(np.array(symbols, np.int32), FAMILY, weights.astype(np.float64))
    return bytes(encoder.get_compressed().astype("<u4").tobytes().rstrip(b"\0"))


def range_decoded(stream: bytes, weights: NDArray[np.int64]) -> list[int] | None:
    """What the reader makes of a stream; None where it refuses it."""
    decoder = reader_stream.RangeDecoder(stream)
    try:
        return [decoder.decode(reader_stream.left_cumulatives(row)) for row in weights]
    except ValueError:
        return None


def fenced(language: str) -> list[str]:
    """The lines of the document's only block of a language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    return str(block).splitlines()
