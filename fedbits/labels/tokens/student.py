"""Students of token labels: trained window by window, and tested by perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedbits.errors import ConfigError
from fedbits.labels.tokens.dataset import TokenWindows, Window
from fedbits.labels.tokens.loss import divergence
from fedbits.labels.tokens.text import TokenSource
from fedbits.progress import SILENT, Progress

Loss = Callable[[Tensor, Window], Tensor]  # logits [b, t, v] and a batch of windows to a number
_WARM = 0.1  # share of the steps in which the learning rate grows


@dataclass(frozen=True)
class TrainConfig:
    """How a student is trained: by AdamW, up to ``learning_rate``, on ``batch`` windows a step."""

    steps: int = 500
    batch: int = 4
    learning_rate: float = 1e-3
    seed: int = 0


def soft_loss(tail: Tensor) -> Loss:
    """The divergence from labels under ``tail`` ``[vocabulary]``."""

    def loss(logits: Tensor, batch: Window) -> Tensor:
        _, ids, probabilities, rest = (part.to(logits.device) for part in batch)
        return divergence(logits, ids, probabilities, rest, tail.to(logits.device)).mean()

    return loss


def hard_loss(logits: Tensor, batch: Window) -> Tensor:
    """The cross-entropy of the tokens that follow: what training without labels minimises."""
    targets = batch[0][:, 1:].to(logits.device)
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def train(
    student: nn.Module, windows: TokenWindows, loss: Loss, config: TrainConfig, progress: Progress = SILENT
) -> None:
    """Train ``student``, which gives logits of ``input_ids`` as models of ``transformers`` do.

    Raises:
        ConfigError: there are fewer windows than a batch has.
    """
    optimizer = torch.optim.AdamW(student.parameters(), config.learning_rate, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, config.steps))
    student.train()
    batches = _batches(windows, config.batch)
    with progress.task("training", config.steps) as task:
        for _ in range(config.steps):
            batch = next(batches)
            place = next(student.parameters()).device
            found = loss(student(input_ids=batch[0][:, :-1].to(place), use_cache=False).logits, batch)
            optimizer.zero_grad()
            found.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            task.advance(note=f"loss {float(found.detach()):.3f}")


def _batches(windows: TokenWindows, size: int) -> Iterator[Window]:
    """Batches of windows, epoch after epoch; what is left of an epoch is left out."""
    if len(windows) < size:
        raise ConfigError(f"the labels have {len(windows):,} whole windows, fewer than a batch of {size}")
    epoch = 0
    while True:
        windows.set_epoch(epoch)
        held: list[Window] = []
        for window in windows:
            held.append(window)
            if len(held) == size:
                yield tuple(torch.stack(parts) for parts in zip(*held, strict=True))  # type: ignore[misc]
                held = []
        epoch += 1


def _rate(step: int, steps: int) -> float:
    """Of the largest learning rate: linearly up, then down as a cosine to a tenth."""
    warm = max(1, round(_WARM * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.55 + 0.45 * math.cos(math.pi * (step - warm) / max(1, steps - warm))


@torch.inference_mode()
def perplexity(logits: Callable[[Tensor], Tensor], source: TokenSource, window: int) -> float:
    """Of all tokens of ``source`` but the first, each predicted from those before it in its window."""
    total = 0.0
    for start in range(0, source.labels, window):
        stop = min(start + window, source.labels)
        tokens = torch.tensor([int(token) for token in source.ids[start : stop + 1]])
        found = logits(tokens[None, :-1])[0].float()
        total += float(nn.functional.cross_entropy(found, tokens[1:].to(found.device), reduction="sum"))
    return math.exp(min(total / source.labels, 700.0))
