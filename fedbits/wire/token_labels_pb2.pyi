from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class TokenLabels(_message.Message):
    __slots__ = ("vocabulary", "top", "window", "chunk_windows", "teacher", "teacher_digest", "tail", "tail_centre", "codec", "width", "segment", "levels", "tensors")
    VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    CHUNK_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    TEACHER_FIELD_NUMBER: _ClassVar[int]
    TEACHER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    TAIL_CENTRE_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    vocabulary: int
    top: int
    window: int
    chunk_windows: int
    teacher: str
    teacher_digest: bytes
    tail: bytes
    tail_centre: int
    codec: int
    width: int
    segment: int
    levels: int
    tensors: bytes
    def __init__(self, vocabulary: _Optional[int] = ..., top: _Optional[int] = ..., window: _Optional[int] = ..., chunk_windows: _Optional[int] = ..., teacher: _Optional[str] = ..., teacher_digest: _Optional[bytes] = ..., tail: _Optional[bytes] = ..., tail_centre: _Optional[int] = ..., codec: _Optional[int] = ..., width: _Optional[int] = ..., segment: _Optional[int] = ..., levels: _Optional[int] = ..., tensors: _Optional[bytes] = ...) -> None: ...

class TokenPart(_message.Message):
    __slots__ = ("name", "labels", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    labels: int
    digest: bytes
    def __init__(self, name: _Optional[str] = ..., labels: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class TokenEnd(_message.Message):
    __slots__ = ("labels", "chunks")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    labels: int
    chunks: int
    def __init__(self, labels: _Optional[int] = ..., chunks: _Optional[int] = ...) -> None: ...
