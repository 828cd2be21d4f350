"""A teacher of token labels that takes no time, and a text of its tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fedbits.labels.codec import CodecConfig
from fedbits.labels.tokens.making import TokenSettings
from fedbits.labels.tokens.teacher import TokenTeacher
from fedbits.labels.tokens.text import TokenSource

VOCABULARY, TOP, WINDOW = 40, 4, 8
SETTINGS = TokenSettings(TOP, WINDOW, 4, 2, 64, CodecConfig("vqae", 4, 4, 16))  # one segment: fitted at once


class Causal(nn.Module):
    """Logits from the token and the mean of those before it."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.inputs = nn.Parameter(torch.randn(VOCABULARY, 8, generator=generator))
        self.outputs = nn.Parameter(torch.randn(8, VOCABULARY, generator=generator))

    def forward(self, tokens: Tensor) -> Tensor:
        seen = self.inputs[tokens]
        means = seen.cumsum(1) / torch.arange(1, tokens.shape[1] + 1)[:, None]
        return (seen + means) @ self.outputs


def teacher(seed: int = 0) -> TokenTeacher:
    network = Causal(seed)
    return TokenTeacher("tiny", network, network, lambda text: [ord(letter) % VOCABULARY for letter in text])


def source(count: int = 150, seed: int = 0, name: str = "text") -> TokenSource:
    """``count`` tokens, low numbers more often."""
    drawn = np.random.default_rng(seed).random(count) ** 2
    return TokenSource(name, (drawn * VOCABULARY).astype(np.int64))


def write_tokens(path: Path, count: int = 150) -> Path:
    np.save(path, source(count).ids)
    return path
