"""Epitomes of every form, for the test that all machines decode the same: see exact_blobs.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from unittest import mock

import numpy as np
import torch
from exact_blobs import digest
from torch import Tensor

from fedbits import container, rng
from fedbits.coding import CODERS
from fedbits.coding.grid import OWN
from fedbits.data.spec import DataSpec
from fedbits.distilled_set import DistilledSet
from fedbits.parameterization import EpitomeConfig, EpitomeParameterization
from fedbits.parameterization.epitome import stream

SHAPES = ((1, 8, 8), (1, 9, 7), (3, 8, 5), (2, 6, 6), (1, 1, 9), (20,), (1,))
SPREADS = (0.01, 0.3, 3.0, 100.0)  # of tokens and weights: from next to nothing to where all is clamped


@dataclass(frozen=True)
class EpitomeForm:
    """What a blob is made of: everything but the values; ``spread`` of which."""

    name: str
    coder: int
    config: EpitomeConfig
    spec: DataSpec
    counts: tuple[int, ...]
    spread: float
    per_class: bool


def epitome_forms(count: int, seed: int) -> Iterator[EpitomeForm]:
    """``count`` forms: all coders and bits in turn, the rest at random; all of them small."""
    numbers = [number for number in sorted(CODERS) if number != OWN]
    for index in range(count):
        draws = rng.numpy_stream(seed, "exactness of epitomes", index)
        coder, bits = numbers[index % len(numbers)], 2 + index // len(numbers) % 7
        shape = SHAPES[draws.integers(len(SHAPES))]
        heads, part = (int(one) for one in draws.integers(1, 4, 2))
        config = EpitomeConfig(
            tokens=int(draws.integers(1, 7)),
            width=heads * part,
            heads=heads,
            blocks=int(draws.integers(0, 3)),
            nonzeros=int(draws.integers(1, 12)),
            patch=int(draws.integers(1, 6)),
            bits=bits,
            precision=float(10 ** draws.uniform(-4, 0)),
        )
        classes, spread = int(draws.integers(1, 5)), SPREADS[draws.integers(len(SPREADS))]
        counts = draws.integers(0, 4, classes)
        counts[draws.integers(classes)] += 1
        mean, std = draws.uniform(-1, 1, shape[0]), draws.uniform(0.1, 2, shape[0])
        spec = DataSpec("x".join(map(str, shape)), shape, classes, tuple(mean), tuple(std), "uint8")
        name = f"epitome-{index:04}-{CODERS[coder][0]}-{bits}b-{config.blocks}-{spec.name}-{spread}"
        apart = bool(draws.random() < 0.25)
        yield EpitomeForm(name, coder, config, spec, tuple(counts.tolist()), spread, apart)


def made_epitome(form: EpitomeForm, seed: int, device: str = "cpu") -> tuple[bytes, str]:
    """The blob, and the digest of the samples as they are before it is written."""
    draws = rng.numpy_stream(seed, "exactness of epitomes", form.name)
    sizes = form.config.form(form.spec)

    def normal(shape: tuple[int, ...], spread: float) -> Tensor:
        return torch.from_numpy(spread * draws.standard_normal(shape)).float().to(device)

    codes, tokens = normal((sum(form.counts), *sizes.codes), 1.0), normal(sizes.token_shape, form.spread)
    network = [normal(shape, form.spread) for shape in sizes.network_shapes]
    stored = EpitomeParameterization(form.spec, form.config, codes, tokens, network)
    sent = DistilledSet(form.spec, stored, list(form.counts), "exactness")
    with mock.patch(f"{stream.__name__}.smallest", lambda *_, **__: (form.coder, 0.0)):
        blob = container.encode(sent, per_class=form.per_class)
    return blob, digest(np.asarray(sent.samples), sent.class_counts())
