"""Labels of views as docs/format.md has them: what any decoder makes of draws, tables and codecs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from documented import DOCUMENT, GOLDEN, assert_reads_the_same, fenced
from golden import reader, reader_labels
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_data, make_set, message_of, packed
from storing import as_floats, in_epitome, taught
from viewed import SIZES, digest, same, view_labels, viewed

from fedbits import decode, encode
from fedbits.coding import columns
from fedbits.container import DecodeLimits, inspect, ledger
from fedbits.errors import ConfigError, FormatError, LimitError
from fedbits.labels import CODECS, CodecConfig, ViewLabels, Views, ViewsConfig
from fedbits.labels.stored import DeclaredLabels, write_labels
from fedbits.wire import distilled_set_pb2 as pb


@st.composite
def view_configs(draw: st.DrawFn) -> ViewsConfig:
    return ViewsConfig(
        epochs=draw(st.integers(1, 3)),
        seed=draw(st.one_of(st.integers(0, 9), st.just((1 << 32) - 1))),
        least_area=draw(st.integers(1, 64)) / 64,
        rotation=draw(st.integers(0, 45)),
        flipped=draw(st.booleans()),
        mix=draw(st.sampled_from(["none", "mixup", "cutmix"])),
    )


@st.composite
def codecs(draw: st.DrawFn, classes: int) -> tuple[str, dict[str, int]]:
    """One of any size, mostly small."""
    name, levels = draw(st.sampled_from(sorted(SIZES))), draw(st.sampled_from([2, 3, 5, 16, 256]))
    if name == "float16":
        return name, {}
    if name == "scalar":
        return name, {"levels": levels}
    if name in ("top", "pca"):
        return name, {"width": draw(st.integers(1, classes)), "levels": levels}
    levels = draw(st.sampled_from([levels, 300]))
    if name == "vq":
        return name, {"segment": draw(st.integers(1, classes)), "levels": levels}
    segment = draw(st.integers(1, 3))
    return name, {"width": segment * draw(st.integers(1, 4)), "segment": segment, "levels": levels}


@settings(max_examples=20)
@given(
    data=st.data(),
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any),
    shape=st.sampled_from([(4,), (1, 4, 5), (2, 1, 3), (3, 2, 2)]),
    views=view_configs(),
    temperature=st.integers(1, 1024),
    spread=st.sampled_from([0.0, 0.1, 1.0]),
    per_class=st.booleans(),
)
def test_fresh_labels(
    data: st.DataObject,
    counts: list[int],
    shape: tuple[int, ...],
    views: ViewsConfig,
    temperature: int,
    spread: float,
    per_class: bool,
) -> None:
    name, sizes = data.draw(codecs(len(counts)))
    settings: dict[str, Any] = {"views": views, "temperature": temperature / 16, "spread": spread, **sizes}
    sent = viewed(as_floats(make_data(shape, counts), 6), name, **settings)
    blob = encode(sent, per_class=per_class)
    received = decode(blob)
    assert received.view_labels is not None and sent.view_labels is not None
    assert same(received.view_labels, sent.view_labels)
    assert encode(received, per_class=per_class) == blob
    assert sum(ledger(blob).components.values()) == 8 * len(blob)
    assert_reads_the_same(blob, received)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("codec", sorted(SIZES))
def test_codecs_under_both_coders(codec: str, mixed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedbits.labels.view_labels.smallest_table", lambda *_: (mixed, 0.0))
    sent = viewed(make_set(make_data((1, 3, 3), [30, 0, 14, 2]), 40), codec, spread=0.3)
    blob = encode(sent)
    assert message_of(blob).view_labels.counted is not mixed
    assert_reads_the_same(blob)


def test_batches_that_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = make_set(make_data((2,), [25, 25]), 40)
    blob = encode(viewed(sent, "scalar", levels=3))
    for largest in (1 << 14, 7):
        monkeypatch.setattr(columns, "_LARGEST_BATCH", largest)
        monkeypatch.setattr(reader_labels, "LARGEST", largest)
        other = encode(viewed(sent, "scalar", levels=3))
        assert (message_of(other).view_labels.stream == message_of(blob).view_labels.stream) == (largest > 7)
        assert_reads_the_same(other)


def test_classes_that_are_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """That there are more than 2^22 counters is far from what a test reads in no time."""
    assert columns._MOST_COUNTERS == 1 << 22 and "≤ 2^22" in DOCUMENT
    monkeypatch.setattr(columns, "_MOST_COUNTERS", 23)
    monkeypatch.setattr(reader_labels.ViewLabels, "knows_classes", property(lambda _: False))
    monkeypatch.setattr("fedbits.labels.view_labels.smallest_table", lambda *_: (False, 0.0))
    assert_reads_the_same(encode(viewed(make_set(make_data((2,), [9, 9]), 9), "scalar", levels=6)))


def test_golden_labels() -> None:
    expected = json.loads((GOLDEN / "views.json").read_text())
    assert set(expected) == {path.name for path in GOLDEN.glob("v1-views-*.fbits")}
    kinds = set()
    for name, told in expected.items():
        blob = (GOLDEN / name).read_bytes()
        received = decode(blob)
        assert received.view_labels is not None and digest(received.view_labels) == told
        stored = message_of(blob).view_labels
        kinds |= {("codec", stored.codec), ("mix", stored.mix), ("counted", stored.counted)}
        assert message_of(encode(received)).view_labels == stored
    assert kinds >= {("codec", codec) for codec in range(6)}
    assert kinds >= {("mix", mix) for mix in range(3)} | {("counted", False), ("counted", True)}


def test_draws_are_those_of_the_document() -> None:
    lines = fenced("draws")
    for first, second in zip(lines[::2], lines[1::2], strict=True):
        sample, *numbers = first.split() + second.split()
        told = [int(number, 16) for number in numbers]
        drawn = Views(ViewsConfig(5, seed=7), 9)._uniforms(3, torch.tensor([int(sample)]))
        assert (drawn[0] * 2**53).astype(np.int64).tolist() == told
        theirs = _declared(epochs=5, seed=7)
        assert theirs.draws(3, int(sample)) == told


def _declared(counts: list[int] | None = None, **fields: Any) -> reader_labels.ViewLabels:
    """What the independent reader takes ``ViewLabels`` of some fields for."""
    message = pb.ViewLabels(
        **(fields if "codec" in fields else {"epochs": 1, "codec": 1, "levels": 2, **fields})
    )
    by_number = pb.ViewLabels.DESCRIPTOR.fields_by_number
    names = [by_number[number].name for number in sorted(by_number)]
    values = [getattr(message, name) for name in names if name not in ("tensors", "stream")]
    return reader_labels.ViewLabels(*values, b"", b"", counts or [1, 1, 1])  # type: ignore[call-arg]


def test_codecs_of_one_class() -> None:
    for codec in SIZES:
        sent = viewed(make_set(make_data((1, 2, 2), [3])), codec)
        assert_reads_the_same(encode(sent))
        assert sent.view_labels is not None
        assert torch.equal(sent.view_labels.targets(0, torch.arange(2)), torch.ones(2, 1))


@pytest.mark.parametrize(
    ("words", "label"),
    [
        ([0x3C00, 0x3C00, 0x4000, 0], [1 / 4, 1 / 4, 1 / 2, 1e-6 / 4]),
        ([0x7C00, 0x7E01, 0xFC00, 0xBC00], [1, 1e-6, 1e-6, 1e-6]),
        ([0xFE00, 0x8000, 0x0001, 0x7D00], [1 / 4] * 4),
    ],
)
def test_float16_labels_that_are_no_numbers(words: list[int], label: list[float]) -> None:
    codec = CODECS["float16"](CodecConfig("float16"), 4, [])
    symbols = np.array([[byte for word in words for byte in divmod(word, 256)]], np.uint16)
    found = codec.labels(symbols)[0]
    assert torch.allclose(found, torch.tensor(label), rtol=1e-4)
    theirs = _declared([1] * 4, epochs=1, codec=0).label([], symbols[0].tolist())
    assert np.allclose(theirs, found, rtol=1e-5)


def test_a_class_that_is_among_the_largest_twice() -> None:
    labels = view_labels(make_set(make_data((2,), [2, 2, 2])), "top")
    codec, symbols = labels.codec, np.array([[1, 1, 0, 2], [2, 0, 1, 1]], np.uint16)
    theirs = _declared([2] * 3, epochs=1, codec=2, width=2, levels=3)
    tensors = [(tensor.values, tensor.fraction_bits + 16) for tensor in codec.tensors]
    for row, found in zip(symbols.tolist(), codec.labels(symbols).numpy(), strict=True):
        assert np.allclose(theirs.label(tensors, row), found, atol=1e-6)


BLOB = encode(viewed(make_set(make_data((1, 2, 3), [2, 3])), "vqae", spread=0.2))


@settings(max_examples=150)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 2), st.integers(0, 255)), min_size=1, max_size=3
    )
)
def test_both_read_or_refuse_mutated_messages(edits: list[tuple[int, int, int]]) -> None:
    """Bytes of the labels changed, inserted and removed under a valid checksum."""
    message = message_of(BLOB)
    body = bytearray(message.view_labels.SerializeToString())
    message.ClearField("view_labels")
    for position, kind, value in edits:
        at = position % max(1, len(body))
        body[at : at + (kind != 1)] = b"" if kind == 2 else bytes([value])
    both_read_or_refuse(packed(message.SerializeToString() + b"\x72" + _varint(len(body)) + bytes(body)))


@settings(max_examples=40)
@given(data=st.data(), tensors=st.binary(max_size=60), stream=st.binary(max_size=20), counted=st.booleans())
def test_both_read_or_refuse_any_streams(
    data: st.DataObject, tensors: bytes, stream: bytes, counted: bool
) -> None:
    name, sizes = data.draw(codecs(2))
    message = message_of(BLOB)
    labels = message.view_labels
    labels.codec = CODECS[name].number
    for size in ("width", "segment", "levels"):
        setattr(labels, size, sizes.get(size, 0))
    labels.tensors, labels.stream, labels.counted = tensors, stream, counted
    both_read_or_refuse(packed(message))


def both_read_or_refuse(blob: bytes) -> None:
    try:
        received = decode(blob, DecodeLimits(work=1 << 22))
    except LimitError:
        return  # what a receiver limits is not the format's business
    except FormatError:
        with pytest.raises(ValueError):
            reader.read(blob)
        return
    labels = received.view_labels
    if labels is not None:
        targets = labels.targets(0, torch.arange(len(received)))
        assert bool(((targets >= 0) & (targets <= 1)).all())
        assert bool(torch.isclose(targets.sum(1), torch.ones(len(targets))).all())
    assert_reads_the_same(blob, received)


def _varint(number: int) -> bytes:
    return bytes([number & 127 | 128, number >> 7]) if number > 127 else bytes([number])


@settings(max_examples=150)
@given(
    data=st.data(),
    classes=st.one_of(st.integers(1, 9), st.sampled_from([100, 1000])),
    count=st.one_of(st.integers(1, 9), st.sampled_from([100, 20_000])),
    epochs=st.one_of(st.integers(1, 9), st.just(1 << 31)),
    counted=st.booleans(),
)
def test_work_and_numbers(data: st.DataObject, classes: int, count: int, epochs: int, counted: bool) -> None:
    """Section 8 of the page, and the limits in section 9."""
    name, sizes = data.draw(codecs(classes))
    fields: dict[str, Any] = {"levels": 0, **sizes, "codec": CODECS[name].number}
    fields.update(epochs=epochs, counted=counted)
    theirs = _declared([count] * classes, **fields)
    ours = DeclaredLabels(pb.ViewLabels(**fields), count * classes, classes)
    ours.check()
    assert ours.payable == theirs.work()
    assert (ours.elements, ours.parameters, ours.work) == theirs.limited()
    assert list(ours._columns) == theirs.columns and ours._shapes == theirs.shapes


def test_streams_have_a_least_length() -> None:
    """That of labels that are foretold, which take next to no bits."""
    sent = make_set(make_data((2,), [40, 40]), 40)
    views = ViewsConfig(150, mix="none")
    sizes: dict[str, Any] = {"width": 1, "segment": 1, "levels": 4096}
    labels = view_labels(sent, views=views, **sizes)
    labels = replace(labels, table=np.zeros_like(labels.table))
    blob = encode(sent.taught(labels))
    stored = message_of(blob).view_labels
    theirs = _declared([40, 40], epochs=150, codec=5, counted=stored.counted, **sizes)
    least = -(-(theirs.work() - 2**22) // 2**13)
    assert len(stored.stream) == least > 30
    assert labels.size == least + len(stored.tensors)
    received = decode(blob)
    assert received.view_labels is not None and same(received.view_labels, labels)
    message = message_of(blob)
    message.view_labels.stream = stored.stream[:-1]
    _refused(message)


def _refused(message: pb.DistilledSet) -> None:
    readers: tuple[Callable[[bytes], object], ...] = (decode, reader.read)
    for read in readers:
        with pytest.raises((FormatError, ValueError)):
            read(packed(message))


def test_the_message_is_that_of_the_document() -> None:
    table = DOCUMENT.split("`ViewLabels`, all", 1)[1]
    for field in pb.ViewLabels.DESCRIPTOR.fields:
        assert f"\n| {field.number} | {field.name} | " in table
    assert sorted(pb.ViewLabels.DESCRIPTOR.fields_by_number) == list(range(1, 15))


def test_ranges_are_those_of_the_document() -> None:
    table = DOCUMENT.split("`ViewLabels`, all", 1)[1].split("\n`NetworkLabels`, all")[0]
    found = re.findall(r"^\| \d+ \| (\w+) \| uint32 \(0\) \| (\d+) to (\d+)[^\d^]", table, re.M)
    ranges = {name: (int(least), int(most)) for name, least, most in found}
    assert set(ranges) == {"cropped", "mix", "temperature", "codec", "rotation"}
    for name, (least, most) in ranges.items():
        assert least == 0
        for value in (most, most + 1, (1 << 32) - 1):
            fields = {"epochs": 1, "codec": 1, "levels": 2, name: value}
            if name == "codec":
                fields.update(width=2, segment=1)
            _check_agree(fields, value <= most)
    _check_agree({"epochs": 0, "codec": 1, "levels": 2}, False)


def _check_agree(fields: dict[str, Any], fits: bool, classes: int = 3) -> None:
    for check in (
        lambda: DeclaredLabels(pb.ViewLabels(**fields), 3, classes).check(),
        lambda: _declared([1] * classes, **fields),
    ):
        if fits:
            check()
            continue
        with pytest.raises((FormatError, ValueError)):
            check()


@pytest.mark.parametrize(
    ("codec", "size", "fits"),
    [
        (0, (0, 0, 0), True),
        (0, (0, 0, 2), False),
        (0, (1, 0, 0), False),
        (1, (0, 0, 256), True),
        (1, (0, 0, 257), False),
        (1, (0, 0, 1), False),
        (1, (0, 1, 2), False),
        (2, (3, 0, 256), True),
        (2, (4, 0, 2), False),
        (2, (0, 0, 2), False),
        (2, (1, 1, 2), False),
        (3, (3, 0, 256), True),
        (3, (4, 0, 2), False),
        (3, (1, 0, 257), False),
        (4, (0, 3, 4096), True),
        (4, (0, 4, 2), False),
        (4, (0, 0, 2), False),
        (4, (1, 1, 2), False),
        (4, (0, 1, 4097), False),
        (5, (1 << 14, 1 << 13, 4096), True),
        (5, ((1 << 14) + 1, 1, 2), False),
        (5, (4, 3, 2), False),
        (5, (2, 4, 2), False),
        (5, (2, 0, 2), False),
        (5, (0, 0, 2), False),
        (5, (256, 1, 4096), True),
        (5, (257, 1, 4096), False),
    ],
)
def test_sizes_are_those_of_the_document(codec: int, size: tuple[int, int, int], fits: bool) -> None:
    fields = dict(zip(("width", "segment", "levels"), size, strict=True))
    _check_agree({"epochs": 1, "codec": codec, **fields}, fits)


@pytest.mark.parametrize(("classes", "fits"), [(2048, True), (2049, False), (1 << 16, False)])
def test_columns_of_too_many_symbols(classes: int, fits: bool) -> None:
    _check_agree({"epochs": 1, "codec": 0}, fits, classes)


@pytest.mark.parametrize(("classes", "fits"), [(1 << 16, True), ((1 << 16) + 1, False)])
def test_classes_fit_two_bytes(classes: int, fits: bool) -> None:
    _check_agree({"epochs": 1, "codec": 2, "width": 1, "levels": 2}, fits, classes)
    labels = view_labels(make_set(make_data((1,), [1])), "scalar")
    labels.codec.classes = 3 * classes
    with pytest.raises(ConfigError, match="cannot travel"):
        write_labels(pb.ViewLabels(), labels)


def test_labels_of_views_and_of_samples_exclude_each_other() -> None:
    message = message_of(BLOB)
    message.soft_labels.logits = bytes(2 * 4 * 2)
    _refused(message)
    sent = decode(BLOB)
    with pytest.raises(ValueError, match="beside"):
        type(sent)(
            sent.spec,
            sent.parameterization,
            sent.class_counts(),
            soft_labels=taught(sent).soft_labels,
            view_labels=sent.view_labels,
        )


@pytest.mark.parametrize("per_class", [False, True])
def test_a_reader_of_some_classes_has_no_labels_of_views(per_class: bool) -> None:
    """As they may be mixed with what it does not have; and it reads on over a stream that is damaged."""
    message = message_of(encode(decode(BLOB), per_class=per_class))
    for stream in (message.view_labels.stream, b"\xff" * 99):
        message.view_labels.stream = stream
        blob = packed(message)
        assert decode(blob, classes=[1]).view_labels is None
        assert reader.read(blob, {1}).view_labels is None
    message = message_of(BLOB)
    whole = decode(packed(message), classes=[0, 1])
    assert whole.view_labels is not None and same(whole.view_labels, decode(BLOB).view_labels)  # type: ignore[arg-type]
    message.view_labels.mix = 3
    with pytest.raises(FormatError):
        decode(packed(message), classes=[1])


@pytest.mark.parametrize("counts", [[2, 2, 1], [2, 3], [3, 2, 0]])
def test_labels_of_other_samples(counts: list[int]) -> None:
    """They would be read as other symbols, as the classes of their samples are part of what predicts them."""
    sent = make_set(make_data((1, 2, 3), [2, 3, 0]), 3)
    other = make_set(make_data((1, 2, 3), counts), 3)
    with pytest.raises(ValueError, match="of other"):
        sent.taught(view_labels(other, "scalar"))


def test_samples_of_any_storage() -> None:
    epitome = in_epitome(
        make_data((1, 4, 4), [2, 1]), 2, tokens=2, width=2, heads=1, blocks=0, nonzeros=2, patch=2
    )
    blob = encode(viewed(epitome, "top"))
    assert_reads_the_same(blob)
    assert sum(ledger(blob).components.values()) == 8 * len(blob)


def test_the_ledger_tells_labels_from_samples() -> None:
    bare = encode(make_set(make_data((1, 2, 3), [2, 3])))
    with_labels, without = ledger(BLOB).components, ledger(bare).components
    assert {**with_labels, "labels": 0} == {**without, "labels": 0}
    assert with_labels["labels"] - without["labels"] == 8 * (len(BLOB) - len(bare))
    assert inspect(BLOB)["labels"] == "views"
    assert inspect(BLOB)["view_labels"]["codec"] == "vqae"


def test_views_come_again() -> None:
    labels = decode(BLOB).view_labels
    assert isinstance(labels, ViewLabels)
    index = torch.arange(len(labels))
    assert torch.equal(labels.targets(2, index), labels.targets(0, index))
    assert torch.equal(labels.views.partners(3, index), labels.views.partners(1, index))
    assert not torch.equal(labels.views.shares(0, index), labels.views.shares(1, index))
