"""The form of a file of token labels: how many of what, within limits that hold for every file."""

from __future__ import annotations

from dataclasses import dataclass

from fedbits.errors import ConfigError

MOST_TOP = 64
MOST_VOCABULARY = 1 << 20
MOST_WINDOW = 1 << 14
MOST_WINDOWS = 1 << 14  # of a chunk: a token of each is one batch, and counters count no more in one
MOST_CHUNK = 1 << 16  # labels; so a chunk takes bounded memory and work, whatever a file declares


@dataclass(frozen=True)
class TokenForm:
    """What all labels of a file share.

    Attributes:
        vocabulary: tokens that there are.
        top: likeliest tokens of each label, whose probabilities are stored one by one.
        window: tokens that the teacher saw together; a student learns windows of as many.
        chunk_windows: windows in a chunk, the part of a file that is decoded by itself.
    """

    vocabulary: int
    top: int = 20
    window: int = 256
    chunk_windows: int = 32

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a number is out of range."""
        _within("the vocabulary", self.vocabulary, 2, MOST_VOCABULARY)
        _within("the number of likeliest tokens", self.top, 1, min(MOST_TOP, self.vocabulary - 1))
        _within("the window", self.window, 1, MOST_WINDOW)
        _within("the number of windows in a chunk", self.chunk_windows, 1, MOST_WINDOWS)
        _within("the number of labels in a chunk", self.chunk, 1, MOST_CHUNK)

    @property
    def chunk(self) -> int:
        """Labels of a chunk, but for the last of a text."""
        return self.window * self.chunk_windows

    @property
    def float16_bytes(self) -> int:
        """What the logits of one token take uncompressed."""
        return 2 * self.vocabulary


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{name} of token labels is {value:,}: expected {least:,} to {most:,}")
