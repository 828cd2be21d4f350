"""Vector-quantised labels (VQAE, Eqs. 2 to 9): a linear autoencoder and a codebook for all segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log2
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from fedbits.coding.weights import Shape
from fedbits.errors import ConfigError
from fedbits.labels.codec import (
    CodecConfig,
    LabelCodec,
    Table,
    fitted_rows,
    normalised,
    travelling,
    within,
    without,
)
from fedbits.rng import torch_stream

MOST_LEVELS = 1 << 12
_MOST_WIDTH = 1 << 14
_ROWS = 1 << 12  # of which distances to all codes are in memory at once
_SWEEPS = 4  # over all columns, at most, that make codes better
_PRICING = 4  # rounds in which prices and codes follow each other
_PRIOR = 0.02  # of a code, in counts
_REVIVED = 0.8  # share of the steps in which dead codes are revived
_CLUSTERED, _CLUSTERING = 1 << 14, 20  # segments, and rounds, of the codebook's start


@dataclass(frozen=True)
class FitConfig:
    """How encoder, codebook and decoder are trained; α and β are those of Eq. 7."""

    steps: int = 400
    batch: int = 512
    learning_rate: float = 1e-2
    rounds: int = 20
    polishing: int = 20
    alpha: float = 1.0
    beta: float = 0.25
    revival: int = 50  # steps, after which codes that nothing became are put where segments are


class Vector(LabelCodec):
    """Segments of the labels themselves, quantised: VQAE without its autoencoder.

    Labels are padded with zeros to whole segments of ``segment`` numbers. Tensors: the codebook
    ``[levels, segment]``.
    """

    name, number = "vq", 4

    @classmethod
    def check(cls, config: CodecConfig, classes: int) -> None:
        without(config, width=0)
        within("segment", config.segment, 1, classes)
        within("levels", config.levels, 2, MOST_LEVELS)

    @classmethod
    def columns(cls, config: CodecConfig, classes: int) -> Sequence[int]:
        return [config.levels] * -(-classes // config.segment)

    @classmethod
    def shapes(cls, config: CodecConfig, classes: int) -> list[Shape]:
        return [(config.levels, config.segment)]

    @classmethod
    def published_bytes(cls, config: CodecConfig, classes: int, rows: int) -> float:
        """Eq. S12 without a decoder."""
        indices = rows * len(cls.columns(config, classes)) * log2(config.levels) / 8
        return indices + config.levels * config.segment * 4

    @classmethod
    def sizes(cls, classes: int) -> Iterator[CodecConfig]:
        for segment in _segment_sizes(classes):
            yield from (CodecConfig(cls.name, segment=segment, levels=1 << k) for k in range(1, 13))

    @classmethod
    def fit(cls, config: CodecConfig, labels: Tensor, seed: int) -> Self:
        rows = fitted_rows(labels, torch_stream(seed, "rows"))
        segments = _segments(_padded(rows, config.segment), config.segment)
        codebook = clustered(segments, config.levels, torch_stream(seed, "codebook"))
        return cls(config, labels.shape[1], [travelling(codebook)])

    @property
    def codebook(self) -> Tensor:
        return self._values[0]

    def latents(self, labels: Tensor) -> Tensor:
        """What is quantised of ``labels``: ``[rows, columns * segment]``."""
        return _padded(labels.float(), self.config.segment)

    def part(self, column: int) -> Tensor:
        """``[levels, classes]``: what each code of a column adds to a label."""
        start = column * self.config.segment
        return nn.functional.pad(self.codebook, (start, max(0, self.classes - start - self.config.segment)))[
            :, : self.classes
        ]

    def symbols(self, labels: Tensor, prices: Tensor | None = None) -> Table:
        """Codes that make up labels nearest to ``labels``.

        Of each segment the nearest code (Eq. 4) is where it starts; then each column in turn takes the code
        that is best beside those of the others. With ``prices`` ``[columns, levels]``, or one such for each
        row, what is least is the squared distance and the price together.
        """
        columns = len(self.columns(self.config, self.classes))
        found = np.zeros((len(labels), columns), np.uint16)
        for start in range(0, len(labels), _ROWS):
            part = slice(start, start + _ROWS)
            rows = labels[part].float()
            asked = prices if prices is None or prices.dim() == 2 else prices[part].movedim(0, 1)
            found[part] = self._refined(rows, self._nearest(rows), asked).numpy()
        return found

    def _nearest(self, rows: Tensor) -> Tensor:
        segments = self.latents(rows).view(len(rows), -1, self.config.segment)
        return torch.cdist(segments, self.codebook).argmin(2)

    def _refined(self, rows: Tensor, codes: Tensor, prices: Tensor | None) -> Tensor:
        return refined(codes, self.part, rows - self._sums(codes), prices)

    def _sums(self, codes: Tensor) -> Tensor:
        """What codes ``[rows, columns]`` add up to."""
        return self.codebook[codes].flatten(1)[:, : self.classes]

    def labels(self, symbols: Table) -> Tensor:
        return normalised(self._sums(torch.from_numpy(symbols.astype(np.int64))))


class VectorAutoencoder(Vector):
    """VQAE: a label becomes ``width`` numbers by a linear encoder, and is made of them by a linear decoder.

    Tensors: the codebook ``[levels, segment]`` and the decoder ``[width, classes]``. The encoder does not
    travel; it is the decoder's pseudoinverse, under which the distance of latents is that of labels.
    """

    name, number = "vqae", 5

    @classmethod
    def check(cls, config: CodecConfig, classes: int) -> None:
        within("width", config.width, 1, _MOST_WIDTH)
        within("segment", config.segment, 1, config.width)
        within("levels", config.levels, 2, MOST_LEVELS)
        if config.width % config.segment:
            raise ConfigError(
                f"segment of the labels is {config.segment}: expected a divisor of their width {config.width}"
            )

    @classmethod
    def columns(cls, config: CodecConfig, classes: int) -> Sequence[int]:
        return [config.levels] * (config.width // config.segment)

    @classmethod
    def shapes(cls, config: CodecConfig, classes: int) -> list[Shape]:
        return [(config.levels, config.segment), (config.width, classes)]

    @classmethod
    def published_bytes(cls, config: CodecConfig, classes: int, rows: int) -> float:
        """Eq. S12."""
        indices = rows * config.width / config.segment * log2(config.levels) / 8
        return indices + classes * config.width * 4 + config.levels * config.segment * 4

    @classmethod
    def sizes(cls, classes: int) -> Iterator[CodecConfig]:
        for segment in _segment_sizes(classes):
            segments = -(-classes // segment)
            for size in (segment, 2 * segment) if segments > 1 else (segment,):
                yield from (CodecConfig(cls.name, segments * size, size, 1 << k) for k in range(1, 13))

    @classmethod
    def fit(cls, config: CodecConfig, labels: Tensor, seed: int) -> Self:
        rows = fitted_rows(labels, torch_stream(seed, "rows"))
        trained = _Autoencoder(config, rows, seed)
        trained.fit(rows, FitConfig(), seed)
        return cls(config, labels.shape[1], [travelling(trained.codebook), travelling(trained.decoder)])

    def part(self, column: int) -> Tensor:
        rows = slice(column * self.config.segment, (column + 1) * self.config.segment)
        return self.codebook @ self._values[1][rows]

    def _sums(self, codes: Tensor) -> Tensor:
        return self.codebook[codes].flatten(1) @ self._values[1]

    def latents(self, labels: Tensor) -> Tensor:
        return labels @ self._encoder

    @cached_property
    def _encoder(self) -> Tensor:
        return torch.linalg.pinv(self._values[1])


class PricedAutoencoder(VectorAutoencoder):
    """VQAE whose codes are chosen for what they cost as well as for what they are (ours).

    As in entropy-constrained vector quantisation (Chou, Lookabaugh and Gray, 1989): a code is worse by
    ``weight``, in units of squared probability, for each bit that it takes, given the class of the sample.
    """

    name = "vqae-rd"

    def priced(self, labels: Tensor, classes: Tensor, weight: float) -> Table:
        """The symbols for ``labels`` ``[rows, classes]`` of samples of ``classes`` ``[rows]``."""
        table = self.symbols(labels)
        if weight == 0:
            return table
        for _ in range(_PRICING):
            for label in classes.unique():
                rows = torch.nonzero(classes == label).flatten()
                prices = _code_bits(table[rows.numpy()], self.config.levels)
                table[rows.numpy()] = self.symbols(labels[rows], weight * prices)
        return table


def _code_bits(table: Table, levels: int) -> Tensor:
    """``[columns, levels]``: what symbols take that are as frequent as in ``table`` ``[rows, columns]``."""
    rows, columns = table.shape
    places = torch.from_numpy(table.astype(np.int64)) + torch.arange(columns) * levels
    counts = torch.bincount(places.flatten(), minlength=columns * levels).view(columns, levels)
    return -((counts + _PRIOR) / (rows + _PRIOR * levels)).log2()


class _Autoencoder(nn.Module):
    """Encoder P, codebook μ and decoder D of Eqs. 2 to 6, as they are trained."""

    def __init__(self, config: CodecConfig, rows: Tensor, seed: int) -> None:
        super().__init__()
        generator = torch_stream(seed, "autoencoder")
        basis = _basis(rows, config.width, generator)
        self._segment = config.segment
        self.encoder = nn.Parameter(basis.clone())
        self.decoder = nn.Parameter(basis.T.clone())
        segments = _segments(rows @ basis, config.segment)
        self.codebook = nn.Parameter(clustered(segments, config.levels, generator))

    def fit(self, rows: Tensor, how: FitConfig, seed: int) -> None:
        """Descend Eq. 7; then the decoder that is best for the codes that came out."""
        if self.encoder.shape[1] == self._segment:
            return  # of a single segment, the codebook of clusters is what descent would end at
        optimizer = torch.optim.Adam(self.parameters(), how.learning_rate)
        used = torch.zeros(len(self.codebook), dtype=torch.bool)
        for step in range(how.steps):
            generator = torch_stream(seed, "labels", step)
            batch = rows[torch.randint(len(rows), (how.batch,), generator=generator)]
            for group in optimizer.param_groups:
                group["lr"] = how.learning_rate * (1 - step / how.steps)
            loss, codes = self._loss(batch, how)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            used[codes.flatten()] = True
            if (step + 1) % how.revival == 0 and step < how.steps * _REVIVED:
                self._revive(~used, batch, generator)
                used.zero_()
        self._polish(rows, how)

    def _polish(self, rows: Tensor, how: FitConfig) -> None:
        """Codes, decoder and codebook made better in turn (ours).

        Codes are no longer the nearest of each segment but those that are best together, as in additive
        quantisation (Babenko and Lempitsky, 2014); so an encoder is no longer needed.
        """
        optimizer = torch.optim.Adam([self.codebook, self.decoder], how.learning_rate / 3)
        with torch.no_grad():
            codes = self._codes(rows @ torch.linalg.pinv(self.decoder))
        for _ in range(how.rounds):
            with torch.no_grad():
                codes = refined(codes, self._part, rows - self._sums(codes))
                quantised = self.codebook[codes].flatten(1)
                self.decoder.copy_(torch.linalg.lstsq(quantised, rows, driver="gelsd").solution)
            for _ in range(how.polishing):
                loss = (self._sums(codes) - rows).square().sum(1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    def _part(self, column: int) -> Tensor:
        return self.codebook @ self.decoder[column * self._segment : (column + 1) * self._segment]

    def _sums(self, codes: Tensor) -> Tensor:
        return self.codebook[codes].flatten(1) @ self.decoder

    def _codes(self, latents: Tensor) -> Tensor:
        return torch.cdist(latents.view(len(latents), -1, self._segment), self.codebook).argmin(2)

    def _loss(self, batch: Tensor, how: FitConfig) -> tuple[Tensor, Tensor]:
        """Eq. 7, of one label, and the codes of its segments."""
        latents = batch @ self.encoder
        codes = self._codes(latents.detach())
        quantised = self.codebook[codes].flatten(1)
        passed = latents + (quantised - latents).detach()  # straight through
        rebuilt = (passed @ self.decoder - batch).square().sum(1).mean()
        followed = (latents.detach() - quantised).square().sum(1).mean()
        committed = (latents - quantised.detach()).square().sum(1).mean()
        return rebuilt + how.alpha * (followed + how.beta * committed), codes

    @torch.no_grad()
    def _revive(self, dead: Tensor, batch: Tensor, generator: torch.Generator) -> None:
        segments = _segments(batch @ self.encoder, self._segment)
        chosen = torch.randint(len(segments), (int(dead.sum()),), generator=generator)
        self.codebook[dead] = segments[chosen]


def refined(
    codes: Tensor,
    part: Callable[[int], Tensor],
    rest: Tensor,
    prices: Tensor | None = None,
    sweeps: int = _SWEEPS,
) -> Tensor:
    """Better ``codes`` ``[rows, columns]``: each column in turn, given the others.

    Args:
        part: ``[levels, classes]`` of a column, what each of its codes adds.
        rest: ``[rows, classes]``, what is left of labels when all that codes add is taken away.
        prices: ``[columns, levels]`` or ``[columns, rows, levels]``, added to squared distances.
    """
    codes, rest = codes.clone(), rest.clone()
    for _ in range(sweeps):
        before = codes.clone()
        for column in range(codes.shape[1]):
            adds = part(column)
            rest += adds[codes[:, column]]
            costs = adds.square().sum(1) - 2 * rest @ adds.T
            codes[:, column] = (costs if prices is None else costs + prices[column]).argmin(1)
            rest -= adds[codes[:, column]]
        if torch.equal(codes, before):
            break
    return codes


def clustered(segments: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` centres of ``segments`` ``[n, d]`` by Lloyd's algorithm; those of no segment begin anew."""
    segments = segments[torch.randperm(len(segments), generator=generator)[:_CLUSTERED]]
    centres = segments[torch.randint(len(segments), (count,), generator=generator)].clone()
    for _ in range(_CLUSTERING):
        distances, codes = torch.cdist(segments, centres).min(1)
        sizes = torch.bincount(codes, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, codes, segments)
        centres = sums / sizes.clamp(min=1)[:, None]
        empty = sizes == 0
        if bool(empty.any()):
            farthest = distances.topk(min(int(empty.sum()), len(distances))).indices
            centres[torch.nonzero(empty).flatten()[: len(farthest)]] = segments[farthest]
    return centres


def _basis(rows: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """``[classes, width]`` with orthonormal columns (rows, if ``width`` is larger than ``classes``).

    They span the directions in which ``rows`` are largest, turned at random so that all segments are alike.
    """
    classes = rows.shape[1]
    turned = torch.linalg.qr(torch.randn(max(width, classes), max(width, classes), generator=generator)).Q
    if width > classes:
        return turned[:classes, :width]
    directions = torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)[:, :width]
    return directions @ torch.linalg.qr(torch.randn(width, width, generator=generator)).Q


def _segment_sizes(classes: int) -> list[int]:
    """Numbers in a segment, where a label has from one segment to as many as classes."""
    counts = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
    return sorted({-(-classes // count) for count in counts if count <= classes})


def _segments(latents: Tensor, size: int) -> Tensor:
    return latents.reshape(-1, size)


def _padded(labels: Tensor, segment: int) -> Tensor:
    return nn.functional.pad(labels, (0, -labels.shape[1] % segment))
