"""Networks that label views as docs/format.md has them, in both readers; and what both refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from documented import DOCUMENT, GOLDEN, assert_reads_the_same
from golden import reader
from hypothesis import given, settings
from hypothesis import strategies as st
from labelling import EVERY_VIEW, alone, digest, hybrid, network_labels
from making import make_data, make_set, message_of, packed
from storing import as_floats, taught
from viewed import viewed

from fedbits.container import DecodeLimits, decode, encode, inspect, ledger
from fedbits.errors import CorruptError, FormatError, LimitError
from fedbits.labels.network.form import KINDS, NetworkForm
from fedbits.labels.network.stored import DeclaredNetwork
from fedbits.wire import distilled_set_pb2 as pb

IMAGE, FLAT = make_data((2, 5, 4), [2, 1]), make_data((3,), [1, 2])
BLOB, ALONE = encode(hybrid(make_set(IMAGE))), encode(alone(IMAGE.spec))


@settings(max_examples=12)
@given(
    counts=st.lists(st.integers(0, 3), min_size=1, max_size=4).filter(any),
    shape=st.sampled_from([(4,), (1, 4, 5), (2, 1, 3), (3, 12, 13)]),
    width=st.integers(1, 4),
    kind=st.sampled_from(KINDS),
    mix=st.sampled_from(["none", "mixup", "cutmix"]),
    temperature=st.integers(1, 1024),
    has_samples=st.booleans(),
    seen=st.sampled_from([None, "all", "each"]),
)
def test_fresh_networks(
    counts: list[int],
    shape: tuple[int, ...],
    width: int,
    kind: str,
    mix: str,
    temperature: int,
    has_samples: bool,
    seen: str | None,
) -> None:
    data = make_data(shape, counts)
    form = NetworkForm("mlp" if len(shape) == 1 else kind, width)  # type: ignore[arg-type]
    config = replace(EVERY_VIEW, temperature=temperature / 16, mix=mix)  # type: ignore[arg-type]
    known = {None: b"", "all": b"\x51", "each": bytes(range(250, 250 + len(counts)))}[seen]
    sent = alone(data.spec, form, known=known)
    if has_samples:
        sent = as_floats(data, 6).labelled(network_labels(data.spec, form, config, known=known))
    blob = encode(sent)
    received = decode(blob)
    assert received.network is not None and sent.network is not None
    assert digest(received.network) == digest(sent.network)
    assert (received.network.config, received.network.form) == (sent.network.config, form)
    assert received.network.known == known
    assert encode(received) == blob
    assert sum(ledger(blob).components.values()) == 8 * len(blob)
    assert_reads_the_same(blob, received)


def test_golden_networks() -> None:
    expected = json.loads((GOLDEN / "networks.json").read_text())
    assert set(expected) == {path.name for path in GOLDEN.glob("v1-labeller-*.fbits")}
    kinds = set()
    for name, told in expected.items():
        network = decode((GOLDEN / name).read_bytes()).network
        assert network is not None and digest(network) == told
        kinds.add(network.form.kind)
    assert kinds == set(KINDS)


def test_the_message_is_that_of_the_document() -> None:
    table = DOCUMENT.split("`NetworkLabels`, all", 1)[1].split("\nAs in every")[0]
    for field in pb.NetworkLabels.DESCRIPTOR.fields:
        assert f"\n| {field.number} | {field.name} | " in table
    found = re.findall(r"^\| \d+ \| (\w+) \| uint32 \(0\) \| (\d+)(?: to | or )(\d+)", table, re.M)
    ranges = {name: (int(least), int(most)) for name, least, most in found}
    assert set(ranges) == {"kind", "width", "cropped", "rotation", "mix", "temperature"}
    for name, (least, most) in ranges.items():
        for value, fits in ((least, True), (most, True), (least - 1, False), (most + 1, False)):
            if value < 0:
                continue
            stored = pb.NetworkLabels(**{"kind": 1, "width": 2, name: value})
            if fits:
                DeclaredNetwork(stored, IMAGE.spec).check()
            else:
                with pytest.raises(CorruptError):
                    DeclaredNetwork(stored, IMAGE.spec).check()
                message = message_of(BLOB)
                setattr(message.network_labels, name, value)
                _refused(packed(message))


def _refused(blob: bytes) -> None:
    readers: tuple[Callable[[bytes], object], ...] = (decode, reader.read)
    for read in readers:
        with pytest.raises((FormatError, ValueError)):
            read(blob)


def _changed(blob: bytes, change: Callable[[pb.DistilledSet], object]) -> bytes:
    message = message_of(blob)
    change(message)
    return packed(message)


def test_a_network_stands_beside_no_other_labels() -> None:
    theirs = message_of(encode(viewed(make_set(IMAGE)))).view_labels
    soft = message_of(encode(taught(make_set(IMAGE)))).soft_labels
    _refused(_changed(BLOB, lambda m: m.view_labels.CopyFrom(theirs)))
    _refused(_changed(BLOB, lambda m: m.soft_labels.CopyFrom(soft)))
    for labelled in (viewed(make_set(IMAGE)), taught(make_set(IMAGE))):
        with pytest.raises(ValueError, match="beside"):
            type(labelled)(
                labelled.spec,
                labelled.parameterization,
                labelled.class_counts(),
                soft_labels=labelled.soft_labels,
                view_labels=labelled.view_labels,
                network=network_labels(IMAGE.spec),
            )


def test_what_a_network_alone_must_not_have_or_lack() -> None:
    _refused(_changed(ALONE, lambda m: m.class_counts.append(0)))
    _refused(_changed(ALONE, lambda m: m.class_counts.append(1)))
    _refused(_changed(ALONE, lambda m: m.ClearField("network_labels")))
    _refused(_changed(BLOB, lambda m: m.ClearField("class_counts")))
    _refused(_changed(BLOB, lambda m: m.ClearField("pixel")))  # then its class counts are of nothing
    flat = message_of(encode(alone(FLAT.spec)))
    flat.network_labels.kind = KINDS.index("convnet")
    _refused(packed(flat))
    assert_reads_the_same(_changed(ALONE, lambda m: setattr(m, "stream", b"never read")))


@pytest.mark.parametrize("length", [2, 4])
def test_what_a_network_knows_is_told_of_every_class_or_of_all(length: int) -> None:
    spec = make_data((4,), [1, 1, 1]).spec
    _refused(_changed(encode(alone(spec)), lambda m: setattr(m.network_labels, "known", b"\1" * length)))


def test_any_bytes_are_some_network_or_refused() -> None:
    for stream in (b"", b"\xff" * 40, b"\x01\x02\x03"):
        blob = _changed(ALONE, lambda m, s=stream: setattr(m.network_labels, "tensors", s))
        try:
            network = decode(blob).network
        except FormatError:
            continue
        assert network is not None
        assert [tensor.values.shape for tensor in network.tensors] == network.form.shapes(IMAGE.spec)


def test_limits_hold_for_networks_with_samples_and_alone() -> None:
    """As section 9 counts them."""
    labeller = reader.read(ALONE).labeller
    assert labeller is not None
    counted = dict(zip(("elements", "parameters", "work"), labeller.limited(), strict=True))
    decode(ALONE, DecodeLimits(**counted))
    for name, value in counted.items():
        for blob in (ALONE, BLOB):
            with pytest.raises(LimitError):
                decode(blob, DecodeLimits(**{name: value - 1}))


def test_a_wide_network_in_few_bytes_is_refused_before_it_takes_memory() -> None:
    task = pb.Task(name="x", shape=(1 << 20,), classes=1 << 20, normalisation=b"\0\x3c" * (1 << 21))
    message = pb.DistilledSet(task_described=task)
    message.network_labels.CopyFrom(pb.NetworkLabels(kind=0, width=1024, tensors=b"\1"))
    with pytest.raises(LimitError):
        decode(packed(message))
    short = message_of(encode(alone(make_data((3, 12, 12), [1]).spec, NetworkForm("convnet", 1))))
    short.network_labels.width = 700  # 15 million weights, for which a few bytes would do if all were 0
    _refused_as_short(packed(short))


def _refused_as_short(blob: bytes) -> None:
    with pytest.raises(CorruptError, match="larger network"):
        decode(blob, DecodeLimits(parameters=1 << 27, work=1 << 40))
    with pytest.raises(ValueError, match="too short"):
        reader.read(blob)


def test_inspection_tells_of_networks() -> None:
    facts = inspect(BLOB)
    assert facts["labels"] == "network" and facts["samples"] == 3
    assert facts["network"]["kind"] == "mlp" and facts["network"]["mix"] == "cutmix"
    bare = encode(make_set(IMAGE))
    assert facts["ledger"]["labelling network"] == 8 * (len(BLOB) - len(bare))
    assert inspect(ALONE)["bits_per_class"] == 8 * len(ALONE) / 2
