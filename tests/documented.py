"""The decoder written from docs/format.md beside the one of fedbits, and the page itself."""

from __future__ import annotations

import re
from pathlib import Path
from unittest import mock

import constriction
import numpy as np
import torch
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
    assert_same_view_labels(read, received)
    assert_same_network(read, received)
    assert_same_task(read.task, received)


def assert_same_view_labels(read: reader.Decoded, received: DistilledSet) -> None:
    """Symbols, tensors and partners in every bit; some views and probabilities but for rounding."""
    theirs, ours = read.view_labels, received.view_labels
    if theirs is None or ours is None:
        assert theirs is None and ours is None
        return
    assert read.table is not None and np.array_equal(read.table, ours.table)
    assert [f - 16 for _, f in read.tensors] == [tensor.fraction_bits for tensor in ours.codec.tensors]
    for (values, _), tensor in zip(read.tensors, ours.codec.tensors, strict=True):
        assert np.array_equal(values, tensor.values)
    assert (theirs.temperature or 16) / 16 == ours.temperature
    chosen, epochs = torch.arange(theirs.n)[:: max(1, theirs.n // 3)], theirs.epochs
    for epoch in {0, epochs - 1}:
        partners = [theirs.partner(epoch, i) for i in range(theirs.n)]
        assert partners == ours.views.partners(epoch, torch.arange(theirs.n)).tolist()
        views = ours.views.make(lambda index: received.samples[index], epoch, chosen)
        labels = ours.targets(epoch, chosen)
        size = max(1.0, float(received.samples.abs().max()))
        for i, view, label in zip(chosen.tolist(), views.numpy(), labels.numpy(), strict=True):
            assert np.allclose(theirs.view(read.samples, epoch, i), view, rtol=0, atol=1e-4 * size)
            assert np.allclose(theirs.label(read.tensors, read.table[epoch, i].tolist()), label, atol=1e-5)


def assert_same_network(read: reader.Decoded, received: DistilledSet) -> None:
    """Tensors in every bit; some views and their labels (without samples, of noise) but for rounding."""
    theirs, ours = read.labeller, received.network
    if theirs is None or ours is None:
        assert theirs is None and ours is None
        return
    assert [f - 16 for _, f in theirs.tensors] == [tensor.fraction_bits for tensor in ours.tensors]
    for (values, _), tensor in zip(theirs.tensors, ours.tensors, strict=True):
        assert np.array_equal(values, tensor.values)
    assert (theirs.temperature or 16) / 16 == ours.temperature
    assert theirs.known == ours.known
    if not len(received):
        noise = np.random.default_rng(0).standard_normal((3, *received.spec.shape)).astype(np.float32)
        for view, label in zip(noise, ours.probabilities(torch.from_numpy(noise)).numpy(), strict=True):
            assert np.allclose(theirs.label(view), label, atol=1e-4)
        return
    views, chosen = theirs.views(read.counts), torch.arange(len(received))[:: max(1, len(received) // 3)]
    size = max(1.0, float(received.samples.abs().max()))
    for epoch in (0, 12_345):
        of_these = chosen + (chosen + epoch + 1) % 2  # views are learnt in every other epoch
        views_of = of_these[of_these < len(received)]
        lesson = received.lesson(views_of, epoch)
        assert bool(lesson.viewed.all())
        for i, view, label in zip(
            views_of.tolist(), lesson.samples.numpy(), lesson.targets.numpy(), strict=True
        ):
            assert np.allclose(views.view(read.samples, epoch, i), view, rtol=0, atol=1e-4 * size)
            assert np.allclose(theirs.label(view), label, atol=1e-4)


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
