"""Labels of views in a number of bytes: which codec size, and how it is landed on the budget."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from fedbits.coding.columns import Table, code_table
from fedbits.coding.range_coder import Meter
from fedbits.coding.weights import encode_weights
from fedbits.errors import BudgetError
from fedbits.labels.codec import CodecConfig, LabelCodec, declared_bits
from fedbits.labels.codecs import codec_named
from fedbits.labels.simple import Float16
from fedbits.labels.vector import PricedAutoencoder
from fedbits.labels.view_labels import ViewLabels
from fedbits.labels.views import ViewsConfig
from fedbits.progress import SILENT, Progress

_PLANNED_ROWS = 1 << 14  # of which labels are coded to compare sizes
_TRIED, _OF_A_GROUP = 12, 4  # sizes of a codec, at most: in all, and of each width and segment
_MOST_DECLARED = 2.0  # times the bits that there are: entropy coding may save the rest
_MOST_SHARED = 0.6  # of the bytes, for tensors
_MIXED = 0.92  # of the bytes that counted symbols take, about what mixed contexts leave
_HOPEFUL = 1.05  # times the budget: plans beyond come last
_HALVINGS, _LANDINGS = 12, 7  # of the weight of a bit: planned, and with all labels coded


@dataclass(frozen=True)
class TaughtLabels:
    """What a teacher says of all views.

    Attributes:
        config: of the views.
        temperature: of the softmax.
        probabilities: ``[epochs, samples, classes]`` float16.
        classes: of the samples, ``[samples]`` int64.
    """

    config: ViewsConfig
    temperature: float
    probabilities: Tensor
    classes: Tensor

    @property
    def float16_bytes(self) -> int:
        """What they take uncompressed (VQAE, Eq. S11)."""
        return 2 * self.probabilities.numel()

    def first(self, epochs: int) -> TaughtLabels:
        """Those of the first ``epochs``, which then come again: what pruning keeps (LPLD)."""
        return replace(
            self, config=replace(self.config, epochs=epochs), probabilities=self.probabilities[:epochs]
        )

    def rows(self) -> Tensor:
        """``[epochs * samples, classes]`` float32."""
        return self.probabilities.flatten(0, 1).float()


def divergence(taught: Tensor, rebuilt: Tensor) -> float:
    """The mean Kullback-Leibler divergence of ``rebuilt`` from ``taught`` ``[rows, classes]``, in nats."""
    taught = taught.float()
    return float((taught * (taught.clamp(min=1e-12).log() - rebuilt.clamp(min=1e-12).log())).sum(1).mean())


def compress(taught: TaughtLabels, config: CodecConfig, seed: int = 0, weight: float = 0.0) -> ViewLabels:
    """``taught`` by a codec of the given size, whatever it takes.

    Args:
        weight: of a bit, where the codec prices bits.

    Raises:
        ConfigError: there is no such codec, or not in this size.
    """
    kind = codec_named(config.name)
    kind.check(config, taught.probabilities.shape[2])
    return _written(taught, kind.fit(config, taught.rows(), seed), weight)


def compress_to(
    taught: TaughtLabels, name: str, budget: int, seed: int = 0, progress: Progress = SILENT
) -> ViewLabels:
    """``taught`` in at most ``budget`` bytes by the codec ``name``, in the size that keeps most of them.

    Labels as float16 are those of as many epochs as there are bytes for (pruning).

    Raises:
        ConfigError: there is no such codec.
        BudgetError: no size of the codec fits.
    """
    kind = codec_named(name)
    if kind is Float16:
        return _pruned(taught, budget)
    likely, smaller = _sizes(taught, kind, budget)
    plans: list[_Plan] = []
    for configs in (likely, smaller):
        plans += _plans(taught, kind, configs, budget, seed, progress)
        for plan in sorted(plans, key=lambda plan: (plan.bytes > _HOPEFUL * budget, plan.divergence)):
            found = _landed(taught, plan, budget)
            if found is not None:
                return found
    least = min((plan.bytes for plan in plans), default=_least(taught, kind))
    raise BudgetError(
        f"the labels of {taught.config.epochs} epochs do not fit {budget:,} bytes by {name}: give "
        f"{1.1 * least:,.0f} or more, or fewer epochs"
    )


@dataclass(frozen=True)
class _Plan:
    codec: LabelCodec
    weight: float
    bytes: float
    divergence: float


def _plans(
    taught: TaughtLabels,
    kind: type[LabelCodec],
    configs: list[CodecConfig],
    budget: int,
    seed: int,
    progress: Progress,
) -> Iterator[_Plan]:
    """Sizes of the codec, fitted, with what they are expected to take and to lose."""
    if not configs:
        return
    sample = taught.first(max(1, min(taught.config.epochs, _PLANNED_ROWS // len(taught.classes))))
    share = taught.config.epochs / sample.config.epochs
    with progress.task("planning", len(configs)) as task:
        for config in configs:
            codec = kind.fit(config, sample.rows(), seed)
            side = len(encode_weights(codec.tensors)) if codec.tensors else 0
            yield _priced(sample, codec, side, (budget - side) / share, share)
            task.advance(note=f"{declared_bits(config, codec.classes, kind):.1f} bits declared")


def _sizes(
    taught: TaughtLabels, kind: type[LabelCodec], budget: int
) -> tuple[list[CodecConfig], list[CodecConfig]]:
    """Those that may come out near the budget, a few of each width and segment; and some that are smaller."""
    epochs, samples, classes = taught.probabilities.shape
    most = _MOST_DECLARED * 8 * budget / (epochs * samples)
    groups: dict[tuple[int, int], list[tuple[float, CodecConfig]]] = {}
    for config in kind.sizes(classes):
        declared = declared_bits(config, classes, kind)
        if declared <= most and _shared(kind, config, classes) <= _MOST_SHARED * budget:
            groups.setdefault((config.width, config.segment), []).append((declared, config))
    best = sorted((found for group in groups.values() for found in _spread(group, most)), key=_declared)
    likely = [config for _, config in best[-_TRIED:]]
    every = sorted((found for group in groups.values() for found in group), key=_declared)
    return likely, [config for _, config in every if config not in likely][:_OF_A_GROUP]


def _spread(group: list[tuple[float, CodecConfig]], most: float) -> list[tuple[float, CodecConfig]]:
    """A few sizes of a group, from about a fifth of ``most`` bits upwards."""
    ordered = sorted(group, key=_declared)
    likely = [found for found in ordered if found[0] >= most / 5] or ordered[-1:]
    return likely[:: -(-len(likely) // _OF_A_GROUP)]


def _declared(found: tuple[float, CodecConfig]) -> float:
    return found[0]


def _least(taught: TaughtLabels, kind: type[LabelCodec]) -> float:
    """About how many bytes the smallest size takes."""
    epochs, samples, classes = taught.probabilities.shape
    return min(
        _shared(kind, config, classes) + epochs * samples * declared_bits(config, classes, kind) / 8
        for config in kind.sizes(classes)
    )


def _shared(kind: type[LabelCodec], config: CodecConfig, classes: int) -> float:
    """About how many bytes tensors take."""
    return sum(math.prod(shape) for shape in kind.shapes(config, classes)) * 0.8


def _priced(sample: TaughtLabels, codec: LabelCodec, side: int, budget: float, share: float) -> _Plan:
    """The plan of ``codec``, with bits as dear as keeps ``sample`` within ``budget`` bytes."""

    def planned(weight: float) -> _Plan:
        written = _written(sample, codec, weight)
        size = _expected_bytes(written)
        return _Plan(
            codec, weight, side + share * size, divergence(sample.rows(), codec.labels(_flat(written.table)))
        )

    free = planned(0.0)
    if not isinstance(codec, PricedAutoencoder) or free.bytes - side <= share * budget:
        return free
    low, high, best = 0.0, 1.0, free
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5 if low else high / 8
        found = planned(middle)
        if found.bytes - side <= share * budget:
            high, best = middle, found
        else:
            low = middle
    return best


def _landed(taught: TaughtLabels, plan: _Plan, budget: int) -> ViewLabels | None:
    """``taught`` by the plan if it fits; where bits have a price, by the lowest at which it does."""
    found = _written(taught, plan.codec)
    if found.size <= budget:
        return found
    if not isinstance(plan.codec, PricedAutoencoder):
        return None
    low, high, best = 0.0, max(2 * plan.weight, 1e-5), None
    for _ in range(_LANDINGS):
        weight = (low + high) / 2 if best is not None else high
        found = _written(taught, plan.codec, weight)
        if found.size <= budget:
            best, high = found, weight
        else:
            low, high = weight, high if best is not None else 4 * high
    return best


def _pruned(taught: TaughtLabels, budget: int) -> ViewLabels:
    """As many epochs of float16 labels as fit."""
    fits, too_many = 0, taught.config.epochs + 1
    found = None
    while too_many - fits > 1:
        epochs = (fits + too_many) // 2
        written = compress(taught.first(epochs), CodecConfig(Float16.name))
        if written.size <= budget:
            fits, found = epochs, written
        else:
            too_many = epochs
    if found is None:
        least = compress(taught.first(1), CodecConfig(Float16.name)).size
        raise BudgetError(
            f"one epoch of float16 labels takes {least:,} bytes, more than the {budget:,} given"
        )
    return found


def _written(taught: TaughtLabels, codec: LabelCodec, weight: float = 0.0) -> ViewLabels:
    epochs, samples, _ = taught.probabilities.shape
    rows = taught.rows()
    if isinstance(codec, PricedAutoencoder):
        symbols = codec.priced(rows, taught.classes.repeat(epochs), weight)
    else:
        symbols = codec.symbols(rows)
    table = symbols.reshape(epochs, samples, -1)
    return ViewLabels(taught.config, taught.temperature, codec, table, taught.classes)


def _expected_bytes(labels: ViewLabels) -> float:
    """Of the symbols, by a coder that is fast."""
    meter = Meter()
    levels = labels.codec.columns(labels.codec.config, labels.codec.classes)
    code_table(meter, False, levels, labels.rows, labels.table)
    return _MIXED * meter.bits / 8


def _flat(table: Table) -> Table:
    return table.reshape(-1, table.shape[2])
