"""From a text and a teacher to a file of token labels, chunk by chunk, to be gone on with at any time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from fedbits.errors import ConfigError
from fedbits.labels.codec import CodecConfig
from fedbits.labels.tokens.chunk import TokenChunk
from fedbits.labels.tokens.file import TokenLabels, TokenWriter
from fedbits.labels.tokens.form import TokenForm
from fedbits.labels.tokens.stored import TokenHeader, TokenPart
from fedbits.labels.tokens.tail import Tail
from fedbits.labels.tokens.teacher import TokenTeacher, TopLabels, top_labels
from fedbits.labels.tokens.text import TokenSource
from fedbits.labels.tokens.values import DEFAULT, kind_named, roots_of
from fedbits.progress import SILENT, Progress


@dataclass(frozen=True)
class TokenSettings:
    """How token labels are made.

    Attributes:
        top: likeliest tokens kept of each label.
        window: tokens that the teacher sees together.
        chunk_windows: windows in a chunk.
        batch: windows that the teacher sees at once.
        fitted: labels, spread over the text, to which tail and codec are fitted, about.
        codec: of the values.
        seed: of fitting.
    """

    top: int = 20
    window: int = 256
    chunk_windows: int = 32
    batch: int = 2
    fitted: int = 4096
    codec: CodecConfig = DEFAULT
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a number is out of range, or values have no such codec."""
        kind_named(self.codec.name).check(self.codec, self.top + 1)
        if self.batch < 1 or self.fitted < 1:
            raise ConfigError(f"batch is {self.batch} and fitted {self.fitted}: expected 1 or more")

    def form(self, vocabulary: int) -> TokenForm:
        return TokenForm(vocabulary, self.top, self.window, self.chunk_windows)


@dataclass
class _Labeller:
    """A teacher's labels of a text, batch by batch, the same whenever they are asked for.

    What fitting saw is kept, so that the teacher need not say it again. A batch is always of the same
    windows, as a teacher's last bits may depend on what else is in its batch.
    """

    teacher: TokenTeacher
    source: TokenSource
    settings: TokenSettings
    kept: dict[int, TopLabels] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        return self.settings.batch * self.settings.window

    def at(self, start: int, stop: int) -> TopLabels:
        """Of one batch, labels ``start`` to ``stop`` at most."""
        if start in self.kept:
            return self.kept.pop(start)
        stop = min(stop, start + self.batch)
        whole = start + (stop - start) // self.settings.window * self.settings.window
        found = [self._windows(begin, end) for begin, end in ((start, whole), (whole, stop)) if begin < end]
        if len(found) == 1:
            return found[0]
        return TopLabels(
            torch.cat([labels.ids for labels in found]),
            torch.cat([labels.probabilities for labels in found]),
            np.sum([labels.tail for labels in found], axis=0),
        )

    def _windows(self, start: int, stop: int) -> TopLabels:
        ids = torch.from_numpy(np.asarray(self.source.ids[start:stop]).astype(np.int64))
        rows = max(1, (stop - start) // self.settings.window)
        return top_labels(self.teacher, ids.view(rows, -1), self.settings.top)

    def spread(self, form: TokenForm) -> list[tuple[int, int]]:
        """Batches to fit to, evenly over the text: where each begins, and where its chunk stops."""
        chunks, rest = divmod(self.source.labels, form.chunk)
        each = -(-form.chunk // self.batch)
        batches = chunks * each - (-rest // self.batch)
        count = min(batches, max(1, -(-self.settings.fitted // self.batch)))
        chosen = [divmod(place * batches // count, each) for place in range(count)]
        return [
            (chunk * form.chunk + batch * self.batch, min((chunk + 1) * form.chunk, self.source.labels))
            for chunk, batch in chosen
        ]

    def chunk(self, header: TokenHeader, start: int, stop: int) -> TokenChunk:
        found = [self.at(begin, stop) for begin in range(start, stop, self.batch)]
        roots = roots_of(torch.cat([labels.probabilities for labels in found]))
        tokens = np.asarray(self.source.ids[start : stop + 1]).astype(np.int64)
        return TokenChunk(
            int(tokens[0]),
            tokens[1:],
            torch.cat([labels.ids for labels in found]).numpy(),
            header.codec.symbols(roots),
        )


def make(
    path: Path,
    teacher: TokenTeacher,
    source: TokenSource,
    settings: TokenSettings = TokenSettings(),
    more: bool = False,
    progress: Progress = SILENT,
) -> TokenLabels:
    """Label a text into the file ``path``; if that was begun before, go on with it.

    Args:
        more: add the text to a finished file, whose tail and codec are kept.

    Raises:
        ConfigError: the file is of another teacher, text or form; it is finished, without ``more``; or it is
            not, with ``more``, and of another text.
    """
    labeller = _Labeller(teacher, source, settings)
    form = settings.form(teacher.vocabulary())
    source.check(form.vocabulary)
    part = TokenPart(source.name, source.labels, source.digest())
    if path.exists():
        begun = _gone_on_with(TokenLabels(path, unfinished=True), labeller, form, part, more)
    elif more:
        raise ConfigError(f"there is no {path} to add to: leave out --append")
    else:
        header = _fitted(labeller, form, progress)
        begun = _Begun(header, TokenWriter.create(path, header))
        begun.writer.part(part)
    chunks = begun.chunks
    with progress.task("labelling", part.labels, begun.done) as task:
        for start in range(begun.done, part.labels, form.chunk):
            stop = min(start + form.chunk, part.labels)
            size = begun.writer.chunk(begun.header, labeller.chunk(begun.header, start, stop))
            chunks += 1
            task.advance(stop - start, f"{size / (stop - start):.1f} bytes a token")
    begun.writer.end(begun.before + part.labels, chunks)
    return TokenLabels(path)


@dataclass(frozen=True)
class _Begun:
    """A file with labels to come: of the text, ``done`` are there; ``before`` are of other texts."""

    header: TokenHeader
    writer: TokenWriter
    done: int = 0
    before: int = 0
    chunks: int = 0


def _gone_on_with(
    labels: TokenLabels, labeller: _Labeller, form: TokenForm, part: TokenPart, more: bool
) -> _Begun:
    """Raise :class:`ConfigError` unless ``part`` is what ``labels`` lack, or may be added to them."""
    header, path = labels.header, labels.path
    if header.digest != labeller.teacher.digest():
        raise ConfigError(
            f"the labels in {path} are of another teacher, {header.teacher}: give another --out"
        )
    if header.form != form or header.codec.config != labeller.settings.codec:
        raise ConfigError(
            f"the labels in {path} are {header.form}, {header.codec.config}: give the same, or another --out"
        )
    if labels.finished and not more:
        raise ConfigError(f"{path} is finished: add a text with --append, or give another --out")
    if not labels.finished and labels.parts and labels.parts[-1].digest != part.digest:
        raise ConfigError(
            f"{path} is not finished, and of another text, {labels.parts[-1].name}: go on with that one first"
        )
    done = 0 if labels.finished else labels.done
    writer = TokenWriter.reopen(labels)
    if labels.finished or not labels.parts:
        writer.part(part)
    return _Begun(header, writer, done, labels.labels - done, len(labels))


def _fitted(labeller: _Labeller, form: TokenForm, progress: Progress) -> TokenHeader:
    """A header whose tail and codec are fitted to labels spread over the text."""
    settings = labeller.settings
    chosen = labeller.spread(form)
    seen = []
    with progress.task("fitting", len(chosen)) as task:
        for start, stop in chosen:
            labels = labeller.at(start, stop)
            labeller.kept[start] = labels
            seen.append(labels)
            task.advance()
        roots = roots_of(torch.cat([labels.probabilities for labels in seen]))
        codec = kind_named(settings.codec.name).fit(settings.codec, roots, settings.seed)
    tail = Tail.of(np.sum([labels.tail for labels in seen], axis=0))
    return TokenHeader(form, labeller.teacher.name, labeller.teacher.digest(), tail, codec)
