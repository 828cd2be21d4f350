"""What a file of token labels says of itself: written, checked against limits, read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from google.protobuf.message import DecodeError

from fedbits.coding.weights import decode_weights, encode_weights
from fedbits.errors import ConfigError, CorruptError
from fedbits.labels.codec import CodecConfig, LabelCodec
from fedbits.labels.tokens.chunk import ChunkCoding
from fedbits.labels.tokens.form import TokenForm
from fedbits.labels.tokens.tail import Tail
from fedbits.labels.tokens.values import KINDS, check_exact
from fedbits.wire import token_labels_pb2 as pb

_MOST_PARAMETERS = 1 << 22  # of the tensors of a codec
_DIGEST = 32


@dataclass(frozen=True)
class TokenHeader:
    """What all chunks of a file share.

    Attributes:
        teacher: its name, for people.
        digest: SHA-256 of its weights.
    """

    form: TokenForm
    teacher: str
    digest: bytes
    tail: Tail
    codec: LabelCodec

    @cached_property
    def coding(self) -> ChunkCoding:
        columns = self.codec.columns(self.codec.config, self.codec.classes)
        return ChunkCoding(self.form, tuple(columns), self.tail.code)

    def write(self) -> bytes:
        """The body of a header record."""
        form, config = self.form, self.codec.config
        message = pb.TokenLabels(
            vocabulary=form.vocabulary,
            top=form.top,
            window=form.window,
            chunk_windows=form.chunk_windows,
            teacher=self.teacher,
            teacher_digest=self.digest,
            codec=self.codec.number,
            width=config.width,
            segment=config.segment,
            levels=config.levels,
            tensors=encode_weights(self.codec.tensors) if self.codec.tensors else b"",
        )
        message.tail, message.tail_centre = self.tail.parts()
        return message.SerializeToString(deterministic=True)

    @classmethod
    def read(cls, body: bytes) -> TokenHeader:
        """Raises :class:`CorruptError` unless :meth:`write` could have written ``body``."""
        message = pb.TokenLabels()
        try:
            message.ParseFromString(body)
            form = TokenForm(message.vocabulary, message.top, message.window, message.chunk_windows)
        except (DecodeError, ConfigError) as error:
            raise CorruptError(f"the header of the token labels is none: {error}") from error
        if len(message.teacher_digest) != _DIGEST:
            raise CorruptError(f"the teacher's digest has {len(message.teacher_digest)} bytes, not {_DIGEST}")
        codec = _read_codec(message, form)
        tail = Tail.read(message.tail, message.tail_centre, form.vocabulary)
        return cls(form, message.teacher, message.teacher_digest, tail, codec)


def _read_codec(message: pb.TokenLabels, form: TokenForm) -> LabelCodec:
    kinds = {kind.number: kind for kind in KINDS.values()}
    if message.codec not in kinds:
        raise CorruptError(f"the token labels are of codec {message.codec}, which they do not have")
    kind = kinds[message.codec]
    config = CodecConfig(kind.name, message.width, message.segment, message.levels)
    try:
        kind.check(config, form.top + 1)
    except ConfigError as error:
        raise CorruptError(f"the header declares values that do not exist: {error}") from error
    shapes = kind.shapes(config, form.top + 1)
    if sum(math.prod(shape) for shape in shapes) > _MOST_PARAMETERS:
        raise CorruptError(f"the codec of the token labels has more than {_MOST_PARAMETERS:,} numbers")
    tensors = decode_weights(message.tensors, shapes, _MOST_PARAMETERS + 9) if shapes else []
    codec = kind(config, form.top + 1, tensors)
    check_exact(codec)
    return codec


@dataclass(frozen=True)
class TokenPart:
    """A text that was labelled: its ``name``, its ``labels``, and SHA-256 of its tokens."""

    name: str
    labels: int
    digest: bytes

    def write(self) -> bytes:
        message = pb.TokenPart(name=self.name, labels=self.labels, digest=self.digest)
        return message.SerializeToString(deterministic=True)

    @classmethod
    def read(cls, body: bytes) -> TokenPart:
        """Raises :class:`CorruptError` where there is no such part."""
        message = pb.TokenPart()
        try:
            message.ParseFromString(body)
        except DecodeError as error:
            raise CorruptError("a part of the token labels is none") from error
        if not message.labels or len(message.digest) != _DIGEST:
            raise CorruptError("a part of the token labels has no labels, or no digest")
        return cls(message.name, message.labels, message.digest)


def write_end(labels: int, chunks: int) -> bytes:
    """The body of the record that says that all is there."""
    return pb.TokenEnd(labels=labels, chunks=chunks).SerializeToString(deterministic=True)


def check_end(body: bytes, labels: int, chunks: int) -> None:
    """Raise :class:`CorruptError` unless the end is that of so many labels and chunks."""
    message = pb.TokenEnd()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise CorruptError("the end of the token labels is none") from error
    if (message.labels, message.chunks) != (labels, chunks):
        raise CorruptError(
            f"the token labels end after {message.labels:,} labels in {message.chunks:,} chunks, but have "
            f"{labels:,} in {chunks:,}"
        )
