"""Hypothesis over blobs: valid ones with damage that knows the format, and messages drawn field by field."""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st
from making import packed

from fedbits.coding import CODERS
from fedbits.wire import distilled_set_pb2 as pb
from fuzz.fields import HEADER, fit, is_list, parsed, places, range_of, streams, within
from fuzz.mutate import LARGEST, NAMES, NUMBERS
from fuzz.target import CORPUS

_HALF = st.sampled_from([0, 0x8000, 1, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00])
_SIDE = st.one_of(st.integers(0, 9), st.sampled_from([1000, 1 << 16, (1 << 24) - 1, 1 << 24, (1 << 32) - 1]))
_COUNT = st.one_of(st.integers(0, 3), st.sampled_from([1000, 1 << 20, (1 << 32) - 1]))
_SHAPE = st.one_of(st.tuples(_SIDE), st.tuples(_SIDE, _SIDE, _SIDE), st.lists(_SIDE, max_size=4))
_CLASSES = st.one_of(st.integers(0, 4), st.integers(1, 4), st.sampled_from([1 << 20, (1 << 32) - 1]))
_NUMBER = st.one_of(st.integers(0, 9), st.integers(0, 9), st.sampled_from(NUMBERS))
_UINT32 = _NUMBER.map(lambda number: min(number, (1 << 32) - 1))
_TASK = st.sampled_from([1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 0, 6])
_OFFSET = st.one_of(st.integers(-9, 9), st.integers(-(1 << 31), (1 << 31) - 1))
_HALVES = st.lists(_HALF, max_size=8).map(lambda halves: np.array(halves, "<u2").tobytes())
_TEXT = st.text("aé\0\n\u2028", max_size=4)  # of all of Unicode, it takes Hypothesis seconds to begin
_FITTED = st.one_of(st.just(b""), st.just(b""), _HALVES)  # what is empty is made to fit
_WEIGHTS = st.one_of(st.just(b""), st.binary(max_size=60))

_VALID = {path.stem: path.read_bytes() for path in CORPUS.glob("valid-*")}
_EDIT_KINDS = ("flip", "set", "insert", "delete", "cut")
_EDIT = st.tuples(st.sampled_from(_EDIT_KINDS), st.integers(0, LARGEST), st.binary(min_size=1, max_size=6))
_EDITS = st.lists(_EDIT, min_size=1, max_size=3)

_LAYERS = ("values",) * 4 + ("streams",) * 3 + ("message", "file")


def blobs() -> st.SearchStrategy[bytes]:
    """Damaged blobs, most of them made of valid ones."""
    return st.one_of(mutated(), mutated(), mutated(), messages().map(packed))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid blob with one to three changes of one layer; all but those of the file have a checksum."""
    blob, layer = _VALID[draw(st.sampled_from(sorted(_VALID)))], draw(st.sampled_from(_LAYERS))
    message = parsed(blob)
    if layer == "file":
        return _edited(blob, draw(_EDITS))
    if layer == "message" or message is None:
        return packed(_edited(blob[HEADER:], draw(_EDITS)))
    if layer == "streams":
        _change(draw, *draw(st.sampled_from(streams(message))))
        return packed(message)
    for _ in range(draw(st.integers(1, 3))):
        _change(draw, *draw(st.sampled_from(list(places(message)))))
    if draw(st.integers(0, 6)):
        fit(message)
    return packed(message)


def _edited(data: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    """``data`` after edits, each of a kind, at a place, with some bytes."""
    changed = bytearray(data)
    for kind, place, added in edits:
        at = place % (len(changed) + 1)
        if kind == "flip":
            changed[at : at + 1] = bytes(byte ^ 1 << added[0] % 8 for byte in changed[at : at + 1])
        elif kind == "set":
            changed[at : at + len(added)] = added
        elif kind == "insert":
            changed[at:at] = added
        elif kind == "delete":
            del changed[at : at + len(added)]
        else:
            del changed[at:]
    return bytes(changed[:LARGEST])


def _change(draw: st.DrawFn, holder: Message, description: FieldDescriptor) -> None:
    name, value = description.name, getattr(holder, description.name)
    if isinstance(value, Message):
        value.SetInParent()
    elif not is_list(value):
        setattr(holder, name, draw(_values(value, range_of(description))))
    elif description.message_type is not None:
        if draw(st.booleans()):
            value.add()
        elif value:
            del value[draw(st.integers(0, len(value) - 1))]
    else:
        default = {FieldDescriptor.TYPE_BYTES: b"", FieldDescriptor.TYPE_STRING: ""}.get(description.type, 1)
        values, other = list(value), draw(_values(default, range_of(description)))
        at = draw(st.integers(0, len(values)))
        value[:] = [*values[:at], *draw(st.sampled_from([(), (other,), (other,) * 9])), *values[at + 1 :]]


def _values(value: Any, allowed: range) -> st.SearchStrategy[Any]:
    """Other values of a field that holds ``value``."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        numbers = st.one_of(_NUMBER, _NUMBER.map(lambda n: -n), st.integers(value - 1, value + 1))
        return numbers.map(lambda n: within(n, allowed))
    if isinstance(value, float):
        return st.floats(width=32)
    if isinstance(value, str):
        return st.one_of(_TEXT, st.sampled_from(NAMES))
    return st.one_of(_EDITS.map(lambda edits: _edited(value, edits)), _HALVES, st.binary(max_size=40))


@st.composite
def messages(draw: st.DrawFn) -> pb.DistilledSet:
    """Messages whose every field is drawn by itself; mostly, lengths then agree."""
    message = pb.DistilledSet(stream=draw(st.binary(max_size=40)))
    if draw(st.booleans()):
        message.known_task = draw(_TASK)
    else:
        task = message.task_described
        task.name, task.floating = draw(_TEXT), draw(st.booleans())
        task.shape.extend(draw(_SHAPE))
        task.classes = draw(_CLASSES)
        task.normalisation = draw(_FITTED)
        task.scales = draw(st.one_of(st.just(b""), st.binary(max_size=4)))
        task.offsets.extend(draw(st.lists(_OFFSET, max_size=4)) if task.scales else [])
    message.class_counts.extend(draw(st.lists(_COUNT, max_size=4)))
    if draw(st.integers(0, 3)) == 0:
        message.class_lengths.extend(draw(st.lists(_COUNT, max_size=4)))
    if draw(st.integers(0, 5)) == 0:
        message.floats.SetInParent()
    elif draw(st.integers(0, 3)) == 0:
        _draw_epitome(draw, message.epitome)
    elif draw(st.integers(0, 2)) == 0:
        _draw_latent(draw, message.latent)
    else:
        _draw_pixel(draw, message.pixel)
    if draw(st.integers(0, 5)) == 0:
        _draw_network(draw, message.network_labels)
        if draw(st.booleans()):
            message.ClearField(str(message.WhichOneof("parameterization")))
    elif draw(st.integers(0, 3)) == 0:
        _draw_labels(draw, message.view_labels)
    elif draw(st.integers(0, 3)) == 0:
        message.soft_labels.logits = draw(_FITTED)
        message.learning_rate = draw(st.floats(width=32))
    if draw(st.integers(0, 6)):
        fit(message)
    return message


def _draw_epitome(draw: st.DrawFn, epitome: pb.Epitome) -> None:
    for name, most in (("tokens", 3), ("width", 4), ("heads", 2), ("blocks", 2), ("patch", 4)):
        setattr(epitome, name, draw(st.one_of(st.integers(1, most), st.integers(1, most), _UINT32)))
    epitome.nonzeros, epitome.bits = draw(_UINT32), draw(st.integers(1, 9))
    epitome.coder = draw(st.integers(0, max(CODERS) + 1))
    epitome.fraction_bits.extend(draw(st.lists(_OFFSET, max_size=3)))
    epitome.token_weights, epitome.network_weights = draw(_WEIGHTS), draw(_WEIGHTS)


def _draw_latent(draw: st.DrawFn, latent: pb.Latent) -> None:
    latent.scales.extend(draw(st.lists(st.integers(1, 5), max_size=3)))
    for name, most in (("hidden", 4), ("entropy_hidden", 3), ("entropy_layers", 2), ("components", 4)):
        setattr(latent, name, draw(st.one_of(st.integers(1, most), st.integers(1, most), _UINT32)))
    for name, most in (("numbers", 3), ("convolutions", 1), ("group_classes", 2), ("synthesis", 3)):
        setattr(latent, name, draw(st.one_of(st.integers(0, most), st.integers(0, most), _UINT32)))
    latent.context, latent.reach = draw(st.sampled_from([8, 12, 24, 7])), draw(st.integers(0, 128))
    latent.without_means, latent.without_coarser = draw(st.booleans()), draw(st.booleans())
    latent.synthesis_weights, latent.entropy_weights = draw(_WEIGHTS), draw(_WEIGHTS)


def _draw_labels(draw: st.DrawFn, labels: pb.ViewLabels) -> None:
    for name, most in (("epochs", 3), ("seed", 3), ("cropped", 64), ("mix", 3), ("temperature", 99)):
        setattr(labels, name, draw(st.one_of(st.integers(0, most), st.integers(0, most), _UINT32)))
    for name, most in (("width", 4), ("segment", 2), ("levels", 9), ("rotation", 46)):
        setattr(labels, name, draw(st.one_of(st.integers(0, most), st.integers(0, most), _UINT32)))
    labels.codec, labels.mirrored, labels.counted = (
        draw(st.integers(0, 6)),
        draw(st.booleans()),
        draw(st.booleans()),
    )
    labels.tensors, labels.stream = draw(_WEIGHTS), draw(_WEIGHTS)


def _draw_network(draw: st.DrawFn, network: pb.NetworkLabels) -> None:
    for name, most in (("kind", 2), ("width", 4), ("cropped", 64), ("rotation", 46), ("mix", 3)):
        setattr(network, name, draw(st.one_of(st.integers(0, most), st.integers(0, most), _UINT32)))
    network.seed, network.temperature = draw(_UINT32), draw(st.one_of(st.integers(0, 99), _UINT32))
    network.mirrored, network.tensors = draw(st.booleans()), draw(_WEIGHTS)
    network.known = draw(st.binary(max_size=3))


def _draw_pixel(draw: st.DrawFn, pixel: pb.Pixel) -> None:
    pixel.bits, pixel.factor_log2 = draw(st.integers(0, 9)), draw(st.integers(0, 4))
    pixel.coder = draw(st.integers(0, max(CODERS) + 1))
    pixel.grid = draw(_FITTED)
    pixel.spacing = draw(st.sampled_from([0, 0, 1, 1, 2]))
    pixel.transform = draw(st.sampled_from([0, 0, 1, 1, 2]))
    pixel.band = draw(_UINT32) if pixel.transform else 0
