"""Sheets: every sample where it belongs, pixel for pixel."""

import numpy as np
import pytest
import torch

from fedbits.data import DataSpec, TensorData
from fedbits.errors import ConfigError
from fedbits.sheet import HEAT, MARGIN, PAPER, draw


def images(counts, channels=1, side=4):
    spec = DataSpec("npz:test", (channels, side, side), len(counts), (0.5,) * channels, (0.25,) * channels)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    values = torch.arange(len(labels) * spec.elements) * 37 % 256
    return TensorData(spec, values.reshape(-1, *spec.shape).to(torch.uint8), labels)


def contains(sheet, tile):
    """Whether ``tile`` is somewhere in ``sheet``."""
    windows = np.lib.stride_tricks.sliding_window_view(sheet, tile.shape)[:, :, 0]
    return bool((windows == tile).all(axis=(2, 3, 4)).any())


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_shown_as_they_are_stored(channels):
    data = images([2, 3], channels)
    sheet = np.asarray(draw(data, scale=2))
    for sample in data.samples:
        tile = sample.permute(1, 2, 0).numpy().repeat(2, 0).repeat(2, 1).repeat(3 // channels, 2)
        assert contains(sheet, tile)


def test_small_images_are_enlarged():
    assert draw(images([1, 1])).height >= 2 * 40


def test_a_class_without_samples_takes_no_room():
    assert draw(images([2, 0, 2]), scale=1).height == draw(images([2, 2]), scale=1).height


def test_per_class_takes_the_first_of_each():
    data = images([5, 4])
    first = torch.tensor([0, 1, 5, 6])
    assert np.array_equal(draw(data, per_class=2, scale=1), draw(data.subset(first), scale=1))


def test_many_samples_are_wrapped():
    sheet = draw(images([300]))
    assert sheet.width < 2000 and sheet.height > 2 * 48


def test_flat_samples_are_rows_of_one_heat_map():
    spec = DataSpec("npz:flat", (5,), 2, (0.0,) * 5, (1.0,) * 5, "float32")
    samples = torch.tensor([[-1.0, 0, 0, 0, 1], [1, 0, 0, 0, -1], [0, 0, 0, 0, 0]])
    sheet = np.asarray(draw(TensorData(spec, samples, torch.tensor([0, 0, 1])), scale=8))
    top = sheet[MARGIN + 1]
    cells = top[(top != PAPER).any(1)]
    colours = {tuple(colour) for colour in cells}
    assert len(colours) == 3, "the lowest, the middle and the highest value"


def test_grids_of_measurements_are_heat_maps_with_their_channels_side_by_side():
    spec = DataSpec("npz:beams", (2, 4, 4), 1, (0.0, 0.0), (1.0, 1.0), "float32")
    data = TensorData(spec, torch.linspace(-1, 1, 32).reshape(1, 2, 4, 4), torch.tensor([0]))
    sheet = draw(data, scale=10)
    assert sheet.height == 2 * MARGIN + 40 and sheet.width > 2 * MARGIN + 80


def test_what_cannot_be_drawn_is_said():
    data = images([2, 2])
    for arguments in ({"per_class": 0}, {"scale": 0}, {"scale": 4000}):
        with pytest.raises(ConfigError):
            draw(data, **arguments)
    with pytest.raises(ConfigError, match="no samples"):
        draw(data.subset(torch.tensor([], dtype=torch.int64)))


def test_maps_stand_beside_their_samples():
    data, maps = images([2, 1], side=4), torch.tensor([[[0, 3], [3, 3]], [[3, 0], [0, 0]], [[0, 0], [3, 0]]])
    sheet = np.asarray(draw(data, scale=2, maps=maps))
    dark, light = tuple(HEAT[0].astype(int)), tuple(HEAT[-1].astype(int))
    for sample, counts in zip(data.samples, maps, strict=True):
        tile = sample.permute(1, 2, 0).numpy().repeat(2, 0).repeat(2, 1).repeat(3, 2)
        beside = np.array([[light if n else dark for n in row] for row in counts.tolist()], np.uint8)
        gap = np.broadcast_to(np.array(PAPER, np.uint8), (8, 3, 3))
        assert contains(sheet, np.concatenate([tile, gap, beside.repeat(4, 0).repeat(4, 1)], axis=1))


@pytest.mark.parametrize("counts", [[3, 2], [41], [200]])
def test_a_sample_and_its_map_stay_in_one_line(counts):
    data = images(counts, side=8)
    data = TensorData(data.spec, torch.zeros_like(data.samples), data.labels)
    sheet = np.asarray(draw(data, maps=torch.ones(len(data), 2, 2, dtype=torch.int64)))
    black, light = ((sheet == colour).all(-1).sum(1) for colour in ((0, 0, 0), HEAT[-1].astype(np.uint8)))
    assert light.max() > 0 and np.array_equal(black, light)
    assert sheet.shape[1] <= 2000
