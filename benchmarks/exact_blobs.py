"""Blobs of every form, for the test that all machines decode the same: drawn from a seed, with any coder.

Used by exactness.py and tests/test_exactness.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any
from unittest import mock

import numpy as np
import torch
from coding_grids import network_for
from numpy.typing import NDArray
from torch import Tensor

from fedbits import container, rng
from fedbits.coding import CODERS, SymbolCoder, code_grid, coding_work
from fedbits.coding.view import GridShape
from fedbits.data.known import KNOWN
from fedbits.data.spec import DataSpec
from fedbits.distilled_set import DistilledSet
from fedbits.parameterization import PixelParameterization, pixel
from fedbits.parameterization.pixel import PixelConfig, stored_shape
from fedbits.quantization import QuantizerConfig
from fedbits.quantization.base import Scope

# Shapes of described tasks: grey, colour, several channels, odd sides, a single row, and flat ones.
SHAPES = (
    *((1, 8, 8), (1, 28, 28), (1, 7, 5), (1, 1, 30), (1, 16, 3), (1, 1, 1)),
    *((3, 8, 8), (3, 9, 7), (3, 32, 32), (2, 12, 10), (5, 4, 4)),
    *((1,), (12,), (64,), (300,)),
)
CONTENTS = ("smooth", "noise", "constant", "sparse")
WORK = 400_000  # of fedbits.coding.coding_work that a blob may take, if one of some draws does
OFTEN, LARGE = 0.05, 20  # so often, it may take so many times as much
_DRAWS = 20
_KNOWN = 0.6  # the chance of a task that every receiver knows
_APART = 0.25  # the chance that each class is coded by itself
_OTHERWISE = 0.3  # the chance of additive powers of two, of one grid for all channels, and of a transform


@dataclass(frozen=True)
class Form:
    """What a blob is made of: everything but the values."""

    name: str
    coder: int
    config: PixelConfig
    spec: DataSpec
    counts: tuple[int, ...]
    content: str
    per_class: bool


def forms(count: int, seed: int) -> Iterator[Form]:
    """``count`` forms: all coders, bits and factors in turn, the rest at random."""
    numbers = sorted(CODERS)
    for index in range(count):
        stream = rng.numpy_stream(seed, "exactness", index)
        coder, rest = numbers[index % len(numbers)], index // len(numbers)
        config = PixelConfig(bits=1 + rest % 8, factor=1 << rest // 8 % 4)
        allowed = WORK * (LARGE if stream.random() < OFTEN else 1)
        work, spec, counts = _draw(stream, config, coder)
        for _ in range(_DRAWS):
            if work > allowed:
                work, spec, counts = min(
                    (work, spec, counts), _draw(stream, config, coder), key=itemgetter(0)
                )
        content = CONTENTS[stream.integers(len(CONTENTS))]
        apart = bool(stream.random() < _APART)
        config = _storage(stream, config, spec)
        name = f"{index:04}-{CODERS[coder][0]}-{config.bits}b-x{config.factor}-{spec.name}-{content}"
        yield Form(name, coder, config, spec, counts, content, apart)


def _draw(
    stream: np.random.Generator, config: PixelConfig, coder: int
) -> tuple[int, DataSpec, tuple[int, ...]]:
    """The work of decoding a set, its task, and its samples of each class."""
    spec = _task(stream)
    counts = _counts(stream, spec.classes)
    shape = (sum(counts), *stored_shape(spec, config.factor))
    return coding_work(shape, 1 << config.bits, coder), spec, counts


def _storage(stream: np.random.Generator, config: PixelConfig, spec: DataSpec) -> PixelConfig:
    """The same, perhaps with levels of another spacing, a grid for all channels, or of coefficients."""
    spacing: str = "apot" if stream.random() < _OTHERWISE else "uniform"
    scope: Scope = "tensor" if stream.random() < _OTHERWISE else "channel"
    quantizer = QuantizerConfig(spacing, scope, standardised=False)
    dct = spec.is_grid and stream.random() < _OTHERWISE
    return replace(config, quantizer=quantizer, transform="dct" if dct else "none")


def _task(stream: np.random.Generator) -> DataSpec:
    if stream.random() < _KNOWN:
        return KNOWN[int(stream.choice(sorted(KNOWN)))]
    shape = SHAPES[stream.integers(len(SHAPES))]
    mean, std = stream.uniform(-1, 1, shape[0]), stream.uniform(0.1, 2, shape[0])
    dtype = "float32" if stream.random() < 0.5 else "uint8"
    name = "x".join(map(str, shape))
    return DataSpec(name, shape, int(stream.integers(1, 6)), tuple(mean), tuple(std), dtype)  # type: ignore[arg-type]


def _counts(stream: np.random.Generator, classes: int) -> tuple[int, ...]:
    """Few or many samples, as many of each class or not."""
    most = int(stream.choice([1, 2, 5, 40]))
    if stream.random() < 0.3:
        return (most,) * classes
    counts = stream.integers(0, most + 1, classes) * (stream.random(classes) < 0.5)
    counts[stream.integers(classes)] += 1
    return tuple(counts.tolist())


def _samples(form: Form, seed: int) -> Tensor:
    """Normalised samples ``[n, *shape]``, of any offset and scale that a grid can have."""
    stream = rng.numpy_stream(seed, "exactness", form.name)
    labels = np.repeat(np.arange(len(form.counts)), form.counts)
    size = (len(labels), form.spec.elements)
    values = stream.standard_normal(size)
    if form.content == "smooth":
        ramp = np.linspace(0, 6, form.spec.elements)
        values = np.sin(ramp + labels[:, None]) + 0.1 * values
    elif form.content == "constant":
        values = np.full(size, values[0, 0])
    elif form.content == "sparse":
        values = np.where(stream.random(size) < 0.05, values, 0)
    scale, offset = 10 ** stream.uniform(-2, 2), stream.uniform(-3, 3)
    return torch.from_numpy(scale * (values + offset)).float().view(-1, *form.spec.shape)


def _code_grid(
    coder: SymbolCoder, number: int, levels: int, shape: GridShape, *rest: Any
) -> NDArray[np.uint8]:
    """As :func:`fedbits.coding.code_grid`, with a network where the coder needs one to be sent along."""
    known = list(rest) + [None] * (3 - len(rest))
    known[2] = known[2] or network_for(number, shape[1], hidden=5)
    return code_grid(coder, number, levels, shape, *known)


def made(form: Form, seed: int, device: str = "cpu") -> tuple[bytes, str]:
    """The blob, and the digest of the samples as they are before it is written."""
    samples = _samples(form, seed).to(device)
    stored = PixelParameterization.from_samples(samples, form.spec, form.config)
    sent = DistilledSet(form.spec, stored, list(form.counts), "exactness")
    with (
        mock.patch(f"{pixel.__name__}.smallest_coder", lambda *_, **__: (form.coder, 0.0)),
        mock.patch(f"{pixel.__name__}.code_grid", _code_grid),
    ):
        blob = container.encode(sent, per_class=form.per_class)
    if container.inspect(blob)["coder"] != CODERS[form.coder][0]:
        raise RuntimeError(f"{form.name} was not written by the coder asked for")
    return blob, digest(sent.samples.numpy(), sent.class_counts())


def digest(samples: NDArray[np.float32], counts: list[int]) -> str:
    """SHA-256 of the samples as little-endian float32, and of their counts (as in tests/golden)."""
    return hashlib.sha256(samples.astype("<f4").tobytes() + bytes(counts)).hexdigest()
