"""The idx files of MNIST and its relatives, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedbits.errors import DataError

_UBYTE = 0x08  # the only element type that the image sets use
_CHUNK = 1 << 20
_AGAIN = "delete it and get the data set again"


def read_idx(path: Path, tail: tuple[int, ...]) -> Tensor:
    """The uint8 tensor ``[n, *tail]`` in an idx file; ``.gz`` is unpacked on the way.

    Little more is read than the header declares, and no memory is taken for what is not there.

    Raises:
        DataError: the file cannot be read, is cut short, or holds something else.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            header = stream.read(4 + 4 * (1 + len(tail)))
            sizes = tuple(np.frombuffer(header[4:], dtype=">u4").tolist()) if len(header) % 4 == 0 else ()
            if header[:4] != bytes((0, 0, _UBYTE, 1 + len(tail))) or sizes[1:] != tail:
                raise DataError(f"{path} does not start as an idx file of {_form(tail)} does; {_AGAIN}")
            wanted = math.prod(sizes)
            body = bytearray()
            while len(body) <= wanted and (chunk := stream.read(_CHUNK)):
                body += chunk
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); {_AGAIN}") from error
    if len(body) != wanted or not wanted:
        raise DataError(f"{path} is damaged: it does not have {wanted:,} values; {_AGAIN}")
    return torch.from_numpy(np.frombuffer(body, dtype=np.uint8).reshape(sizes))


def _form(tail: tuple[int, ...]) -> str:
    return f"{'x'.join(map(str, tail))} images" if tail else "labels"
