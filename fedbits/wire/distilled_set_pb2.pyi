from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DistilledSet(_message.Message):
    __slots__ = ("known_task", "task_described", "class_counts", "pixel", "floats", "epitome", "latent", "stream", "recipe_number", "recipe_name", "class_lengths", "soft_labels", "learning_rate", "view_labels", "network_labels")
    KNOWN_TASK_FIELD_NUMBER: _ClassVar[int]
    TASK_DESCRIBED_FIELD_NUMBER: _ClassVar[int]
    CLASS_COUNTS_FIELD_NUMBER: _ClassVar[int]
    PIXEL_FIELD_NUMBER: _ClassVar[int]
    FLOATS_FIELD_NUMBER: _ClassVar[int]
    EPITOME_FIELD_NUMBER: _ClassVar[int]
    LATENT_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    RECIPE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    RECIPE_NAME_FIELD_NUMBER: _ClassVar[int]
    CLASS_LENGTHS_FIELD_NUMBER: _ClassVar[int]
    SOFT_LABELS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    VIEW_LABELS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_LABELS_FIELD_NUMBER: _ClassVar[int]
    known_task: int
    task_described: Task
    class_counts: _containers.RepeatedScalarFieldContainer[int]
    pixel: Pixel
    floats: Floats
    epitome: Epitome
    latent: Latent
    stream: bytes
    recipe_number: int
    recipe_name: str
    class_lengths: _containers.RepeatedScalarFieldContainer[int]
    soft_labels: SoftLabels
    learning_rate: float
    view_labels: ViewLabels
    network_labels: NetworkLabels
    def __init__(self, known_task: _Optional[int] = ..., task_described: _Optional[_Union[Task, _Mapping]] = ..., class_counts: _Optional[_Iterable[int]] = ..., pixel: _Optional[_Union[Pixel, _Mapping]] = ..., floats: _Optional[_Union[Floats, _Mapping]] = ..., epitome: _Optional[_Union[Epitome, _Mapping]] = ..., latent: _Optional[_Union[Latent, _Mapping]] = ..., stream: _Optional[bytes] = ..., recipe_number: _Optional[int] = ..., recipe_name: _Optional[str] = ..., class_lengths: _Optional[_Iterable[int]] = ..., soft_labels: _Optional[_Union[SoftLabels, _Mapping]] = ..., learning_rate: _Optional[float] = ..., view_labels: _Optional[_Union[ViewLabels, _Mapping]] = ..., network_labels: _Optional[_Union[NetworkLabels, _Mapping]] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("name", "shape", "classes", "normalisation", "floating", "scales", "offsets")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    NORMALISATION_FIELD_NUMBER: _ClassVar[int]
    FLOATING_FIELD_NUMBER: _ClassVar[int]
    SCALES_FIELD_NUMBER: _ClassVar[int]
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    classes: int
    normalisation: bytes
    floating: bool
    scales: bytes
    offsets: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., classes: _Optional[int] = ..., normalisation: _Optional[bytes] = ..., floating: bool = ..., scales: _Optional[bytes] = ..., offsets: _Optional[_Iterable[int]] = ...) -> None: ...

class SoftLabels(_message.Message):
    __slots__ = ("logits",)
    LOGITS_FIELD_NUMBER: _ClassVar[int]
    logits: bytes
    def __init__(self, logits: _Optional[bytes] = ...) -> None: ...

class ViewLabels(_message.Message):
    __slots__ = ("epochs", "seed", "cropped", "rotation", "mirrored", "mix", "temperature", "codec", "width", "segment", "levels", "tensors", "counted", "stream")
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CROPPED_FIELD_NUMBER: _ClassVar[int]
    ROTATION_FIELD_NUMBER: _ClassVar[int]
    MIRRORED_FIELD_NUMBER: _ClassVar[int]
    MIX_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    epochs: int
    seed: int
    cropped: int
    rotation: int
    mirrored: bool
    mix: int
    temperature: int
    codec: int
    width: int
    segment: int
    levels: int
    tensors: bytes
    counted: bool
    stream: bytes
    def __init__(self, epochs: _Optional[int] = ..., seed: _Optional[int] = ..., cropped: _Optional[int] = ..., rotation: _Optional[int] = ..., mirrored: bool = ..., mix: _Optional[int] = ..., temperature: _Optional[int] = ..., codec: _Optional[int] = ..., width: _Optional[int] = ..., segment: _Optional[int] = ..., levels: _Optional[int] = ..., tensors: _Optional[bytes] = ..., counted: bool = ..., stream: _Optional[bytes] = ...) -> None: ...

class NetworkLabels(_message.Message):
    __slots__ = ("kind", "width", "tensors", "seed", "cropped", "rotation", "mirrored", "mix", "temperature", "known")
    KIND_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CROPPED_FIELD_NUMBER: _ClassVar[int]
    ROTATION_FIELD_NUMBER: _ClassVar[int]
    MIRRORED_FIELD_NUMBER: _ClassVar[int]
    MIX_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    kind: int
    width: int
    tensors: bytes
    seed: int
    cropped: int
    rotation: int
    mirrored: bool
    mix: int
    temperature: int
    known: bytes
    def __init__(self, kind: _Optional[int] = ..., width: _Optional[int] = ..., tensors: _Optional[bytes] = ..., seed: _Optional[int] = ..., cropped: _Optional[int] = ..., rotation: _Optional[int] = ..., mirrored: bool = ..., mix: _Optional[int] = ..., temperature: _Optional[int] = ..., known: _Optional[bytes] = ...) -> None: ...

class Floats(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Pixel(_message.Message):
    __slots__ = ("bits", "factor_log2", "grid", "coder", "spacing", "transform", "band")
    BITS_FIELD_NUMBER: _ClassVar[int]
    FACTOR_LOG2_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    CODER_FIELD_NUMBER: _ClassVar[int]
    SPACING_FIELD_NUMBER: _ClassVar[int]
    TRANSFORM_FIELD_NUMBER: _ClassVar[int]
    BAND_FIELD_NUMBER: _ClassVar[int]
    bits: int
    factor_log2: int
    grid: bytes
    coder: int
    spacing: int
    transform: int
    band: int
    def __init__(self, bits: _Optional[int] = ..., factor_log2: _Optional[int] = ..., grid: _Optional[bytes] = ..., coder: _Optional[int] = ..., spacing: _Optional[int] = ..., transform: _Optional[int] = ..., band: _Optional[int] = ...) -> None: ...

class Epitome(_message.Message):
    __slots__ = ("tokens", "width", "heads", "blocks", "patch", "nonzeros", "bits", "coder", "fraction_bits", "token_weights", "network_weights")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    PATCH_FIELD_NUMBER: _ClassVar[int]
    NONZEROS_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    CODER_FIELD_NUMBER: _ClassVar[int]
    FRACTION_BITS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    tokens: int
    width: int
    heads: int
    blocks: int
    patch: int
    nonzeros: int
    bits: int
    coder: int
    fraction_bits: _containers.RepeatedScalarFieldContainer[int]
    token_weights: bytes
    network_weights: bytes
    def __init__(self, tokens: _Optional[int] = ..., width: _Optional[int] = ..., heads: _Optional[int] = ..., blocks: _Optional[int] = ..., patch: _Optional[int] = ..., nonzeros: _Optional[int] = ..., bits: _Optional[int] = ..., coder: _Optional[int] = ..., fraction_bits: _Optional[_Iterable[int]] = ..., token_weights: _Optional[bytes] = ..., network_weights: _Optional[bytes] = ...) -> None: ...

class Latent(_message.Message):
    __slots__ = ("scales", "numbers", "group_classes", "synthesis", "hidden", "convolutions", "without_means", "context", "without_coarser", "entropy_hidden", "entropy_layers", "components", "reach", "synthesis_weights", "entropy_weights")
    SCALES_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    GROUP_CLASSES_FIELD_NUMBER: _ClassVar[int]
    SYNTHESIS_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    CONVOLUTIONS_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_MEANS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_COARSER_FIELD_NUMBER: _ClassVar[int]
    ENTROPY_HIDDEN_FIELD_NUMBER: _ClassVar[int]
    ENTROPY_LAYERS_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    REACH_FIELD_NUMBER: _ClassVar[int]
    SYNTHESIS_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    ENTROPY_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    scales: _containers.RepeatedScalarFieldContainer[int]
    numbers: int
    group_classes: int
    synthesis: int
    hidden: int
    convolutions: int
    without_means: bool
    context: int
    without_coarser: bool
    entropy_hidden: int
    entropy_layers: int
    components: int
    reach: int
    synthesis_weights: bytes
    entropy_weights: bytes
    def __init__(self, scales: _Optional[_Iterable[int]] = ..., numbers: _Optional[int] = ..., group_classes: _Optional[int] = ..., synthesis: _Optional[int] = ..., hidden: _Optional[int] = ..., convolutions: _Optional[int] = ..., without_means: bool = ..., context: _Optional[int] = ..., without_coarser: bool = ..., entropy_hidden: _Optional[int] = ..., entropy_layers: _Optional[int] = ..., components: _Optional[int] = ..., reach: _Optional[int] = ..., synthesis_weights: _Optional[bytes] = ..., entropy_weights: _Optional[bytes] = ...) -> None: ...
