"""Token labels as a data set of PyTorch: window by window, in order or shuffled, a chunk in memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from fedbits.labels.tokens.file import Targets, TokenLabels
from fedbits.rng import torch_stream

Window = tuple[Tensor, Tensor, Tensor, Tensor]


class TokenWindows(IterableDataset[Window]):
    """Whole windows of a file: ``(tokens [t + 1], ids [t, k], probabilities [t, k], rest [t])``.

    Label i is of what comes after ``tokens[i]``, where ``tokens[i + 1]`` is. One chunk at a time is decoded;
    several workers of a ``DataLoader`` share the chunks. The last window of a text, if shorter, is left out.
    """

    def __init__(self, labels: TokenLabels, seed: int | None = None) -> None:
        """``seed`` shuffles the chunks, and the windows of each; None keeps the order of the text."""
        self.labels, self.seed, self.epoch = labels, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Each epoch is shuffled in its own way."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(count // self.labels.header.form.window for count in self.labels.counts)

    def __iter__(self) -> Iterator[Window]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for number in self._shuffled(len(self.labels), "chunks")[first::step]:
            windows = list(windows_of(self.labels.targets(number), self.labels.header.form.window))
            for place in self._shuffled(len(windows), "windows", number):
                yield windows[place]

    def _shuffled(self, count: int, *purpose: str | int) -> list[int]:
        if self.seed is None:
            return list(range(count))
        generator = torch_stream(self.seed, "token labels", self.epoch, *purpose)
        return torch.randperm(count, generator=generator).tolist()


def windows_of(targets: Targets, window: int) -> Iterator[Window]:
    """The whole windows of a chunk."""
    for start in range(0, len(targets.rest) - window + 1, window):
        part = slice(start, start + window)
        yield (
            targets.tokens[start : start + window + 1],
            targets.ids[part],
            targets.probabilities[part],
            targets.rest[part],
        )
