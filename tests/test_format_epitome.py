"""Epitomes as docs/format.md has them: what any decoder makes of sparse codes, tokens and a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from documented import DOCUMENT, assert_reads_the_same
from golden import reader, reader_epitome
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_data, make_spec, message_of, packed
from storing import in_epitome

from fedbits import decode, encode
from fedbits.coding import CODERS
from fedbits.coding.grid import OWN
from fedbits.coding.weights import QuantisedTensor, encode_weights
from fedbits.container import DecodeLimits
from fedbits.data import TensorData
from fedbits.declared import declared
from fedbits.errors import FormatError, LimitError
from fedbits.parameterization.epitome.form import Form
from fedbits.wire import distilled_set_pb2 as pb

SMALL = {"tokens": 3, "width": 4, "heads": 2, "nonzeros": 3, "patch": 2, "bits": 3}


def written(data: TensorData, coder: int, per_class: bool = False, **sizes: Any) -> bytes:
    name = "fedbits.parameterization.epitome.stream.smallest"
    with mock.patch(name, lambda *_: (coder, 0.0)):
        return encode(in_epitome(data, 3, **sizes), per_class=per_class)


@settings(max_examples=12)
@given(
    shape=st.sampled_from([(1, 4, 4), (3, 4, 5), (2, 7, 5), (1, 1, 4), (9,), (1,)]),
    counts=st.lists(st.integers(0, 3), min_size=1, max_size=4).filter(any),
    tokens=st.integers(1, 5),
    width=st.sampled_from([(1, 1), (4, 1), (4, 2), (6, 3), (5, 5)]),
    blocks=st.integers(0, 2),
    nonzeros=st.integers(1, 30),
    patch=st.integers(1, 5),
    bits=st.integers(2, 8),
    coder=st.sampled_from([number for number in CODERS if number != OWN]),
    per_class=st.booleans(),
    seed=st.integers(0, 9),
)
def test_fresh_blobs_of_epitomes(
    shape: tuple[int, ...],
    counts: list[int],
    width: tuple[int, int],
    coder: int,
    per_class: bool,
    **sizes: int,
) -> None:
    data = make_data(shape, counts)
    assert_reads_the_same(written(data, coder, per_class, width=width[0], heads=width[1], **sizes))


def _tensors(
    shapes: list[tuple[int, ...]], draws: np.random.Generator, largest: int, gains: set[int]
) -> bytes:
    """Many of the largest numbers, at steps of any size; places of ``gains`` are of a size that they have."""
    tensors = []
    for place, shape in enumerate(shapes):
        values = draws.integers(-1, 1, shape, np.int64, endpoint=True) * draws.integers(1, largest + 1, shape)
        bits = int(draws.integers(0, 31)) if place in gains else int(draws.integers(-16, 48))
        tensors.append(QuantisedTensor(values, bits))
    return encode_weights(tensors)


@pytest.mark.parametrize("shape", [(1, 3, 4), (5,)])
@pytest.mark.parametrize("blocks", [0, 1])
def test_extreme_numbers(shape: tuple[int, ...], blocks: int) -> None:
    """Tokens, weights and steps at both ends of what may be sent: all is clamped where it must be."""
    data = make_data(shape, [2, 1])
    blob = written(data, 1, **{**SMALL, "width": 2, "blocks": blocks, "bits": 8})
    form = Form.of(data.spec, 3, 2, 2, blocks, 2)
    gains, refused = {10 * block + place for block in range(blocks) for place in (2, 8)}, 0
    for seed in range(10):
        message, draws = message_of(blob), np.random.default_rng(seed)
        largest = int(2 ** draws.uniform(2, 23.3))
        message.epitome.token_weights = _tensors([form.token_shape], draws, largest, set())
        message.epitome.network_weights = _tensors(form.network_shapes, draws, largest, gains)
        message.epitome.fraction_bits[:] = draws.integers(-16, 48, 2).tolist()
        try:
            received = decode(packed(message))
        except FormatError:
            refused += 1
            with pytest.raises(ValueError):
                reader.read(packed(message))
            continue
        assert bool(received.samples.isfinite().all())
        assert_reads_the_same(packed(message), received)
    assert refused < 8


BLOB = written(make_data((1, 3, 3), [1, 2]), 7, **SMALL)


@settings(max_examples=60)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 2), st.integers(0, 255)), min_size=1, max_size=3
    )
)
def test_both_read_or_refuse_mutated_messages(edits: list[tuple[int, int, int]]) -> None:
    """Bytes of the message changed, inserted and removed under a valid checksum."""
    body = bytearray(BLOB[14:])
    for position, kind, value in edits:
        at = position % max(1, len(body))
        body[at : at + (kind != 1)] = b"" if kind == 2 else bytes([value])
    both_read_or_refuse(packed(bytes(body)))


@settings(max_examples=20)
@given(
    tokens=st.binary(max_size=20),
    network=st.binary(max_size=60),
    bits=st.lists(st.integers(-16, 47), min_size=2),
)
def test_both_read_or_refuse_any_tensors(tokens: bytes, network: bytes, bits: list[int]) -> None:
    message = message_of(BLOB)
    message.epitome.token_weights, message.epitome.network_weights = tokens, network
    message.epitome.fraction_bits[:] = bits[:2]
    both_read_or_refuse(packed(message))


def both_read_or_refuse(blob: bytes) -> None:
    try:
        received = decode(blob, DecodeLimits(elements=1 << 15, work=1 << 22))
    except LimitError:
        return  # what a receiver limits is not the format's business
    except FormatError:
        with pytest.raises(ValueError):
            reader.read(blob)
    else:
        assert_reads_the_same(blob, received)


@settings(max_examples=200)
@given(
    shape=st.one_of(st.tuples(*[st.integers(1, 40)] * 3), st.tuples(st.integers(1, 300))),
    sizes=st.tuples(*[st.integers(1, 40)] * 2, st.integers(0, 3), st.integers(1, 30)),
    samples=st.integers(1, 1 << 16),
)
def test_work_and_parameters(shape: tuple[int, ...], sizes: tuple[int, int, int, int], samples: int) -> None:
    """Section 8 of the page, and the limits in section 9."""
    tokens, width, blocks, patch = sizes
    message, spec = pb.DistilledSet(), make_spec(shape, 1)
    for name, value in zip(("tokens", "width", "blocks", "patch"), sizes, strict=True):
        setattr(message.epitome, name, value)
    message.epitome.heads, message.epitome.bits, message.epitome.nonzeros = 1, 3, 1
    message.epitome.fraction_bits.append(0)
    found = declared(message, spec)
    found.check()
    image = len(shape) == 3
    form = reader_epitome.Epitome(
        tokens, width, 1, blocks, patch, 1, 3, 0, [0], shape if image else (1, 1, *shape), image
    )  # type: ignore[arg-type]
    assert found.synthesis_work(samples) == form.work(samples)
    assert found.shape == form.stored
    e, (_, _, row) = form.numbers, form.stored
    parameters = tokens * width + blocks * (3 * width**2 + 7 * width) + e * (width + 1)
    assert found.parameters([samples], False) == parameters
    each = max(spec.elements, (3 * (row + 4) + 6 * row + 4 * spec.elements + 40) // 8)
    b = 16 * row // tokens * max(width, e, tokens)
    elements = samples * each + 8 * parameters + max(b, min(2**22, samples * b))
    assert found.elements(samples) == max(elements, 128 + 8)


def test_streams_have_a_least_length() -> None:
    """Less what tokens and weights take."""
    data = TensorData(make_spec((1, 8, 8), 1), torch.zeros(1, 1, 8, 8), torch.zeros(1).long())
    blob = encode(
        in_epitome(data, 1, tokens=2, width=32, blocks=2, nonzeros=1, patch=4, bits=2, precision=1.0)
    )
    message = message_of(blob)
    sizes = len(message.epitome.token_weights) + len(message.epitome.network_weights)
    form = reader_epitome.Epitome(2, 32, 1, 2, 4, 1, 2, message.epitome.coder, [0], (1, 8, 8), True)
    work = form.work(1) + reader.work((1, *form.stored), 4, form.coder)
    least = -(-(work - 2**22) // 2**13)
    assert len(message.stream) == least - sizes > 100
    assert_reads_the_same(blob)
    message.stream = message.stream[:-1]
    for read in (decode, reader.read):
        with pytest.raises((FormatError, ValueError)):
            read(packed(message))


def test_the_message_is_that_of_the_document() -> None:
    for field in pb.Epitome.DESCRIPTOR.fields:
        assert f"\n| {field.number} | {field.name} | " in DOCUMENT.split("`Epitome`\n", 1)[1]


def _refused(message: pb.DistilledSet) -> None:
    readers: tuple[Callable[[bytes], object], ...] = (decode, reader.read)
    for read in readers:
        with pytest.raises((FormatError, ValueError)):
            read(packed(message))


def test_coefficients_that_none_can_be() -> None:
    message = message_of(BLOB)
    message.epitome.nonzeros = 1
    _refused(message)
    message = message_of(BLOB)
    message.epitome.coder, message.stream = 0, bytes(100)  # zeros under equal weights: the symbol 0
    _refused(message)
