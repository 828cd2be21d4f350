"""Latents as docs/format.md has them: what any decoder makes of integers on grids and of two networks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from documented import DOCUMENT, assert_reads_the_same
from golden import reader, reader_latent
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_data, make_spec, message_of, packed
from random_latents import in_random_latents

from fedbits import decode, encode
from fedbits.coding.network import CERTAIN
from fedbits.coding.weights import QuantisedTensor, encode_weights
from fedbits.container import DecodeLimits
from fedbits.data import TensorData
from fedbits.declared import declared
from fedbits.errors import FormatError, LimitError
from fedbits.parameterization import LatentConfig, LatentParameterization
from fedbits.parameterization.latent.config import CONTEXTS
from fedbits.parameterization.latent.form import (
    MOST_CONVOLUTIONS,
    MOST_ENTROPY_HIDDEN,
    MOST_FACTOR,
    MOST_GRIDS,
    MOST_HIDDEN,
    Context,
)
from fedbits.parameterization.latent.prediction import MOST_REACH
from fedbits.parameterization.latent.stream import checked
from fedbits.wire import distilled_set_pb2 as pb

SMALL: dict[str, Any] = {"numbers": 1, "scales": (2,), "hidden": 2, "context": 8, "entropy_hidden": 3}
ZEROS = {"synthesis": "pyramid", "upsampling": "dyadic"}
KINDS = (ZEROS, {**ZEROS, "synthesis": "stacked"}, {"synthesis": "stacked", "upsampling": "learned"})


def written(data: TensorData, per_class: bool = False, **sizes: Any) -> bytes:
    return encode(in_random_latents(data, 3, **sizes), per_class=per_class)


@st.composite
def forms(draw: st.DrawFn) -> dict[str, Any]:
    """Settings of any kind of latents, mostly small."""
    numbers = draw(st.integers(0, 3))
    factors = st.one_of(st.integers(1, 5), st.sampled_from([7, 8, 256]))
    return {
        **draw(st.sampled_from(KINDS)),
        "numbers": numbers,
        "scales": tuple(draw(st.lists(factors, min_size=numbers == 0, max_size=3))),
        "group": draw(st.sampled_from(["set", "class", 2, 3])),
        "hidden": draw(st.integers(1, 4)),
        "convolutions": draw(st.integers(0, 2)),
        "class_means": draw(st.booleans()),
        "context": draw(st.sampled_from(CONTEXTS)),
        "coarser": draw(st.booleans()),
        "entropy_hidden": draw(st.integers(1, 5)),
        "entropy_layers": draw(st.integers(1, 2)),
        "components": draw(st.integers(1, 4)),
    }


@settings(max_examples=12)
@given(
    form=forms(),
    shape=st.sampled_from([(1, 4, 4), (3, 4, 5), (2, 7, 3), (1, 1, 4), (9,), (1,)]),
    counts=st.lists(st.integers(0, 3), min_size=1, max_size=4).filter(any),
    size=st.sampled_from([0.1, 2.0, 9.0, 80.0]),
    per_class=st.booleans(),
    seed=st.integers(0, 9),
)
def test_fresh_blobs_of_latents(
    form: dict[str, Any], shape: tuple[int, ...], counts: list[int], per_class: bool, **other: Any
) -> None:
    assert_reads_the_same(written(make_data(shape, counts), per_class, **form, **other))


def test_batches_of_many_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """They matter where symbols take two steps."""
    blob = written(make_data((1, 2, 2), [3, 3, 1]), **SMALL, group="class", size=20.0)
    received = decode(blob)
    monkeypatch.setattr("fedbits.parameterization.latent.stream._PART", 4)
    other = written(make_data((1, 2, 2), [3, 3, 1]), **SMALL, group="class", size=20.0)
    assert message_of(other).stream != message_of(blob).stream
    monkeypatch.setattr(reader_latent, "PART", 4)
    assert_reads_the_same(other, received)


def _tensors(shapes: list[tuple[int, ...]], draws: np.random.Generator, largest: int) -> bytes:
    """Many of the largest numbers, at steps of any size."""
    tensors = []
    for shape in shapes:
        values = draws.integers(-1, 1, shape, np.int64, endpoint=True) * draws.integers(1, largest + 1, shape)
        tensors.append(QuantisedTensor(values, int(draws.integers(-16, 48))))
    return encode_weights(tensors)


def _entropy(shapes: list[tuple[int, ...]], draws: np.random.Generator) -> bytes:
    """As large as there may be."""
    tensors = []
    for place, shape in enumerate(shapes):
        bits, most = ((10, 15), (18, 31))[place % 2]
        spare = int(draws.integers(0, bits, endpoint=True))
        largest = (1 << most) - 1 >> spare
        values = draws.integers(-largest, largest, shape, np.int64, endpoint=True)
        tensors.append(QuantisedTensor(values, bits - spare))
    return encode_weights(tensors)


@pytest.mark.parametrize(
    ("shape", "kind"), [((1, 3, 4), KINDS[0]), ((5,), KINDS[0]), ((5,), KINDS[1]), ((1, 3, 4), KINDS[2])]
)
def test_extreme_numbers(shape: tuple[int, ...], kind: dict[str, Any]) -> None:
    """Means, weights and steps at both ends of what may be sent: all is clamped where it must be."""
    data, refused = make_data(shape, [1, 1]), 0
    sent = in_random_latents(data, 3, size=90.0, **{**SMALL, **kind}, convolutions=1)
    blob, form = encode(sent), sent.parameterization.form  # type: ignore[attr-defined]
    for seed in range(4):
        message, draws = message_of(blob), np.random.default_rng(seed)
        largest = int(2 ** draws.uniform(2, 23.3))
        message.latent.synthesis_weights = _tensors(form.synthesis_shapes, draws, largest)
        message.latent.entropy_weights = _entropy(form.entropy_shapes, draws)
        message.latent.reach = 127 - seed
        try:
            received = decode(packed(message))
        except FormatError:
            refused += 1
            _refused(message)
            continue
        assert bool(received.samples.isfinite().all())
        assert_reads_the_same(packed(message), received)
    assert refused < 4


BLOB = written(make_data((1, 3, 3), [1, 2]), **SMALL)


@settings(max_examples=40)
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


@settings(max_examples=15)
@given(synthesis=st.binary(max_size=60), entropy=st.binary(max_size=60), stream=st.binary(max_size=20))
def test_both_read_or_refuse_any_tensors(synthesis: bytes, entropy: bytes, stream: bytes) -> None:
    message = message_of(BLOB)
    message.latent.synthesis_weights, message.latent.entropy_weights = synthesis, entropy
    message.stream = stream
    both_read_or_refuse(packed(message))


def both_read_or_refuse(blob: bytes) -> None:
    try:
        received = decode(blob, DecodeLimits(elements=1 << 15, work=1 << 23))
    except LimitError:
        return  # what a receiver limits is not the format's business
    except FormatError:
        with pytest.raises(ValueError):
            reader.read(blob)
    else:
        assert_reads_the_same(blob, received)


@settings(max_examples=200)
@given(
    form=forms(),
    shape=st.one_of(st.tuples(*[st.integers(1, 40)] * 3), st.tuples(st.integers(1, 300))),
    counts=st.lists(st.integers(0, 1 << 15), min_size=1, max_size=7).filter(any),
    reach=st.integers(1, 127),
    per_class=st.booleans(),
)
def test_work_and_parameters(
    form: dict[str, Any], shape: tuple[int, ...], counts: list[int], reach: int, per_class: bool
) -> None:
    """Section 8 of the page, and the limits in section 9."""
    config, spec, n = LatentConfig(**form), make_spec(shape, len(counts)), sum(counts)
    per_class = per_class and len(counts) - counts.count(0) > 1
    theirs = _form(config, spec.grid_shape, reach, len(counts))
    found = declared(_declaring(config, reach, len(counts)), spec)
    found.check()
    streams = len(counts) - counts.count(0) if per_class else 0
    least = reader.least_length(theirs.work(n, streams), n * spec.elements)
    assert found.least_stream(counts, per_class) == least
    assert found.work(counts, per_class) == theirs.work(n, streams, zeros=False)
    assert found.shape == (1, 1, theirs.starts[-1])
    assert found.parameters(counts, per_class) == theirs.parameters
    each = max(spec.elements, (27 * theirs.starts[-1] + 12 + 8 * spec.elements + 40) // 8)
    assert found.elements(n) == max(n * each + theirs.memory(n), 128 + 2 * reach + 1)


def _declaring(config: LatentConfig, reach: int, classes: int) -> pb.DistilledSet:
    message = pb.DistilledSet()
    latent = message.latent
    latent.scales.extend(config.scales)
    latent.numbers, latent.hidden, latent.convolutions = config.numbers, config.hidden, config.convolutions
    group = {"set": 0, "class": 1}.get(str(config.group), config.group)
    latent.group_classes = min(int(group), classes)
    latent.synthesis = [(k["synthesis"], k["upsampling"]) for k in KINDS].index(
        (config.synthesis, config.upsampling)
    )
    latent.without_means, latent.without_coarser = not config.class_means, not config.coarser
    latent.context, latent.entropy_hidden = config.context, config.entropy_hidden
    latent.entropy_layers, latent.components, latent.reach = config.entropy_layers, config.components, reach
    return message


def _form(
    config: LatentConfig, sample: tuple[int, int, int], reach: int, classes: int
) -> reader_latent.Latent:
    stored = _declaring(config, reach, classes).latent
    values = [getattr(stored, field.name) for field in pb.Latent.DESCRIPTOR.fields[1:13]]
    return reader_latent.Latent(list(stored.scales), *values, sample, classes)


def test_streams_have_a_least_length() -> None:
    """That of latents that are foretold, which take no bits."""
    sizes = {**SMALL, "numbers": 0, "scales": (1,), "synthesis": "stacked"}
    sent = in_random_latents(make_data((1, 31, 30), [1]), size=0.0, **sizes)
    stored = sent.parameterization
    assert isinstance(stored, LatentParameterization)
    for tensor in stored.entropy:
        tensor.data.zero_()
    stored.entropy[-1].data[-2:] = -5.0  # the narrowest
    blob = encode(sent)
    message = message_of(blob)
    least = reader.least_length(_form(stored.config, (1, 31, 30), 1, 1).work(1), 930)
    assert len(message.stream) == least > 100
    assert_reads_the_same(blob)
    message.stream = message.stream[:-1]
    _refused(message)


def test_the_message_is_that_of_the_document() -> None:
    table = DOCUMENT.split("`Latent`\n", 1)[1]
    for field in pb.Latent.DESCRIPTOR.fields:
        assert f"\n| {field.number} | {field.name} | " in table
    assert [field.number for field in pb.Latent.DESCRIPTOR.fields] == list(range(1, 16))


def _refused(message: pb.DistilledSet) -> None:
    readers: tuple[Callable[[bytes], object], ...] = (decode, reader.read)
    for read in readers:
        with pytest.raises((FormatError, ValueError)):
            read(packed(message))


def _ranges() -> Iterator[tuple[str, int, int]]:
    """Of numbers, by the document's table."""
    table = DOCUMENT.split("`Latent`\n", 1)[1].split("`SoftLabels`")[0]
    for name, least, most in re.findall(
        r"^\| \d+ \| (\w+) \| uint32 \(0\) \| (\d+) (?:to|or) (\d+)", table, re.M
    ):
        yield name, int(least), int(most)


def test_ranges_are_those_of_the_document() -> None:
    ranges = {name: (least, most) for name, least, most in _ranges()}
    assert ranges == {
        "synthesis": (0, 2),
        "hidden": (1, MOST_HIDDEN),
        "convolutions": (0, MOST_CONVOLUTIONS),
        "entropy_hidden": (1, MOST_ENTROPY_HIDDEN),
        "entropy_layers": (1, 2),
        "components": (1, 4),
        "reach": (1, MOST_REACH),
    }
    assert f"each 1 to {MOST_FACTOR}, none above" in DOCUMENT
    assert f"make 1 to {MOST_GRIDS} grids" in DOCUMENT
    spec, config = make_spec((1, 4, 4), 3), LatentConfig(**SMALL)
    for name, (least, most) in ranges.items():
        for value in {least - 1, least, most, most + 1} - {-1}:
            message = _declaring(config, 1, 3).latent
            setattr(message, name, value)
            if least <= value <= most:
                checked(message, spec)
                continue
            with pytest.raises(FormatError):
                checked(message, spec)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.scales.append(3),
        lambda m: m.scales.append(0),
        lambda m: m.scales.insert(0, 257),
        lambda m: setattr(m, "numbers", 128),
        lambda m: (m.ClearField("scales"), setattr(m, "numbers", 0)),
        lambda m: setattr(m, "group_classes", 3),
        lambda m: setattr(m, "context", 9),
    ],
)
def test_what_must_be_refused(change: Callable[[pb.Latent], object]) -> None:
    message = message_of(BLOB)
    change(message.latent)
    _refused(message)


def test_flags_of_many_bits() -> None:
    """A bool is false only if all of its varint is."""
    plain = b"\x48\x01"  # without_coarser
    assert message_of(BLOB).latent.without_coarser is False
    message = message_of(written(make_data((1, 3, 3), [1, 2]), **SMALL, coarser=False))
    stored = message.latent.SerializeToString()
    assert plain in stored
    message.ClearField("latent")
    for flag in (plain, b"\x48\x80\x80\x80\x80\x10"):
        changed = stored.replace(plain, flag)
        body = message.SerializeToString() + b"\x6a" + _varint(len(changed)) + changed
        assert_reads_the_same(packed(body))


def _varint(number: int) -> bytes:
    return bytes([number & 127 | 128, number >> 7]) if number > 127 else bytes([number])


def test_dense_layers_of_large_maps() -> None:
    config = LatentConfig(**{**SMALL, "scales": (2,)})
    for side, fits in ((512, True), (513, False)):
        form = _form(config, (1, 1, side), 1, 1)
        message, spec = _declaring(config, 1, 1).latent, make_spec((side,), 1)
        if fits:
            form.check()
            checked(message, spec)
            continue
        for check in (form.check, lambda m=message, s=spec: checked(m, s)):
            with pytest.raises((FormatError, ValueError)):
                check()


def test_neighbours_are_those_of_the_document() -> None:
    rows = re.findall(r"^   \| \d+ to \d+ \| (.*) \|$", DOCUMENT, re.M)
    pairs = re.findall(r"\((-?\d), (-?\d)\)", " ".join(rows).replace("\N{MINUS SIGN}", "-"))
    told = [tuple(map(int, pair)) for pair in pairs]
    assert told == Context(24, True, 1, 1, 1).offsets == reader_latent.NEAR
    assert [Context(count, True, 1, 1, 1).offsets for count in CONTEXTS] == [told[:n] for n in CONTEXTS]


def test_constants_are_those_of_the_document() -> None:
    assert CERTAIN == 1 << 32
    assert "batches of 2^13" in DOCUMENT
    assert reader_latent.PART == 1 << 13
    config = replace(LatentConfig(), numbers=2, scales=(4,))
    form = config.form(make_spec((1, 8, 8), 3))
    assert form.inputs == 12 + 5 + 3 + 4 + 1
