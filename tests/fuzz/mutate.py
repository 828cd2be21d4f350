"""Damage that knows the format: behind a checksum, only a well-made header lets bytes reach the decoder.

A mutation works on one of four layers: the file as it is, the bytes of the message, the fields on the wire
(duplicated, moved, unknown, oddly written), or the values of the message's fields, whatever they are: those
are found through protobuf's reflection, so that a field that is added to the format is fuzzed at once. All
but the first put magic, length and checksum right again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError, Message
from making import packed

from fedbits.coding import CODERS
from fedbits.data.known import KNOWN
from fedbits.wire import distilled_set_pb2 as pb

HEADER = 14
LARGEST = 4096  # bytes of an input: longer ones take longer, and reach nothing else

Edit = Callable[[bytes], bytes]

_NUMBERS = sorted({max(0, (1 << power) + by) for power in (*range(25), 31, 32) for by in (-1, 0, 1)})
_HALVES = (0.0, -0.0, 1.0, -1.0, 0.3, 6e-8, 6.1e-5, 1e-4, 65504.0, -65504.0, np.inf, -np.inf, np.nan)
_NAMES = ("", "digits", "fashion_mnist", "cifar100", "quadd", "random", "folder:x", "é\0\n", "n" * 300)


def mutate(blob: bytes, rng: random.Random, edit: Edit | None = None, largest: int = LARGEST) -> bytes:
    """A damaged ``blob`` of at most ``largest`` bytes.

    Args:
        edit: changes bytes that have no structure; by default as ``rng`` has it.
    """
    edit = edit or (lambda data: edited(data, rng))
    layer = rng.choices((_file, _body, _wire, _values), weights=(1, 2, 2, 5))[0]
    return layer(blob, rng, edit, largest)[:largest]


def edited(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, put in, taken out or doubled."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randint(0, len(changed))
        run = rng.choice((1, 1, 2, 4, 16, 64))
        kind = rng.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            changed[at:at] = rng.randbytes(run)
        elif kind == 3:
            del changed[at : at + run]
        elif kind == 4:
            changed[at:at] = changed[at : at + run]
        else:
            changed[at : at + run] = bytes([rng.choice((0, 0xFF))]) * run
    return bytes(changed)


def _file(blob: bytes, rng: random.Random, edit: Edit, largest: int) -> bytes:
    return edit(blob)


def _body(blob: bytes, rng: random.Random, edit: Edit, largest: int) -> bytes:
    return packed(edit(blob[HEADER:])[: largest - HEADER])


def _wire(blob: bytes, rng: random.Random, edit: Edit, largest: int) -> bytes:
    """The fields of the message moved, doubled, dropped, joined by others, nested or oddly written."""
    fields = list(_split(blob[HEADER:]))
    for _ in range(rng.choice((1, 2, 3))):
        at = rng.randrange(len(fields) + 1)
        kind = rng.randrange(5)
        if kind == 0 and fields:
            fields[at:at] = [rng.choice(fields)] * rng.choice((1, 2, 100))
        elif kind == 1:
            del fields[at : at + 1]
        elif kind == 2:
            rng.shuffle(fields)
        else:
            fields.insert(at, _odd_field(rng))
    return packed(b"".join(fields)[: largest - HEADER])


def _odd_field(rng: random.Random) -> bytes:
    number = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 19000, (1 << 29) - 1))
    kind = rng.randrange(6)
    if kind == 0:
        return varint(number << 3) + varint(rng.choice(_NUMBERS))
    if kind == 1:
        return varint(number << 3) + b"\x80" * rng.choice((1, 4, 8, 9, 10)) + b"\0"  # longer than it need be
    if kind == 2:
        depth = rng.choice((1, 2, 99, 101))
        return varint(number << 3 | 3) * depth + varint(number << 3 | 4) * depth
    if kind == 3:
        return varint(number << 3 | rng.choice((1, 5, 6, 7))) + rng.randbytes(rng.choice((4, 8)))
    if kind == 4:
        return varint(number << 3 | 2) + varint(rng.choice(_NUMBERS))  # a length, and nothing or something
    inner = rng.choice((b"", b"\xff\xfe", b"\x08\x01", rng.randbytes(9), b"\x01" * 200))
    return varint(number << 3 | 2) + varint(len(inner)) + inner


def varint(number: int) -> bytes:
    """``number`` as protobuf writes it."""
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    return bytes([*written, number])


def _split(body: bytes) -> Iterator[bytes]:
    """The fields of a message as they are written; what cannot be read comes as one."""
    at = 0
    while at < len(body):
        start, (key, at) = at, _varint_at(body, at)
        if key & 7 == 0:
            at = _varint_at(body, at)[1]
        elif key & 7 == 2:
            length, at = _varint_at(body, at)
            at += length
        else:
            at += {1: 8, 5: 4}.get(key & 7, 1 << 30)
        yield body[start:at]


def _varint_at(body: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(body):
        number |= (body[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if body[at - 1] < 128:
            break
    return number, at


def _values(blob: bytes, rng: random.Random, edit: Edit, largest: int) -> bytes:
    """One to three fields given other values; in most cases the others are then made to fit."""
    message = pb.DistilledSet()
    try:
        message.ParseFromString(blob[HEADER:])
    except (DecodeError, UnicodeDecodeError):
        return _body(blob, rng, edit, largest)
    for _ in range(rng.choice((1, 1, 2, 3))):
        holder, name = rng.choice(list(_places(message)))
        if rng.random() < 0.05:
            holder.ClearField(name)
        else:
            _change(holder, name, rng, edit)
    if rng.random() < 0.7:
        fit(message)
    return packed(message.SerializeToString()[: largest - HEADER])


def _places(message: Message) -> Iterator[tuple[Message, str]]:
    """Every field that ``message`` and the messages in it have, set or not."""
    for description in message.DESCRIPTOR.fields:
        value = getattr(message, description.name)
        yield message, description.name
        if isinstance(value, Message) and message.HasField(description.name):
            yield from _places(value)


def _change(holder: Message, name: str, rng: random.Random, edit: Edit) -> None:
    value: Any = getattr(holder, name)
    if isinstance(value, Message):
        value.SetInParent()
    elif isinstance(value, bool):
        setattr(holder, name, not value)
    elif isinstance(value, int):
        setattr(holder, name, _number(value, rng))
    elif isinstance(value, float):
        setattr(holder, name, float(rng.choice(_HALVES)))
    elif isinstance(value, str):
        setattr(holder, name, rng.choice(_NAMES))
    elif isinstance(value, bytes):
        setattr(holder, name, edit(value) if rng.random() < 0.6 else _halves(value, rng))
    elif not value or isinstance(value[0], int):
        value[:] = _numbers(list(value), rng)


def _number(value: int, rng: random.Random) -> int:
    near = (value + 1, value - 1, value * 2, value // 2)
    other = rng.choice(near) if rng.random() < 0.3 else rng.choice(_NUMBERS[: rng.choice((8, 24, 99))])
    return min(max(0, other), (1 << 32) - 1)


def _numbers(values: list[int], rng: random.Random) -> list[int]:
    kind = rng.randrange(6)
    if kind == 0 or not values:
        return [*values, _number(1, rng)]
    if kind == 1:
        return values[:-1]
    if kind == 2:
        return values[:1]
    if kind == 3:
        return (values * 100)[: rng.choice((2, 3, 4, 10, 100))]
    values[rng.randrange(len(values))] = _number(values[0], rng)
    return values


def _halves(value: bytes, rng: random.Random) -> bytes:
    """``value`` as float16 numbers, some of them odd."""
    numbers = np.frombuffer(value[: len(value) // 2 * 2], "<f2").copy()
    for _ in range(rng.choice((1, 2, 4)) if len(numbers) else 0):
        numbers[rng.randrange(len(numbers))] = rng.choice(_HALVES)
    return numbers.tobytes()


def fit(message: pb.DistilledSet) -> None:
    """Make lengths that must agree agree, so that a change of one reaches what lies behind that check."""
    channels, classes = 1, 1
    if message.WhichOneof("task") == "known_task":
        spec = KNOWN.get(message.known_task)
        channels, classes = (spec.shape[0], spec.classes) if spec else (1, 1)
    else:
        task = message.task_described
        sides, classes = list(task.shape[:3]), task.classes
        means = min(sides[0], 300) if sides else 1
        channels = means if len(sides) == 3 else 1
        if len(task.normalisation) != 4 * means:
            task.normalisation = np.repeat([0.25, 0.5], means).astype("<f2").tobytes()
    if len(message.pixel.grid) != 4 * channels:
        message.pixel.grid = np.tile([-1, 0.25], channels).astype("<f2").tobytes()
    if len(message.class_counts) not in (1, classes):
        few = min(classes, 300)
        message.class_counts[:] = [*message.class_counts, *[1] * few][:few]
    if message.pixel.coder > max(CODERS) + 1:
        message.pixel.coder %= max(CODERS) + 1
