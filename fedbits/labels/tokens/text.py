"""Texts as tokens, on disk: however long they are, only what is looked at is in memory."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedbits.errors import DataError

Tokenize = Callable[[str], list[int]]

_BLOCK = 1 << 20  # characters, and tokens, at a time


@dataclass(frozen=True)
class TokenSource:
    """The tokens of a text.

    Attributes:
        name: of the text, for people.
        ids: ``[n]`` integers, mapped from disk or in memory.
    """

    name: str
    ids: NDArray[np.integer]

    def __post_init__(self) -> None:
        """Raise :class:`DataError` where there is no token with another after it."""
        if self.ids.ndim != 1 or not np.issubdtype(self.ids.dtype, np.integer) or len(self.ids) < 2:
            raise DataError(f"{self.name} holds no tokens: expected a row of two integers or more")

    @property
    def labels(self) -> int:
        """Tokens that have another before them."""
        return len(self.ids) - 1

    def digest(self) -> bytes:
        """SHA-256 of all tokens as 32-bit numbers, little-endian."""
        found = hashlib.sha256()
        for start in range(0, len(self.ids), _BLOCK):
            found.update(np.asarray(self.ids[start : start + _BLOCK]).astype("<u4").tobytes())
        return found.digest()

    def check(self, vocabulary: int) -> None:
        """Raise :class:`DataError` unless all tokens are below ``vocabulary``."""
        for start in range(0, len(self.ids), _BLOCK):
            part = self.ids[start : start + _BLOCK]
            if part.min() < 0 or part.max() >= vocabulary:
                raise DataError(
                    f"{self.name} has tokens beyond 0 to {vocabulary - 1:,}: another tokenizer's?"
                )


@contextmanager
def opened(path: Path, tokenize: Tokenize | None) -> Iterator[TokenSource]:
    """The tokens of a text file (UTF-8), or of an ``.npy`` file of token numbers.

    A text is cut into blocks at spaces, so its tokens follow from it alone; they wait in a temporary file.

    Raises:
        DataError: the file cannot be read, is not of that kind, or too short.
    """
    try:
        if path.suffix == ".npy":
            yield TokenSource(path.name, np.load(path, mmap_mode="r", allow_pickle=False))
            return
        if tokenize is None:
            raise DataError(
                f"{path} is a text, and the teacher has no tokenizer: give an .npy file of tokens"
            )
        with tempfile.TemporaryFile() as scratch:
            count = 0
            for block in _blocks(path):
                ids = np.asarray(tokenize(block), dtype="<u4")
                scratch.write(ids.tobytes())
                count += len(ids)
            if not count:
                raise DataError(f"{path} holds no text")
            scratch.flush()
            yield TokenSource(path.name, np.memmap(scratch, "<u4", "r", shape=(count,)))
    except OSError as error:
        raise DataError(f"cannot read the text {path}: {error.strerror or error}") from error
    except ValueError as error:  # of NumPy, for other files; of UTF-8
        raise DataError(f"{path} is neither text in UTF-8 nor an .npy file of tokens: {error}") from error


def _blocks(path: Path) -> Iterator[str]:
    """The text in parts that end before a space, where they have one."""
    left = ""
    with path.open(encoding="utf-8", newline="") as file:
        while read := file.read(_BLOCK):
            left += read
            cut = left.rfind(" ", 1)
            if cut > 0:
                yield left[:cut]
                left = left[cut:]
    if left:
        yield left
