"""What is expected of latents: in floating point, for training, of all at once; in integers, one by one.

The entropy network gives a mixture of logistic distributions for each latent. It sees the latents around it
that were coded before, which grid and where in it this is, and the mean of the class there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedbits.coding.network import EntropyNetwork, Mixture
from fedbits.coding.own import as_layers
from fedbits.coding.range_coder import Symbols
from fedbits.coding.weights import QuantisedTensor
from fedbits.parameterization.fixed_point import rescaled
from fedbits.parameterization.latent.form import INPUT_BITS, Form

Integers = NDArray[np.int64]

MOST_REACH = 127  # magnitude of a latent
_LARGEST_INPUT = (1 << 15) - 1
_FLOOR = 2.0**-16  # the range coder holds no symbol less likely, about


def bits_of(form: Form, network: Sequence[Tensor], latents: Tensor, means: Tensor | None) -> Tensor:
    """Bits ``[n, latents]`` of ``latents`` under ``network`` (float weights and biases), differentiable.

    ``means`` ``[n, latents]`` of their classes, if there are any.
    """
    share, mean, log_width = _expected(form, network, latents, means).chunk(3, dim=1)
    inverse = torch.exp2(-log_width.clamp(-5, 9))
    distance = (latents.T[:, None] - mean).abs()
    # The sides of a distribution are alike: on this one the difference does not cancel.
    above = torch.sigmoid((0.5 - distance) * inverse)
    below = torch.sigmoid((-0.5 - distance) * inverse)
    likely = (share.softmax(1) * (above - below)).sum(1)
    return -torch.log2(likely * (1 - _FLOOR) + _FLOOR).T


def _expected(form: Form, network: Sequence[Tensor], latents: Tensor, means: Tensor | None) -> Tensor:
    """Outputs ``[latents, 3 components, n]``: places first, so that whole rows are gathered."""
    known = torch.cat([latents.T, latents.new_zeros(1, len(latents))])
    around = torch.from_numpy(form.around).to(latents.device)
    seen = known.index_select(0, around.flatten()).reshape(*around.shape, -1)
    weight, count, places = network[0], around.shape[1], torch.from_numpy(form.places).to(latents)
    fixed = places @ weight[:, count : count + places.shape[1]].T * 2.0**-INPUT_BITS + network[1]
    features = weight[:, :count] @ seen + fixed[..., None]
    if means is not None:
        features = features + weight[:, -1:] * means.T[:, None]
    for layer in range(2, len(network), 2):
        features = network[layer] @ features.relu() + network[layer + 1][:, None]
    return features


@dataclass(frozen=True)
class Predictor:
    """The integer form for one group.

    Attributes:
        means: inputs ``[classes, latents]`` of 8 fractional bits, if there are any.
        reach: latents are at most so large in magnitude.
    """

    form: Form
    network: EntropyNetwork
    means: Integers | None
    reach: int

    @classmethod
    def of(
        cls,
        form: Form,
        network: Sequence[QuantisedTensor],
        means: Sequence[QuantisedTensor],
        reach: int,
    ) -> Predictor:
        """From tensors as they are sent.

        Raises:
            CorruptError: they are no entropy network.
        """
        seen = [
            rescaled(torch.from_numpy(mean.values).double(), mean.fraction_bits, INPUT_BITS).long().numpy()
            for mean in means
        ]
        inputs = np.clip(np.concatenate(seen, axis=1), -_LARGEST_INPUT, _LARGEST_INPUT) if seen else None
        return cls(form, EntropyNetwork(as_layers(network)), inputs, reach)

    def expect(self, known: Integers, place: int, classes: Symbols) -> Mixture:
        """The distribution of the latent at ``place`` plus reach, of samples of ``classes`` ``[n]``.

        ``known`` ``[latents + 1, n]``: of those before; the last row is zero.
        """
        seen = known[self.form.around[place]] << INPUT_BITS
        fixed = np.broadcast_to(self.form.places[place][:, None], (self.form.places.shape[1], len(classes)))
        rows = [seen, fixed] if self.means is None else [seen, fixed, self.means[classes, place][None]]
        centre = np.full(len(classes), self.reach)
        return self.network.mixture(np.concatenate(rows).T, centre, np.zeros_like(centre), 2 * self.reach + 1)


def joined(mixtures: Sequence[Mixture]) -> Mixture:
    """The distributions of all of them, one after the other."""
    if len(mixtures) == 1:
        return mixtures[0]
    shares = np.concatenate([one.shares for one in mixtures], axis=1)
    means = np.concatenate([one.means for one in mixtures], axis=1)
    inverse = np.concatenate([one.inverse for one in mixtures], axis=1)
    return Mixture(shares, means, inverse, mixtures[0].levels)
