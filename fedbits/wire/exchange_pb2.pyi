from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HelloRequest(_message.Message):
    __slots__ = ("oldest_protocol", "newest_protocol", "version")
    OLDEST_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    NEWEST_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    oldest_protocol: int
    newest_protocol: int
    version: str
    def __init__(self, oldest_protocol: _Optional[int] = ..., newest_protocol: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...

class HelloReply(_message.Message):
    __slots__ = ("protocol", "version", "newest_format", "blob_bytes", "chunk_bytes", "node")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FORMAT_FIELD_NUMBER: _ClassVar[int]
    BLOB_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    version: str
    newest_format: int
    blob_bytes: int
    chunk_bytes: int
    node: str
    def __init__(self, protocol: _Optional[int] = ..., version: _Optional[str] = ..., newest_format: _Optional[int] = ..., blob_bytes: _Optional[int] = ..., chunk_bytes: _Optional[int] = ..., node: _Optional[str] = ...) -> None: ...

class PublishRequest(_message.Message):
    __slots__ = ("announcement", "chunk")
    ANNOUNCEMENT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    announcement: Announcement
    chunk: bytes
    def __init__(self, announcement: _Optional[_Union[Announcement, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class Announcement(_message.Message):
    __slots__ = ("sha256", "size", "parents")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    size: int
    parents: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, sha256: _Optional[bytes] = ..., size: _Optional[int] = ..., parents: _Optional[_Iterable[bytes]] = ...) -> None: ...

class PublishReply(_message.Message):
    __slots__ = ("offset", "entry")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    offset: int
    entry: Entry
    def __init__(self, offset: _Optional[int] = ..., entry: _Optional[_Union[Entry, _Mapping]] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("sequence", "sha256", "size", "node", "published_ms", "data_set", "shape", "classes", "class_counts", "samples", "recipe", "storage", "bits", "labels", "parents")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_MS_FIELD_NUMBER: _ClassVar[int]
    DATA_SET_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    CLASS_COUNTS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    sha256: bytes
    size: int
    node: str
    published_ms: int
    data_set: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    classes: int
    class_counts: _containers.RepeatedScalarFieldContainer[int]
    samples: int
    recipe: str
    storage: str
    bits: int
    labels: str
    parents: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, sequence: _Optional[int] = ..., sha256: _Optional[bytes] = ..., size: _Optional[int] = ..., node: _Optional[str] = ..., published_ms: _Optional[int] = ..., data_set: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., classes: _Optional[int] = ..., class_counts: _Optional[_Iterable[int]] = ..., samples: _Optional[int] = ..., recipe: _Optional[str] = ..., storage: _Optional[str] = ..., bits: _Optional[int] = ..., labels: _Optional[str] = ..., parents: _Optional[_Iterable[bytes]] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("sha256", "offset")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    offset: int
    def __init__(self, sha256: _Optional[bytes] = ..., offset: _Optional[int] = ...) -> None: ...

class FetchReply(_message.Message):
    __slots__ = ("entry", "chunk")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    entry: Entry
    chunk: bytes
    def __init__(self, entry: _Optional[_Union[Entry, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("after", "node", "data_set", "recipe", "digest_prefix")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    DATA_SET_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_PREFIX_FIELD_NUMBER: _ClassVar[int]
    after: int
    node: str
    data_set: str
    recipe: str
    digest_prefix: str
    def __init__(self, after: _Optional[int] = ..., node: _Optional[str] = ..., data_set: _Optional[str] = ..., recipe: _Optional[str] = ..., digest_prefix: _Optional[str] = ...) -> None: ...

class ListReply(_message.Message):
    __slots__ = ("entries", "more")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    more: bool
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., more: bool = ...) -> None: ...
