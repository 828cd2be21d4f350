"""Mosaics of the crops that a teacher finds most typical (RDED, Sun et al., CVPR 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedbits.data.tensors import TensorData
from fedbits.labels.views import Views, ViewsConfig
from fedbits.rng import torch_stream

_CANDIDATES = 300  # samples of a class that are looked at, as published
_LARGE = 64  # pixels of a side from which a mosaic has four pieces; smaller ones are single crops
_CROPS = 5  # of each sample
_BATCH = 512


def mosaics(data: TensorData, teacher: nn.Module, seed: int) -> TensorData:
    """Real images made of crops of ``data``, of each class the most typical first.

    Of each of up to 300 samples of a class the crop is kept whose class ``teacher`` is surest of; the best
    of those are put together, four to an image of 64 pixels or more, one to a smaller one. Samples without
    height and width are only put in order.
    """
    pieces = 2 if data.spec.is_grid and min(data.spec.shape[1:]) >= _LARGE else 1
    made, labels = [], []
    for label, index in enumerate(data.class_indices()):
        generator = torch_stream(seed, "mosaics", label)
        index = index[torch.randperm(len(index), generator=generator)[:_CANDIDATES].to(index.device)]
        if len(index):
            images = _assembled(_best_crops(data.subset(index), teacher, seed), pieces)
            made.append(images)
            labels.append(torch.full((len(images),), label))
    return TensorData(data.spec, data.spec.denormalise(torch.cat(made)), torch.cat(labels))


def _best_crops(data: TensorData, teacher: nn.Module, seed: int) -> Tensor:
    """Of each sample its surest crop, the surest of all first: ``[n, *shape]``, normalised, on the CPU."""
    views = Views(ViewsConfig(_CROPS, seed % (1 << 32), 0.5, 0, False, "none"), len(data))
    device = next(teacher.parameters()).device

    def samples(index: Tensor) -> Tensor:
        return data.batch(index.to(data.labels.device)).samples

    crops, losses = [], []
    with torch.no_grad():
        for index in torch.arange(len(data)).split(_BATCH // _CROPS):
            seen = torch.stack([views.make(samples, epoch, index) for epoch in range(_CROPS)])
            logits = teacher(seen.flatten(0, 1).to(device)).float().cpu()
            labels = data.labels[index.to(data.labels.device)].cpu().repeat(_CROPS)
            loss = F.cross_entropy(logits, labels, reduction="none")
            least = loss.view(_CROPS, -1).min(0)
            crops.append(seen.cpu()[least.indices, torch.arange(len(index))])
            losses.append(least.values)
    return torch.cat(crops)[torch.cat(losses).argsort()]


def _assembled(crops: Tensor, pieces: int) -> Tensor:
    """Images of ``pieces`` times ``pieces`` crops each; of too few, one."""
    if pieces == 1 or len(crops) < pieces**2:
        return crops
    _, channels, height, width = crops.shape
    count = len(crops) // pieces**2
    small = F.interpolate(
        crops[: count * pieces**2], (height // pieces, width // pieces), mode="bilinear", antialias=True
    )
    grid = small.view(count, pieces, pieces, channels, height // pieces, width // pieces)
    whole = grid.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, height // pieces * pieces, -1)
    return F.interpolate(whole, (height, width), mode="nearest")
