"""A latent set's message and its streams: writing, reading, what decoding takes, where bits went."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedbits.coding import RangeReader, SymbolCoder
from fedbits.coding.neural import code_symbols
from fedbits.coding.weights import QuantisedTensor, code_weights, encode_weights, weights_work
from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError, CorruptError
from fedbits.parameterization.base import Part
from fedbits.parameterization.latent.config import LatentConfig
from fedbits.parameterization.latent.exact import CHUNK_NUMBERS, SynthesisTensors, numbers_of_a_sample
from fedbits.parameterization.latent.form import Form, SynthesisKind, Upsampling
from fedbits.parameterization.latent.prediction import MOST_REACH, Predictor, joined
from fedbits.parameterization.latent.start import shapes
from fedbits.parameterization.transform import transform_work
from fedbits.wire import distilled_set_pb2 as pb

Networks = tuple[list[QuantisedTensor], list[QuantisedTensor]]  # synthesis and entropy, group after group

# Their numbers are part of the wire format.
_SYNTHESES: tuple[tuple[SynthesisKind, Upsampling], ...] = (
    ("pyramid", "dyadic"),
    ("stacked", "dyadic"),
    ("stacked", "learned"),
)
_MULTIPLICATIONS = 64  # of a matrix product, in a unit of work of 100 ns
# To code one latent of all samples: a batch, each of its levels, and each group with samples in it.
_BATCH_WORK, _EDGE_WORK, _RUN_WORK = 3000, 200, 2000
_PART = 1 << 13  # samples in a batch


def reach_of(latents: NDArray[np.int64]) -> int:
    """The largest magnitude of ``latents``, at least 1."""
    return max(1, int(abs(latents).max(initial=0)))


def predictors(
    form: Form, synthesis: Sequence[QuantisedTensor], entropy: Sequence[QuantisedTensor], reach: int
) -> list[Predictor]:
    """Of all groups.

    Raises:
        CorruptError: there are no such networks.
    """
    found, means = [], len(form.mean_shapes)
    first, second = len(form.synthesis_shapes), len(form.entropy_shapes)
    for group in range(form.groups):
        own = synthesis[group * first : group * first + means]
        network = entropy[group * second : (group + 1) * second]
        found.append(Predictor.of(form, network, own, reach))
    return found


def code_latents(
    coder: SymbolCoder,
    known: Sequence[Predictor],
    labels: NDArray[np.int64],
    latents: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Write, measure or (left out) read ``latents`` ``[n, latents]`` of ``labels`` ``[n]``, ascending.

    One place of up to 8,192 samples at a time, of whatever groups.
    """
    form, reach, size = known[0].form, known[0].reach, len(labels)
    group, within = np.divmod(labels, form.group_classes)
    found = np.zeros((form.latents + 1, size), np.int64)  # the last row is what lies outside a grid
    batches = [_runs(group, start, min(start + _PART, size)) for start in range(0, size, _PART)]
    for place in range(form.latents):
        for runs in batches:
            expected = joined([known[n].expect(found[:, some], place, within[some]) for n, some in runs])
            rows = slice(runs[0][1].start, runs[-1][1].stop)
            symbols = None if latents is None else latents[rows, place] + reach
            found[place, rows] = code_symbols(coder, expected, symbols) - reach
    return found[:-1].T


def _runs(group: NDArray[np.int64], start: int, stop: int) -> list[tuple[int, slice]]:
    """Where samples from ``start`` to ``stop`` are of the same group, and of which."""
    ends = [*(np.flatnonzero(np.diff(group[start:stop])) + start + 1).tolist(), stop]
    return [(int(group[a]), slice(a, b)) for a, b in pairwise([start, *ends])]


def write(
    message: pb.Latent,
    config: LatentConfig,
    spec: DataSpec,
    networks: Networks,
    latents: NDArray[np.int64],
    parts: Sequence[Part],
) -> None:
    """Fill ``message``, and spend the ``latents`` ``[n, latents]`` of all ``parts``."""
    message.scales.extend(config.scales)
    message.numbers = config.numbers
    per_group = config.classes_per_group(spec)
    message.group_classes = 0 if per_group == spec.classes else per_group
    message.synthesis = _SYNTHESES.index((config.synthesis, config.upsampling))
    message.hidden, message.convolutions = config.hidden, config.convolutions
    message.without_means = not config.class_means
    message.context, message.without_coarser = config.context, not config.coarser
    message.entropy_hidden, message.entropy_layers = config.entropy_hidden, config.entropy_layers
    message.components, message.reach = config.components, reach_of(latents)
    message.synthesis_weights, message.entropy_weights = map(encode_weights, networks)
    known, start = predictors(config.form(spec), *networks, message.reach), 0
    for labels, coder in parts:
        some = latents[start : start + len(labels)]
        code_latents(coder, known, labels.cpu().numpy(), some)
        start += len(labels)


def read(
    message: pb.Latent, spec: DataSpec, samples: int, parts: Iterable[Part]
) -> tuple[LatentConfig, Networks, NDArray[np.int64], Tensor]:
    """What :func:`write` was given: latents int64 ``[samples, latents]``, and the labels of all.

    Raises:
        CorruptError: there are no such latents, or their numbers are ones that none can send.
    """
    config = checked(message, spec)
    networks = _read_networks(message, config.form(spec))
    known, start = predictors(config.form(spec), *networks, message.reach), 0
    latents, every = np.empty((samples, config.form(spec).latents), np.int64), []
    for labels, coder in parts:
        latents[start : start + len(labels)] = code_latents(coder, known, labels.numpy())
        every.append(labels)
        start += len(labels)
    return config, networks, latents, torch.cat(every)


def checked(message: pb.Latent, spec: DataSpec) -> LatentConfig:
    """What ``message`` declares, before anything is computed or memory taken for it.

    Raises:
        CorruptError: there are no such latents of samples of ``spec``.
    """
    if message.synthesis >= len(_SYNTHESES):
        raise CorruptError("the blob declares a synthesis network of an unknown kind")
    if list(message.scales) != sorted(message.scales, reverse=True):
        raise CorruptError("the blob declares latents whose coarsest grid is not the first")
    if not 1 <= message.reach <= MOST_REACH:
        raise CorruptError(f"the blob declares latents up to {message.reach}: expected 1 to {MOST_REACH}")
    if message.group_classes > spec.classes:
        raise CorruptError(f"the blob declares groups of {message.group_classes} of {spec.classes} classes")
    synthesis, upsampling = _SYNTHESES[message.synthesis]
    try:
        config = LatentConfig(
            numbers=message.numbers,
            scales=tuple(message.scales),
            group=message.group_classes or "set",
            synthesis=synthesis,
            hidden=message.hidden,
            convolutions=message.convolutions,
            upsampling=upsampling,
            class_means=not message.without_means,
            context=message.context,
            coarser=not message.without_coarser,
            entropy_hidden=message.entropy_hidden,
            entropy_layers=message.entropy_layers,
            components=message.components,
        )
        config.form(spec)
        return config
    except ConfigError as error:
        raise CorruptError(f"the blob declares latents that do not exist: {error}") from error


def _read_networks(message: pb.Latent, form: Form) -> Networks:
    synthesis, entropy = shapes(form)
    networks = (
        code_weights(RangeReader(message.synthesis_weights), synthesis),
        code_weights(RangeReader(message.entropy_weights), entropy),
    )
    size = len(form.synthesis_shapes)
    for group in range(form.groups):
        SynthesisTensors.of(form, networks[0][group * size : (group + 1) * size]).check()
    return networks


@dataclass(frozen=True)
class DecodingCost:
    """What decoding takes, from a message that was checked.

    Attributes:
        form: of the samples.
        levels: of the symbols.
        sample_elements: of a sample, numbers.
    """

    form: Form
    levels: int
    sample_elements: int

    @classmethod
    def of(cls, message: pb.Latent, spec: DataSpec) -> DecodingCost:
        """Of a message for which :func:`checked` raises nothing."""
        return cls(checked(message, spec).form(spec), 2 * message.reach + 1, spec.elements)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the symbols of one sample."""
        return 1, 1, self.form.latents

    @property
    def parameters(self) -> int:
        """Of all networks."""
        return self.form.parameters

    @property
    def sample_bytes(self) -> int:
        """Of each sample: latents as int64 (twice) and float32 (twice), the sample twice."""
        return 24 * self.form.latents + 8 * self.sample_elements

    def shared_elements(self, samples: int) -> int:
        """Numbers of 8 bytes that decoding takes once: a chunk of samples, networks, contexts, one batch."""
        form = self.form
        each = 12 * numbers_of_a_sample(form)
        batch = min(samples, _PART) * (2 * max(form.entropy_widths) + 4 * form.inputs + 150)
        static = form.latents * (form.inputs + 2 * form.group_classes * form.groups)
        return max(each, min(CHUNK_NUMBERS, each * samples)) + 8 * form.parameters + batch + static

    @property
    def symbol_work(self) -> int:
        """For each sample, of its latents, in units of 100 ns."""
        widths = self.form.entropy_widths
        products = sum(a * b for a, b in pairwise(widths))
        each = 30 + min(self.levels, 32) + sum(widths) // 4 + products // _MULTIPLICATIONS
        return self.form.latents * each

    @property
    def sample_work(self) -> int:
        """For each sample, of making it, in units of 100 ns."""
        work = 0
        for (out, into, *side), factor in zip(self.form.layer_shapes[::2], self._factors, strict=True):
            products = out * into * math.prod(side)
            work += math.prod(self.form.at(factor)) * (1 + products // _MULTIPLICATIONS + 2 * into + out)
        return work

    @property
    def _factors(self) -> list[int]:
        """Of the grid that each layer works on."""
        form = self.form
        if form.synthesis == "stacked":
            return [1] * (2 + form.convolutions)
        found = []
        for place, (factor, _) in enumerate(form.levels):
            after = form.factors[1] if form.dense and not place else factor
            found += [factor, *[after] * form.convolutions]
        return [*found, 1]

    def shared_work(self, zeros: bool = False) -> int:
        """Once, in units of 100 ns."""
        form = self.form
        each = weights_work(form.synthesis_shapes, zeros) + weights_work(form.entropy_shapes, zeros)
        if form.dense:
            grid = form.at(form.factors[1])
            each += transform_work(1 + len(form.levels[0][1]), (form.hidden, *grid))
        return form.groups * each

    def work(self, samples: int, streams: int = 0, zeros: bool = False) -> int:
        """Of decoding so many, in units of 100 ns.

        ``streams``: how many, if each is of a class; ``zeros``: where all weights are 0.
        """
        parts = samples // _PART
        batches = (streams or 1) + parts
        runs = parts + (streams or min(self.form.groups, samples))
        places = batches * (_BATCH_WORK + _EDGE_WORK * min(self.levels, 32)) + runs * _RUN_WORK
        made = samples * (self.symbol_work + self.sample_work)
        return self.form.latents * places + made + self.shared_work(zeros)
