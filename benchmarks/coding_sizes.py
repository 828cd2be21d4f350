"""Bytes of symbol grids: our coders beside general and image compressors.

    python benchmarks/coding_sizes.py                    # real images, quantised, and noise
    python benchmarks/coding_sizes.py --blobs a.fbits    # and the symbols of distilled sets
    python benchmarks/coding_sizes.py --kinds structured # only indices and sparse coefficients

Every compressor is lossless and at its strongest setting. Image formats get one tiled sheet of all samples,
in the better of two forms: symbols as they are, or spread over 0-255. General compressors get the better of
packed bits and one byte a symbol. Needs the extra ``peers``. Real images are drawn at random from the test
data (the network that fedbits ships was trained on training data), 100 of each data set, by class. Ours
is the whole stream; in a blob, the container adds 31 bytes and class counts up to 12.
"""

from __future__ import annotations

import argparse
import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import imagecodecs
import numpy as np
import record
import torch
import zstandard
from coding_structured import coordinates_bytes, order_zero_bits, sparse_coefficients, vq_indices
from numpy.typing import NDArray
from PIL import Image

from fedbits import container, data
from fedbits.coding import CODERS, Meter, RangeWriter, code_grid, smallest_coder
from fedbits.parameterization import PixelParameterization

Grid = NDArray[np.int64]
KINDS = ["real", "noise", "structured"]

GENERAL: dict[str, Callable[[bytes], bytes]] = {
    "packed": lambda raw: raw,
    "zlib -9": lambda raw: zlib.compress(raw, 9),
    "bzip2 -9": lambda raw: bz2.compress(raw, 9),
    "zstd -22": lambda raw: zstandard.ZstdCompressor(level=22).compress(raw),
    "lzma -9e": lambda raw: lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME),
    "brotli -11": lambda raw: brotli.compress(raw, quality=11, lgwin=24),
}


def packed(grid: Grid, bits: int) -> bytes:
    """``bits`` bits a symbol, most significant first."""
    places = np.arange(bits - 1, -1, -1)
    return np.packbits((grid.reshape(-1, 1) >> places & 1).astype(np.uint8)).tobytes()


def sheet(grid: Grid) -> NDArray[np.uint8]:
    """All samples of ``[n, channels, height, width]`` on one near-square picture."""
    n, channels, height, width = grid.shape
    columns = int(np.ceil(n**0.5))
    rows = -(-n // columns)
    picture = np.zeros((rows * columns, height, width, channels), np.uint8)
    picture[:n] = grid.transpose(0, 2, 3, 1)
    tiles = picture.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return tiles.reshape(rows * height, columns * width, channels).squeeze()


def image_sizes(grid: Grid, bits: int) -> dict[str, int]:
    """PNG, WebP and JPEG XL, each in the better of two forms."""
    sizes: dict[str, int] = {}
    if grid.shape[1] not in (1, 3):
        return sizes
    plain = sheet(grid)
    for picture in (plain, (plain * (255 // (2**bits - 1))).astype(np.uint8)):
        found = {
            "PNG": saved(picture, "PNG", optimize=True),
            "WebP": saved(picture, "WEBP", lossless=True, quality=100, method=6),
            "JPEG XL": len(imagecodecs.jpegxl_encode(picture, lossless=True, effort=9)),
        }
        sizes = {name: min(size, sizes.get(name, size)) for name, size in found.items()}
    return sizes


def saved(picture: NDArray[np.uint8], form: str, **options: object) -> int:
    stream = io.BytesIO()
    image = Image.fromarray(picture)
    (image.convert("RGB") if form == "WEBP" else image).save(stream, form, **options)
    return len(stream.getvalue())


def measure(grid: Grid, bits: int, labels: Grid) -> dict[str, object]:
    """Bytes by every compressor, and how much smaller ours is than the best other."""
    number, _ = smallest_coder(grid, 1 << bits, labels)
    writer = RangeWriter()
    code_grid(writer, number, 1 << bits, (*grid.shape,), grid, labels)
    one_byte, few_bits = grid.astype(np.uint8).tobytes(), packed(grid, bits)
    others = {name: min(len(way(one_byte)), len(way(few_bits))) for name, way in GENERAL.items()}
    others["packed"] = len(few_bits)
    others |= image_sizes(grid, bits)
    ours, best = len(writer.bytes()), min(others, key=lambda name: others[name])
    return {
        "symbols": grid.size,
        "coder": CODERS[number][0],
        "ours": ours,
        "bits_per_symbol": round(8 * ours / grid.size, 4),
        **others,
        "best_other": best,
        "smaller_by": round(1 - ours / others[best], 4),
    }


def real(name: str, bits: int, count: int) -> tuple[Grid, Grid]:
    """``count`` random test images as symbols of ``bits`` bits (the highest of each value)."""
    train = data.load(name).test
    index = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:count]
    index = index[torch.argsort(train.labels[index], stable=True)]
    values = train.samples[index].numpy().astype(np.int64)
    return values.reshape(count, *train.spec.grid_shape) >> (8 - bits), train.labels[index].numpy()


def structured(count: int) -> dict[str, dict[str, object]]:
    """Rows of VQ indices and of sparse coefficients of Fashion-MNIST."""
    name, table = "fashion_mnist", {}
    for bits in (4, 6, 8):
        for row, layout in ((True, "in one row"), (False, "as a grid")):
            grid, labels = vq_indices(name, 1 << bits, count, row)
            title = f"VQ indices of {count} images of {name}, {1 << bits} entries, {layout}"
            table[title] = measure(grid, bits, labels) | {"by_coder": by_coder(grid, bits, labels)}
    for kept in (20, 60):
        grid, labels = sparse_coefficients(name, kept, count)
        title = f"sparse coefficients of {count} images of {name}, {kept} of 784, 4 bits"
        table[title] = measure(grid, 4, labels) | {"by_coder": by_coder(grid, 4, labels)}
        table[title]["coordinates and values, ideally"] = coordinates_bytes(grid, 4, 8)
    return table


def by_coder(grid: Grid, bits: int, labels: Grid) -> dict[str, int]:
    """Bytes under our coders that a comparison of them is about, and the empirical entropy."""
    sizes = {"empirical entropy": round(order_zero_bits(grid, bits) / 8)}
    for number in (1, 2, 4, 6, 7):
        meter = Meter()
        code_grid(meter, number, 1 << bits, (*grid.shape,), grid, labels)
        sizes[CODERS[number][0]] = round(meter.bits / 8)
    return sizes


def distilled(path: Path) -> tuple[Grid, int, Grid]:
    """Symbols, bits and labels of a blob."""
    received = container.decode(path.read_bytes())
    stored = received.parameterization
    assert isinstance(stored, PixelParameterization)
    return stored.symbols().numpy().astype(np.int64), stored.quantizer.bits, received.labels.numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blobs", type=Path, nargs="*", default=[])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--data", nargs="*", default=["fashion_mnist", "cifar10"])
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    args = parser.parse_args()
    table: dict[str, dict[str, object]] = {}
    for name in args.data if "real" in args.kinds else []:
        for bits in (2, 3, 4, 8):
            grid, labels = real(name, bits, args.count)
            table[f"{args.count} real images of {name}, {bits} bits"] = measure(grid, bits, labels)
    for path in args.blobs:
        grid, bits, labels = distilled(path)
        table[f"distilled set {path.name}, {bits} bits"] = measure(grid, bits, labels)
    for bits in (1, 2, 4) if "noise" in args.kinds else ():
        noise = np.random.default_rng(0).integers(0, 1 << bits, (100, 1, 14, 14))
        table[f"noise, {bits} bits"] = measure(noise, bits, np.zeros(100, np.int64))
    if "structured" in args.kinds:
        table |= structured(args.count)
    for title, row in table.items():
        print(title, row, flush=True)
    if args.kinds == KINDS:
        print(record.write("coding_sizes", table, seed=0))


if __name__ == "__main__":
    main()
