"""Mosaics of crops: of each class, the surest first, four to a large image."""

import torch
from making import make_data
from torch import nn

from fedbits.selection.mosaics import mosaics


class Brightness(nn.Module):
    """A teacher that takes bright samples for class 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([-1.0, 1.0]))

    def forward(self, samples):
        return samples.flatten(1).mean(1, keepdim=True) * self.weight


def test_small_images_become_their_surest_crops_best_first():
    data = make_data((1, 8, 8), [12, 12])
    made = mosaics(data, Brightness(), 0)
    assert made.class_counts() == [12, 12] and made.samples.dtype == torch.uint8
    bright = made.batch().samples.flatten(1).mean(1)
    first, second = (bright[made.labels == label] for label in (0, 1))
    assert bool((first.diff() >= -0.05).all()) and bool((second.diff() <= 0.05).all())
    assert torch.equal(made.samples, mosaics(data, Brightness(), 0).samples)


def test_large_images_are_made_of_four_crops():
    data = make_data((3, 64, 64), [8, 0])
    made = mosaics(data, Brightness(), 0)
    assert made.samples.shape == (2, 3, 64, 64) and made.class_counts() == [2, 0]


def test_flat_samples_are_put_in_order():
    data = make_data((12,), [5, 5], dtype="float32")
    made = mosaics(data, Brightness(), 0)
    own = {tuple(row.tolist()) for row in (data.samples * 1e4).round().long()}
    assert {tuple(row.tolist()) for row in (made.samples * 1e4).round().long()} == own
