"""What fedbits raises on wrong input: one clear sentence, the offending value, what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FedbitsError(Exception):
    """Base of every error a user can cause; its message is fit to be printed as it is."""


class ConfigError(FedbitsError):
    """A name, an option or a combination of options that does not exist or cannot work."""


class DataError(FedbitsError):
    """A data set that is unknown, not there, or not of the expected form."""


class BudgetError(FedbitsError):
    """A budget that cannot be read, or that is too small to hold one sample of every class."""


class MismatchError(FedbitsError):
    """Two things that must describe the same task (a set and its test data, say) do not."""


class FormatError(FedbitsError):
    """A blob that cannot be decoded; each cause has its own subclass."""


class NotABlobError(FormatError):
    """The bytes do not start as a fedbits blob does."""


class VersionError(FormatError):
    """The blob was written by a later version of the format than this one reads."""


class TruncatedError(FormatError):
    """There are fewer bytes than the header declares."""


class CorruptError(FormatError):
    """The bytes are whole in number, but wrong: checksum, message or declared values do not hold."""


class LimitError(FormatError):
    """The blob declares more than the receiver is willing to decode."""


def unknown(what: str, name: str, known: Iterable[str], place: str | None = None) -> str:
    """That ``name`` is not one of the ``known``, and which it may have been; ``place`` is where it stands."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, 1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown {what} {place or name!r}{hint}: expected one of {', '.join(known)}"
