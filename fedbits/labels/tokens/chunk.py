"""A chunk of token labels to bits and back: the text, the values, and which tokens they belong to.

First comes the text, all windows of the chunk side by side, so that a batch has one token of each. Then
labels in blocks: where the token that follows in the text is among the likeliest (or that it is not), the
symbols of the values, and rank by rank the tokens themselves, less the one that is known. So a token of a
label is predicted by the one it follows, by the one that truly comes, by the likeliest of its label and by
the one ranked before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedbits.coding.grid import least_stream
from fedbits.coding.prefix import PrefixCode, PrefixTree
from fedbits.coding.range_coder import Meter, RangeReader, RangeWriter, SymbolCoder, Symbols
from fedbits.coding.tree import SymbolTree, hashed
from fedbits.errors import CorruptError
from fedbits.labels.codec import Table
from fedbits.labels.tokens.form import TokenForm

_FIRST_BLOCK, _LARGEST_BLOCK = 16, 1024  # labels; each is at most as large as all before it
_TEXT_CONTEXTS, _ID_CONTEXTS, _COLUMN_CONTEXTS = 3, 5, 6
_BATCH_WORK, _DECISION_WORK = 1600, 15  # of one decision: what a batch and what a symbol costs, in 100 ns


@dataclass(frozen=True)
class TokenChunk:
    """Labels of successive tokens.

    Attributes:
        first: the token before all of ``tokens``.
        tokens: ``[n]`` int64; label i is of what may stand where ``tokens[i]`` does.
        ids: ``[n, top]`` int64, the likeliest tokens, likeliest first.
        symbols: ``[n, columns]`` uint16, of the codec of values.
    """

    first: int
    tokens: Symbols
    ids: Symbols
    symbols: Table

    @property
    def inputs(self) -> Symbols:
        """``[n]``: the tokens after which labels are."""
        return np.concatenate([[self.first], self.tokens[:-1]])


@dataclass(frozen=True)
class ChunkCoding:
    """How chunks of a file are coded.

    Attributes:
        columns: symbols that each column of values may have.
        code: of tokens.
    """

    form: TokenForm
    columns: tuple[int, ...]
    code: PrefixCode

    def encode(self, chunk: TokenChunk) -> bytes:
        """The chunk but for its number of labels and ``first``."""
        writer = RangeWriter()
        self._code(_Coders(writer, writer, writer), chunk.first, len(chunk.tokens), chunk)
        return writer.bytes().ljust(self.least_bytes(len(chunk.tokens)), b"\0")

    def decode(self, stream: bytes, first: int, count: int) -> TokenChunk:
        """Raises :class:`CorruptError` where no encoder writes such a chunk."""
        if not (1 <= count <= self.form.chunk and first < self.form.vocabulary):
            raise CorruptError(
                f"a chunk declares {count:,} labels after token {first:,}: there is no such chunk"
            )
        if len(stream) < self.least_bytes(count):
            raise CorruptError("a chunk declares more labels than its stream has bytes for")
        reader = RangeReader(stream)
        chunk = self._code(_Coders(reader, reader, reader), first, count, None)
        ordered = np.sort(chunk.ids, axis=1)
        if (ordered[:, 1:] == ordered[:, :-1]).any():
            raise CorruptError("a label of a chunk has one token twice")
        return chunk

    def bits(self, chunk: TokenChunk) -> dict[str, float]:
        """What the text, the values (with the true tokens' ranks) and the likeliest tokens take."""
        text, values, ids = Meter(), Meter(), Meter()
        self._code(_Coders(text, values, ids), chunk.first, len(chunk.tokens), chunk)
        return {"text": text.bits, "values": values.bits, "tokens": ids.bits}

    def least_bytes(self, count: int) -> int:
        """Of a chunk of ``count`` labels, whatever they are: so that work is paid for in bytes."""
        depth, blocks = self.code.depth, sum(1 for _ in _blocks(count))
        bits = sum((levels - 1).bit_length() for levels in self._levels)
        batches = depth * (min(count, self.form.window) + blocks * self.form.top) + blocks * bits
        decisions = depth * (1 + self.form.top) + bits
        return least_stream(_BATCH_WORK * batches + _DECISION_WORK * decisions * count)

    @property
    def _levels(self) -> tuple[int, ...]:
        """Of the columns that come before tokens: the rank of the true one, then values."""
        return self.form.top + 1, *self.columns

    def _code(self, coders: _Coders, first: int, count: int, chunk: TokenChunk | None) -> TokenChunk:
        tokens = self._text(coders.text, first, count, None if chunk is None else chunk.tokens)
        found = TokenChunk(
            first,
            tokens,
            np.zeros((count, self.form.top), np.int64),
            np.zeros((count, len(self.columns)), np.uint16),
        )
        table, ids = _Columns(self._levels, count), _Ids(self.code, self.form.top, count)
        inputs = found.inputs
        for part in _blocks(count):
            known = None if chunk is None else (chunk.ids[part], chunk.symbols[part])
            around = inputs[part], tokens[part]
            columns = table.code(
                coders.values, around, None if known is None else _columns(tokens[part], *known)
            )
            found.symbols[part] = columns[:, 1:]
            found.ids[part] = ids.code(coders.ids, around, columns[:, 0], None if known is None else known[0])
        return found

    def _text(self, coder: SymbolCoder, first: int, count: int, known: Symbols | None) -> Symbols:
        """The tokens, one of each window at a time."""
        window, none = self.form.window, self.form.vocabulary
        rows = -(-count // window)
        grid = np.full((rows, window + 2), none, np.int64)  # two columns of what comes before
        grid[0, 1] = first
        tree = PrefixTree(self.code, _TEXT_CONTEXTS, 1, count)
        for column in range(min(window, count)):
            here = -(-(count - column) // window)  # windows that reach so far
            west_west, west = grid[:here, column], grid[:here, column + 1]
            contexts = [np.zeros_like(west), west, west << 21 | west_west]
            tokens = None if known is None else known[column::window]
            grid[:here, column + 2] = tree.code(coder, hashed(contexts, 0), np.zeros_like(west), tokens)
        return grid[:, 2:].reshape(-1)[:count]


@dataclass(frozen=True)
class _Coders:
    """Of the parts of a chunk: one and the same, unless bits are only counted."""

    text: SymbolCoder
    values: SymbolCoder
    ids: SymbolCoder


class _Columns:
    """Ranks of true tokens, and symbols of values."""

    def __init__(self, levels: Sequence[int], count: int) -> None:
        self._levels = levels
        self._trees = {
            size: SymbolTree(_COLUMN_CONTEXTS, size, count * list(levels).count(size)) for size in set(levels)
        }

    def code(self, coder: SymbolCoder, around: tuple[Symbols, Symbols], known: Symbols | None) -> Symbols:
        """``[m, columns]``."""
        before, after = around
        found = np.zeros((len(before), len(self._levels)), np.int64)
        for column, levels in enumerate(self._levels):
            west, west_west = (found[:, max(column - back, 0)] for back in (1, 2))
            contexts = [
                np.zeros_like(before),
                before,
                after,
                west,
                west << 16 | west_west,
                found[:, 0] << 16 | west,
            ]
            place = [context << 12 | column for context in contexts]
            found[:, column] = self._trees[levels].code(
                coder, hashed(place, 0), None if known is None else known[:, column]
            )
        return found


class _Ids:
    """Which tokens are the likeliest."""

    def __init__(self, code: PrefixCode, top: int, count: int) -> None:
        self._top, self._none = top, len(code.lengths)
        self._tree = PrefixTree(code, _ID_CONTEXTS, top, top * count)

    def code(
        self, coder: SymbolCoder, around: tuple[Symbols, Symbols], true: Symbols, known: Symbols | None
    ) -> Symbols:
        """``[m, top]``, of labels whose true token has rank ``true`` (``top`` where it has none)."""
        before, after = around
        found = np.full((len(before), self._top + 1), self._none, np.int64)  # a column before the first
        for rank in range(self._top):
            found[:, rank + 1] = after
            who = np.flatnonzero(true != rank)
            likeliest = found[who, 1] if rank else found[who, 0]
            contexts = [np.zeros_like(who), before[who], after[who], found[who, rank], likeliest]
            found[who, rank + 1] = self._tree.code(
                coder,
                hashed(contexts, 0),
                np.full_like(who, rank),
                None if known is None else known[who, rank],
            )
        return found[:, 1:]


def _columns(tokens: Symbols, ids: Symbols, symbols: Table) -> Symbols:
    """Ranks of true tokens, and symbols: ``[m, columns]``."""
    hit: NDArray[np.bool_] = ids == tokens[:, None]
    ranks = np.where(hit.any(1), hit.argmax(1), ids.shape[1])
    return np.column_stack([ranks, symbols.astype(np.int64)])


def _blocks(count: int) -> Iterator[slice]:
    start = 0
    while start < count:
        stop = min(count, start + min(max(_FIRST_BLOCK, start), _LARGEST_BLOCK))
        yield slice(start, stop)
        start = stop
