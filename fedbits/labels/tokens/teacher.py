"""A causal language model as a teacher of token labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedbits.errors import ConfigError

_ROWS = 256  # of logits that are worked on at once: a vocabulary is large


@dataclass(frozen=True)
class TokenTeacher:
    """A model that says for each token which may come next.

    Attributes:
        name: for people.
        network: of which :meth:`digest` is.
        logits: token numbers ``[b, t]`` int64 to ``[b, t, vocabulary]``, each from those up to its own.
        tokenize: text to token numbers, if it can.
    """

    name: str
    network: nn.Module
    logits: Callable[[Tensor], Tensor]
    tokenize: Callable[[str], list[int]] | None = None

    def digest(self) -> bytes:
        """SHA-256 of the weights."""
        found = hashlib.sha256()
        for name, value in self.network.state_dict().items():
            found.update(name.encode())
            found.update(value.cpu().contiguous().view(torch.uint8).numpy().data)
        return found.digest()

    @torch.inference_mode()
    def vocabulary(self) -> int:
        """Tokens that it knows."""
        return self.logits(torch.zeros(1, 1, dtype=torch.int64)).shape[2]


@dataclass(frozen=True)
class TopLabels:
    """What is kept of a teacher's logits.

    Attributes:
        ids: ``[n, top]`` int64, likeliest first.
        probabilities: ``[n, top]`` float32.
        tail: ``[vocabulary]`` float64, the sum over labels of what other tokens have.
    """

    ids: Tensor
    probabilities: Tensor
    tail: NDArray[np.float64]


@torch.inference_mode()
def top_labels(teacher: TokenTeacher, tokens: Tensor, top: int) -> TopLabels:
    """Labels of all of ``tokens`` ``[b, t]``, one row after the other.

    Raises:
        ConfigError: the teacher's logits are not finite.
    """
    logits = teacher.logits(tokens).flatten(0, 1)
    ids, values = [], []
    tail = torch.zeros(logits.shape[1], dtype=torch.float64)
    for part in logits.split(_ROWS):
        shares = part.float().softmax(1)
        if not bool(shares.isfinite().all()):
            raise ConfigError(f"the teacher {teacher.name} gives logits that are not finite")
        found = shares.topk(top, dim=1)
        ids.append(found.indices.cpu())
        values.append(found.values.cpu())
        tail += shares.scatter(1, found.indices, 0.0).sum(0, dtype=torch.float64).cpu()
    return TopLabels(torch.cat(ids), torch.cat(values), tail.numpy())
