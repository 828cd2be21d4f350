"""Samples as a picture: one row a class, so that a person can see what a few kilobytes hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fedbits.data.spec import DataSpec
from fedbits.data.tensors import Labelled
from fedbits.errors import ConfigError

Pixels = NDArray[np.uint8]  # [height, width, 3]

PAPER, INK = (247, 246, 243), (84, 82, 78)
# From low to high: even steps in lightness, told apart without colour vision.
HEAT = np.array(
    [(24, 29, 61), (43, 79, 129), (44, 136, 145), (122, 188, 130), (250, 232, 158)], dtype=np.float64
)
MARGIN, LABEL_GAP, FONT_SIZE = 24, 12, 13
TILE = 48  # pixels a small sample is enlarged to, about
WIDEST = 1600  # pixels a line of tiles may take before samples are shown smaller, or wrapped
MAX_PIXELS = 50_000_000


@dataclass(frozen=True)
class _Layout:
    """Sizes in pixels: ``tile`` is (height, width) of one sample, ``columns`` samples make one line."""

    tile: tuple[int, int]
    columns: int
    gap: int
    row_gap: int
    label_width: int

    def block_height(self, count: int) -> int:
        """The height of a class of ``count`` samples."""
        lines = math.ceil(count / self.columns)
        return lines * self.tile[0] + (lines - 1) * self.gap

    def size(self, counts: list[int]) -> tuple[int, int]:
        """(width, height) of the sheet for classes of these ``counts``."""
        columns = min(self.columns, max(counts))
        width = 2 * MARGIN + self.label_width + columns * self.tile[1] + (columns - 1) * self.gap
        blocks = sum(self.block_height(count) for count in counts)
        return width, 2 * MARGIN + blocks + (len(counts) - 1) * self.row_gap


def draw(
    data: Labelled, per_class: int | None = None, scale: int | None = None, maps: Tensor | None = None
) -> Image.Image:
    """A sheet of the classes that ``data`` has, in rows: images as they are, other samples as heat maps.

    Args:
        data: real or distilled samples.
        per_class: at most so many samples of each class, the first ones; all when left out.
        scale: pixels to a pixel (nearest neighbour); chosen for legibility when left out.
        maps: shown beside each sample, or below a flat one: counts ``[n, rows, columns]`` of its places.

    Raises:
        ConfigError: there is nothing to draw, an argument is below 1, or the sheet would be too large.
    """
    for name, value in (("per_class", per_class), ("scale", scale)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}: expected 1 or more")
    index = [torch.nonzero(data.labels == c).flatten()[:per_class] for c in range(data.spec.classes)]
    counts = {c: len(i) for c, i in enumerate(index) if len(i)}
    if not counts:
        raise ConfigError("the set holds no samples, so there is nothing to draw")
    tiles_each = 1 if maps is None else 2
    counts = {label: tiles_each * count for label, count in counts.items()}
    layout = _lay_out(data.spec, list(counts), max(counts.values()), scale, tiles_each)
    width, height = layout.size(list(counts.values()))
    if width * height > MAX_PIXELS:
        many = sum(counts.values()) // tiles_each
        raise ConfigError(
            f"a sheet of {many:,} samples would have {width} x {height} pixels: show fewer per class"
        )
    sheet = Image.new("RGB", (width, height), PAPER)
    shown = torch.cat(index)
    pictures = _tiles(data, shown, layout.tile)
    if maps is not None:
        beside = _map_tiles(maps[shown], int(maps.max()), layout.tile)
        pictures = [tile for pair in zip(pictures, beside, strict=True) for tile in pair]
        _draw_legend(sheet, int(maps.max()))
    tiles = iter(pictures)
    top = MARGIN
    for label, count in counts.items():
        _draw_class(sheet, _name(data.spec, label), list(islice(tiles, count)), layout, top)
        top += layout.block_height(count) + layout.row_gap
    return sheet


def _name(spec: DataSpec, label: int) -> str:
    return spec.class_names[label] if label < len(spec.class_names) else str(label)


def _lay_out(spec: DataSpec, labels: list[int], most: int, scale: int | None, together: int) -> _Layout:
    """Of up to ``most`` tiles of a class, of which so many stay ``together`` in a line."""
    font = ImageFont.load_default(FONT_SIZE)
    label_width = LABEL_GAP + math.ceil(max(font.getlength(_name(spec, label)) for label in labels))
    if not spec.is_grid:  # a sample is a line of cells, and the samples of a class lie under each other
        cell = scale or max(1, min(16, WIDEST // 2 // spec.elements))
        return _Layout((max(cell, 14 if most == 1 else 6), cell * spec.elements), 1, 1, 8, label_width)
    height, width = _grid_size(spec)
    if scale is None:
        fitting = WIDEST // (min(most, 20) * width)
        scale = max(1, min(round(TILE / max(height, spec.grid_shape[2])), fitting))
    groups, widest_line = most // together, max(1, WIDEST // (scale * width * together))
    columns = together * math.ceil(groups / math.ceil(groups / widest_line))
    return _Layout((scale * height, scale * width), columns, 3, 9, label_width)


def _is_picture(spec: DataSpec) -> bool:
    return spec.is_grid and spec.dtype == "uint8" and spec.shape[0] in (1, 3)


def _grid_size(spec: DataSpec) -> tuple[int, int]:
    """(height, width) of one sample; the channels of what is not a picture stand side by side."""
    channels, height, width = spec.grid_shape
    return height, width if _is_picture(spec) else channels * width


def _tiles(data: Labelled, index: Tensor, size: tuple[int, int]) -> list[Image.Image]:
    samples = data.batch(index).samples.detach().cpu()
    if _is_picture(data.spec):
        pictures = data.spec.denormalise(samples).permute(0, 2, 3, 1).numpy()
        pixels = np.repeat(pictures, 3 // pictures.shape[-1], axis=-1)
    else:
        channels, height, width = data.spec.grid_shape
        lines = samples.reshape(-1, channels, height, width).permute(0, 2, 1, 3)
        pixels = _heat(lines.reshape(-1, height, channels * width).numpy())
    return [Image.fromarray(p).resize((size[1], size[0]), Image.Resampling.NEAREST) for p in pixels]


def _map_tiles(maps: Tensor, most: int, size: tuple[int, int]) -> list[Image.Image]:
    """Counts up to ``most`` as colours, each map over the whole of a tile."""
    colours = _colours(maps.cpu().numpy() / max(most, 1))
    return [Image.fromarray(c).resize((size[1], size[0]), Image.Resampling.NEAREST) for c in colours]


def _draw_legend(sheet: Image.Image, most: int) -> None:
    """Below all rows: what the colours of maps mean, as far as there is room."""
    text = f"beside each: numbers stored for each place, 0 (dark) to {most} (light)"
    font = ImageFont.load_default(FONT_SIZE - 2)
    place = (sheet.width - MARGIN, sheet.height - MARGIN // 2)
    if font.getlength(text) <= sheet.width - 2 * MARGIN:
        ImageDraw.Draw(sheet).text(place, text, fill=INK, font=font, anchor="rm")


def _heat(values: NDArray[np.float32]) -> Pixels:
    """Colours for normalised values; the outermost percent at each end shares the end's colour."""
    low, high = np.percentile(values, (1, 99))
    return _colours(np.clip((values - low) / max(high - low, 1e-12), 0, 1))


def _colours(shares: NDArray[np.floating[Any]]) -> Pixels:
    """Of values from 0 to 1."""
    level = shares * (len(HEAT) - 1)
    steps = np.arange(len(HEAT))
    return np.stack([np.interp(level, steps, HEAT[:, c]) for c in range(3)], axis=-1).round().astype(np.uint8)


def _draw_class(sheet: Image.Image, name: str, tiles: list[Image.Image], layout: _Layout, top: int) -> None:
    height, width = layout.tile
    start = MARGIN + layout.label_width
    middle = top + (height if layout.columns > 1 else layout.block_height(len(tiles))) / 2
    font = ImageFont.load_default(FONT_SIZE)
    ImageDraw.Draw(sheet).text((start - LABEL_GAP, middle), name, fill=INK, font=font, anchor="rm")
    for number, tile in enumerate(tiles):
        line, column = divmod(number, layout.columns)
        sheet.paste(tile, (start + column * (width + layout.gap), top + line * (height + layout.gap)))
