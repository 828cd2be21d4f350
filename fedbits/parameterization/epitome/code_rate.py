"""A differentiable estimate of what sparse codes cost: where they are not zero, and what they are there."""

from __future__ import annotations

import torch
from torch import Tensor

_STRENGTH = 4.0  # observations that the frequency of a head is worth to that of a token
_CONTEXTS = 3  # of the patches to the left and above, how many have the token


class CodeRate:
    """Frequencies of non-zeros by token and by neighbouring patches, and of values by head.

    The gradient of a coefficient between two symbols is the difference, in bits, of taking the next one up
    and the next one down.
    """

    def __init__(self, bits: int, grid: tuple[int, int]) -> None:
        """``bits`` of a coefficient; ``grid``: rows and columns of patches."""
        self._levels, self._zero, self._grid = 1 << bits, 1 << (bits - 1), grid
        self._flags = torch.empty(0)  # [H, K, contexts, 2]: bits of being zero, of being another
        self._values = torch.empty(0)  # [H, levels]: bits of a value that is not zero

    def refresh(self, symbols: Tensor) -> float:
        """Learn the frequencies of integer ``symbols`` ``[n, H, K, J]``, zero in the middle; their bits."""
        heads, tokens = symbols.shape[1:3]
        other = symbols != 0
        cells = torch.arange(heads * tokens, device=symbols.device).view(1, heads, tokens, 1) * _CONTEXTS
        pairs = (cells + self._contexts(other)) * 2 + other
        counts = torch.bincount(pairs.flatten(), minlength=heads * tokens * _CONTEXTS * 2).double()
        counts = counts.view(heads, tokens, _CONTEXTS, 2)
        share = (counts.sum((1, 2), keepdim=True) + 0.5) / (counts.sum((1, 2, 3), keepdim=True) + 1)
        token = counts.sum(2, keepdim=True) + _STRENGTH * share
        token = token / token.sum(3, keepdim=True)
        smooth = counts + _STRENGTH * token
        self._flags = -(smooth / smooth.sum(3, keepdim=True)).log2().float()
        self._values = torch.stack([self._values_of(symbols[:, head]) for head in range(heads)])
        return float(self(symbols.float()))

    def _values_of(self, symbols: Tensor) -> Tensor:
        found = symbols[symbols != 0] + self._zero
        counts = torch.bincount(found.flatten(), minlength=self._levels).double() + 0.25
        return -(counts / counts.sum()).log2().float()

    def _contexts(self, other: Tensor) -> Tensor:
        """Of how many of the patches left and above the same token is part."""
        grid = other.reshape(*other.shape[:3], *self._grid).long()
        west = torch.nn.functional.pad(grid, (1, 0))[..., :-1]
        north = torch.nn.functional.pad(grid, (0, 0, 1, 0))[..., :-1, :]
        return (west + north).flatten(3)

    def bits(self, heads: Tensor, flags: Tensor, symbols: Tensor) -> Tensor:
        """Of ``symbols`` of ``heads``, where being zero or not takes ``flags`` ``[..., 2]``."""
        value = self._values.to(symbols.device)[heads, symbols + self._zero]
        return torch.where(symbols == 0, flags[..., 0], flags[..., 1] + value)

    def __call__(self, position: Tensor, masked: Tensor | None = None) -> Tensor:
        """Bits of coefficients at ``position`` ``[n, H, K, J]``, in steps.

        Those that are ``masked`` count as zeros, but have the gradient of where they are.
        """
        with torch.no_grad():
            symbols = position.round().long()
            if masked is not None:
                symbols = symbols.masked_fill(masked, 0)
            flags, heads = self.conditions(symbols)
            spent = self.bits(heads, flags, symbols).sum(dtype=torch.float64).float()
        if not position.requires_grad:
            return spent
        with torch.no_grad():
            toward = position.sign().long()
            below = position.abs().floor().clamp(max=self._zero - 2).long()
            low, high = (self.bits(heads, flags, toward * size) for size in (below, below + 1))
            slope = toward * (high - low)
        slack = (slope * position).sum()
        return spent + (slack - slack.detach())

    def conditions(self, symbols: Tensor) -> tuple[Tensor, Tensor]:
        """The bits of being zero and of not being so ``[n, H, K, J, 2]`` of each symbol, and its head."""
        heads = torch.arange(symbols.shape[1], device=symbols.device).view(1, -1, 1, 1)
        tokens = torch.arange(symbols.shape[2], device=symbols.device).view(1, 1, -1, 1)
        flags = self._flags.to(symbols.device)[heads, tokens, self._contexts(symbols != 0)]
        return flags, heads.expand_as(symbols)
