"""Damage that knows the format: behind a checksum, only a well-made header lets bytes reach the decoder.

A mutation works on one of five layers: the file as it is, the bytes of the message, the fields on the wire
(duplicated, moved, unknown, oddly written), the values of the message's fields, or the streams alone. All
but the first put magic, length and checksum right again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from making import packed

from fuzz.fields import HEADER, fit, is_list, parsed, places, range_of, streams, within

LARGEST = 4096  # bytes of an input: longer ones take longer, and reach nothing else

Edit = Callable[[bytes], bytes]

NUMBERS = sorted({max(0, (1 << power) + by) for power in (*range(25), 31, 32) for by in (-1, 0, 1)})
HALVES = (0.0, -0.0, 1.0, -1.0, 0.3, 6e-8, 6.1e-5, 1e-4, 65504.0, -65504.0, np.inf, -np.inf, np.nan)
NAMES = ("", "digits", "fashion_mnist", "cifar100", "quadd", "random", "folder:x", "é\0\n", "n" * 300)


def mutate(blob: bytes, rng: random.Random, edit: Edit | None = None, largest: int = LARGEST) -> bytes:
    """A damaged ``blob`` of at most ``largest`` bytes.

    Args:
        edit: changes bytes that have no structure; by default as ``rng`` has it.
    """
    edit = edit or (lambda data: edited(data, rng))
    layer = rng.choices(LAYERS, weights=(1, 2, 3, 14, 10))[0]
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
        return varint(number << 3) + varint(rng.choice(NUMBERS))
    if kind == 1:
        return varint(number << 3) + b"\x80" * rng.choice((1, 4, 8, 9, 10)) + b"\0"  # longer than it need be
    if kind == 2:
        depth = rng.choice((1, 2, 99, 101))
        return varint(number << 3 | 3) * depth + varint(number << 3 | 4) * depth
    if kind == 3:
        return varint(number << 3 | rng.choice((1, 5, 6, 7))) + rng.randbytes(rng.choice((4, 8)))
    if kind == 4:
        return varint(number << 3 | 2) + varint(rng.choice(NUMBERS))  # a length, and nothing or something
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
    message = parsed(blob)
    if message is None:
        return _body(blob, rng, edit, largest)
    for _ in range(rng.choice((1, 1, 2, 3))):
        holder, description = rng.choice(list(places(message)))
        if rng.random() < 0.03:
            holder.ClearField(description.name)
        else:
            _change(holder, description, rng, edit)
    if rng.random() < 0.85:
        fit(message)
    return packed(message.SerializeToString()[: largest - HEADER])


def _streams(blob: bytes, rng: random.Random, edit: Edit, largest: int) -> bytes:
    """What the coders read, and nothing else."""
    message = parsed(blob)
    if message is None:
        return _body(blob, rng, edit, largest)
    _change(*rng.choice(streams(message)), rng, edit)
    return packed(message.SerializeToString()[: largest - HEADER])


def _change(holder: Message, description: FieldDescriptor, rng: random.Random, edit: Edit) -> None:
    name, allowed = description.name, range_of(description)
    value: Any = getattr(holder, name)
    if isinstance(value, Message):
        value.SetInParent()
    elif not is_list(value):
        setattr(holder, name, _other(value, rng, edit, allowed))
    elif description.message_type is not None:
        _change_messages(value, rng)
    else:
        default = {FieldDescriptor.TYPE_BYTES: b"", FieldDescriptor.TYPE_STRING: ""}
        value[:] = _list(list(value), default.get(description.type, 1), rng, edit, allowed)


def _other(value: Any, rng: random.Random, edit: Edit, allowed: range) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        sign = -1 if allowed[0] < 0 and rng.random() < 0.5 else 1
        return within(sign * _number(value, rng), allowed)
    if isinstance(value, float):
        return float(rng.choice(HALVES))
    if isinstance(value, str):
        return rng.choice(NAMES)
    return edit(value) if rng.random() < 0.6 else _halves(value, rng)


def _change_messages(values: Any, rng: random.Random) -> None:
    kind = rng.randrange(3)
    if kind == 0 and values:
        del values[rng.randrange(len(values))]
    elif kind == 1 and values:
        values.add().CopyFrom(rng.choice(list(values)))
    else:
        values.add()


def _number(value: int, rng: random.Random) -> int:
    near = (value + 1, value - 1, value * 2, value // 2)
    if rng.random() < 0.3:
        return max(0, rng.choice(near))
    most = rng.choice((8, 8, 8, 16, 24, 24, 24, len(NUMBERS)))  # those of a million classes take long
    return rng.choice(NUMBERS[:most])


def _list(values: list[Any], default: Any, rng: random.Random, edit: Edit, allowed: range) -> list[Any]:
    kind = rng.randrange(6)
    if kind == 0 or not values:
        return [*values, _other(default, rng, edit, allowed)]
    if kind == 1:
        return values[:-1]
    if kind == 2:
        return values[:1]
    if kind == 3:
        return (values * 100)[: rng.choice((2, 3, 4, 10, 100))]
    at = rng.randrange(len(values))
    values[at] = _other(values[at], rng, edit, allowed)
    return values


def _halves(value: bytes, rng: random.Random) -> bytes:
    """``value`` as float16 numbers, some of them odd."""
    numbers = np.frombuffer(value[: len(value) // 2 * 2], "<f2").copy()
    for _ in range(rng.choice((1, 2, 4)) if len(numbers) else 0):
        numbers[rng.randrange(len(numbers))] = rng.choice(HALVES)
    return numbers.tobytes()


LAYERS = (_file, _body, _wire, _values, _streams)
