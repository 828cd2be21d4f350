"""What students learn: to be near a label that is known token by token at the top, and by its tail below."""

from __future__ import annotations

import torch
from torch import Tensor


def divergence(logits: Tensor, ids: Tensor, probabilities: Tensor, rest: Tensor, tail: Tensor) -> Tensor:
    """The Kullback-Leibler divergence of a student from labels, in nats, ``[...]``.

    A label is ``probabilities`` of ``ids``, and for all others ``rest``, spread over them as ``tail`` is. No
    distribution over the vocabulary is made but the student's own.

    Args:
        logits: the student's, ``[..., vocabulary]``.
        ids: ``[..., top]`` int64; ``probabilities`` alike.
        rest: ``[...]``.
        tail: ``[vocabulary]``, positive, summing to 1.
    """
    student = logits.float().log_softmax(-1)
    among = tail[ids]
    entropies = tail * tail.log()
    outside = (1 - among.sum(-1)).clamp(min=torch.finfo(tail.dtype).tiny)
    top = (probabilities * (probabilities.log() - student.gather(-1, ids))).sum(-1)
    own = entropies.sum() - entropies[ids].sum(-1)  # sum of tail log tail over the others
    crossed = student @ tail - (among * student.gather(-1, ids)).sum(-1)
    return top + rest * ((own - crossed) / outside + (rest / outside).log())


def spread(ids: Tensor, probabilities: Tensor, rest: Tensor, tail: Tensor) -> Tensor:
    """The whole distributions ``[n, vocabulary]`` that :func:`divergence` compares with."""
    shares = tail.expand(len(ids), -1).scatter(1, ids, 0.0)
    shares = shares * (rest / shares.sum(1))[:, None]
    return shares.scatter(1, ids, probabilities)
