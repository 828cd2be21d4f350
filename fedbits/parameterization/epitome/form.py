"""The sizes of an epitome's parts, and how samples are cut into patches and put together again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from fedbits.data.spec import DataSpec

Shape = tuple[int, ...]

MOST_TOKENS, MOST_WIDTH, MOST_BLOCKS, MOST_PATCH = 4096, 1024, 16, 256
BLOCK_TENSORS = 10  # of a block: see Form.network_shapes


@dataclass(frozen=True)
class Form:
    """Sizes of tokens, network and codes.

    Attributes:
        sample: channels, height and width of a sample; a flat one is one row.
        cut: height and width of a patch.
    """

    tokens: int
    width: int
    heads: int
    blocks: int
    sample: tuple[int, int, int]
    cut: tuple[int, int]

    @classmethod
    def of(cls, spec: DataSpec, tokens: int, width: int, heads: int, blocks: int, patch: int) -> Form:
        """For samples of ``spec`` in square patches of side ``patch`` (flat ones: in that many numbers)."""
        cut = (patch, patch) if spec.is_grid else (1, patch)
        return cls(tokens, width, heads, blocks, spec.grid_shape, cut)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches; those at the lower and right border may stick out."""
        return -(-self.sample[1] // self.cut[0]), -(-self.sample[2] // self.cut[1])

    @property
    def patches(self) -> int:
        """J, in a sample."""
        return math.prod(self.grid)

    @property
    def patch_elements(self) -> int:
        """L, numbers in a patch."""
        return self.sample[0] * math.prod(self.cut)

    @property
    def transformed(self) -> bool:
        """Whether what makes patches is stored as its cosine transform: it is where they are of images."""
        return self.cut[0] > 1

    @property
    def codes(self) -> tuple[int, int, int]:
        """Shape of one sample's codes: heads, tokens, patches."""
        return self.heads, self.tokens, self.patches

    @property
    def token_shape(self) -> Shape:
        return self.tokens, self.width

    @property
    def network_shapes(self) -> list[Shape]:
        """Of each block: weights and biases of the projection, a gain and a shift, the weights and biases of
        two layers, a gain and a shift; then the weights and biases that make patches, as coefficients of
        their cosine transform (see :attr:`transformed`). A gain is stored as what it is above 1.
        """
        square, row = (self.width, self.width), (self.width,)
        block: list[Shape] = [square, row, row, row, square, row, square, row, row, row]
        return [*block * self.blocks, (self.patch_elements, self.width), (self.patch_elements,)]

    @property
    def parameters(self) -> int:
        """Of tokens and network: DK + R(3D² + 7D) + L(D + 1) (Eq. 7)."""
        return math.prod(self.token_shape) + sum(math.prod(shape) for shape in self.network_shapes)

    def split(self, samples: Tensor) -> Tensor:
        """Samples ``[n, ...]`` as patches ``[n, J, L]``; what sticks out repeats the border."""
        (channels, height, width), (rows, columns), (high, wide) = self.sample, self.grid, self.cut
        whole = samples.reshape(-1, channels, height, width)
        padding = [0, columns * wide - width, 0, rows * high - height]
        padded = F.pad(whole, padding, mode="replicate")
        cut = padded.reshape(-1, channels, rows, high, columns, wide).permute(0, 2, 4, 1, 3, 5)
        return cut.reshape(-1, self.patches, self.patch_elements)

    def join(self, patches: Tensor) -> Tensor:
        """The inverse of :meth:`split`: ``[n, J, L]`` to ``[n, channels, height, width]``."""
        (channels, height, width), (rows, columns), (high, wide) = self.sample, self.grid, self.cut
        cut = patches.reshape(-1, rows, columns, channels, high, wide).permute(0, 3, 1, 4, 2, 5)
        return cut.reshape(-1, channels, rows * high, columns * wide)[:, :, :height, :width]
