"""The parameterisation: sparse codes of each sample, tokens and a network that all of them share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fedbits.coding.weights import fraction_bits_for, quantise, weight_bits
from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError, CorruptError
from fedbits.parameterization.base import Parameterization, Part
from fedbits.parameterization.epitome import fitting, stream
from fedbits.parameterization.epitome.code_rate import CodeRate
from fedbits.parameterization.epitome.codes import largest_symbol, positions, scales, step_bits, top
from fedbits.parameterization.epitome.config import CODES_RATE, EpitomeConfig
from fedbits.parameterization.epitome.exact import Dictionary, Synthesis
from fedbits.parameterization.epitome.form import BLOCK_TENSORS
from fedbits.parameterization.epitome.freenet import TOKEN_DEVIATION, initial_network, synthesise
from fedbits.parameterization.epitome.tighten import tightened_codes, tightened_weights
from fedbits.parameterization.fixed_point import LARGEST_WEIGHT
from fedbits.parameterization.rate import EXACT_EVERY, REFRESH
from fedbits.quantization import Moment
from fedbits.rng import torch_stream
from fedbits.wire import distilled_set_pb2 as pb

_Grids = tuple[tuple[int, ...], tuple[int, ...]]  # fractional bits: of heads' coefficients; of tensors
_CHUNK = 1 << 20  # coefficients that are rounded, and numbers that are made, at once
_ROOM = 1.25  # coefficients may grow by so much before a finer step would have to be given up again


class EpitomeParameterization(Parameterization):
    """Samples as a network makes them of epitomic tokens, weighted by sparse codes (SPEED, section 2).

    Coefficients, tokens and weights are rounded to what is sent in the forward pass, straight-through in the
    backward pass; so are all but the largest coefficients masked, unless that is left to the end.
    """

    own_parts, shared_parts = ("positions", "coefficients"), ("tokens", "network")
    leaner = "an [epitome] of fewer tokens, width and nonzeros"
    most_tightened = 0.06  # of codes that take half of a blob: 3 % of it cost next to nothing, 15 % most

    def __init__(
        self,
        spec: DataSpec,
        config: EpitomeConfig,
        codes: Tensor,
        tokens: Tensor,
        network: Sequence[Tensor],
        grids: _Grids | None = None,
    ) -> None:
        """``codes`` ``[n, H, K, J]``, ``tokens`` ``[K, D]`` and tensors of a ``network``, all float32.

        ``grids`` of all of them; left out, they are chosen.
        """
        super().__init__()
        self.spec, self.config, self.form = spec, config, config.form(spec)
        self.codes, self.tokens = nn.Parameter(codes), nn.Parameter(tokens)
        self.network = nn.ParameterList([nn.Parameter(tensor) for tensor in network])
        if grids is None:
            steps = step_bits(codes * top(codes, config.nonzeros), config.bits)
            grids = steps, self._suited_fractions()
        self._steps, self._fractions = grids
        self._rate = CodeRate(config.bits, self.form.grid)
        self._asked, self._saving, self._shared = 0, 1.0, 0.0

    @classmethod
    def random(cls, n: int, spec: DataSpec, config: EpitomeConfig, seed: int) -> EpitomeParameterization:
        """All parts random, as published: tokens and codes from N(0, 0.2²), the network by Xavier's rule."""
        form, draws = config.form(spec), torch_stream(seed, "epitome", "start")
        codes, tokens = (
            TOKEN_DEVIATION * torch.randn(shape, generator=draws)
            for shape in ((n, *form.codes), form.token_shape)
        )
        return cls(spec, config, codes, tokens, initial_network(form, draws))

    @classmethod
    def from_samples(
        cls, samples: Tensor, spec: DataSpec, config: EpitomeConfig, seed: int
    ) -> EpitomeParameterization:
        """As many as ``samples`` ``[n, *spec.shape]``; all parts learn to reproduce them if asked to."""
        if config.start == "random" or not len(samples):
            return cls.random(len(samples), spec, config, seed)
        some = samples[:: -(-len(samples) // fitting.most_samples(config.form(spec)))]
        small = cls.random(len(some), spec, config, seed)
        fitting.fit(small, some, config.fit_steps)
        if len(some) == len(samples):
            return small
        return small.with_codes(fitting.fitted_codes(small, samples))

    def __len__(self) -> int:
        return len(self.codes)

    def forward(self, index: Tensor | None = None) -> Tensor:
        codes = self.codes if index is None else self.codes[index]
        if not self.training:
            return self._received(codes.detach())
        tokens, network = self.shared_tensors()
        patches = synthesise(self.form, tokens, self.seen(codes), network)
        return self.form.join(patches).reshape(-1, *self.spec.shape)

    def _received(self, codes: Tensor) -> Tensor:
        """Exact samples of ``codes``, a chunk at a time."""
        synthesis = Synthesis(self.dictionary(), codes.device)
        samples = torch.empty(len(codes), *self.form.sample, device=codes.device)
        many = max(1, _CHUNK // max(math.prod(self.form.codes), self.spec.elements))
        for start in range(0, len(codes), many):
            rows = slice(start, start + many)
            samples[rows] = synthesis(self._integers(codes[rows]))
        return samples.reshape(-1, *self.spec.shape)

    def seen(self, codes: Tensor) -> Tensor:
        """What training sees of ``codes``: rounded and, if that is not left to the end, masked."""
        with torch.no_grad():
            rounded = positions(codes, self._steps, self.config.bits).round() * scales(self._steps, codes)
            if self.config.sparsify == "loop":
                rounded = rounded * top(codes, self.config.nonzeros)
        return rounded + (codes - codes.detach())

    def shared_tensors(self) -> tuple[Tensor, list[Tensor]]:
        """Tokens and network, rounded as they will be sent, straight-through."""
        pairs = zip([self.tokens, *self.network], self._fractions, strict=True)
        tokens, *network = (_rounded(tensor, bits) for tensor, bits in pairs)
        return tokens, network

    def _integers(self, codes: Tensor) -> Tensor:
        """The coefficients of ``codes`` as they are sent: int64, in steps."""
        with torch.no_grad():
            rounded = positions(codes, self._steps, self.config.bits).round().long()
            return rounded * top(codes, self.config.nonzeros)

    def coefficients(self) -> Tensor:
        """Integers ``[n, H, K, J]``, of the step of each head."""
        return self._integers(self.codes)

    def dictionary(self) -> Dictionary:
        """Tokens and network as they are sent.

        Raises:
            ConfigError: they hold numbers that cannot be sent.
        """
        tensors = [t.detach().cpu().numpy() for t in (self.tokens, *self.network)]
        try:
            integers = [quantise(t, bits) for t, bits in zip(tensors, self._fractions, strict=True)]
            dictionary = Dictionary(self.form, integers[0], self._steps, tuple(integers[1:]))
            dictionary.check(self.config.bits)
        except (ValueError, CorruptError) as error:
            raise ConfigError(
                f"tokens or weights of the epitome cannot be sent ({error}): the optimisation diverged"
            ) from error
        return dictionary

    def begin(self, moment: Moment) -> None:
        if moment.step % REFRESH == 0:
            self.refresh()

    def refresh(self) -> None:
        """Choose the steps of all parts for what they are now."""
        kept = self.codes.detach() * top(self.codes, self.config.nonzeros)
        fits, roomy = (step_bits(kept * room, self.config.bits) for room in (1.0, _ROOM))
        choices = zip(self._steps, fits, roomy, strict=True)
        self._steps = tuple(max(min(now, fit), wide) for now, fit, wide in choices)
        self._fractions = self._suited_fractions()

    def unit(self) -> float:
        """How far codes had better move, however finely they are stored: a third of the largest that can be.

        Of 3 bits that is a step; of several heads it is the geometric mean.
        """
        step = 2.0 ** -(sum(self._steps) / len(self._steps))
        return step * largest_symbol(self.config.bits) / 3

    def settle(self) -> None:
        """Mask for good; the steps are those that the last training step saw."""
        with torch.no_grad():
            self.codes.mul_(top(self.codes, self.config.nonzeros))

    def _suited_fractions(self) -> tuple[int, ...]:
        """Fractional bits of tokens and of each tensor of the network.

        A gain or shift is as precise as a number of about 1, and a bias as what it is added to.
        """
        sizes: list[Tensor] = [self.tokens.detach()]
        tensors = [tensor.detach() for tensor in self.network]
        for place, tensor in enumerate(tensors):
            within = place % BLOCK_TENSORS if place < BLOCK_TENSORS * self.form.blocks else place
            if within in _UNITS:
                sizes.append(torch.ones(1))
            elif tensor.ndim == 2:
                sizes.append(tensor)
            else:
                sizes.append(torch.cat([tensor, tensors[place - 1].square().sum(1).sqrt()]))
        precision = self.config.precision
        return tuple(_fraction(size, precision) for size in sizes)

    def penalty(self) -> Tensor:
        """The magnitudes of all coefficients, summed (the ℓ1 norm of Eq. 5)."""
        return self.codes.abs().sum()

    def rate(self, labels: Tensor) -> Tensor:
        config, codes = self.config, self.codes
        if not self.training or self._asked % REFRESH == 0:
            integers = self.coefficients()
            estimate = self._rate.refresh(integers)
            if not self.training or self._asked % (REFRESH * EXACT_EVERY) == 0:
                exact = stream.smallest([(integers.cpu(), labels.cpu())], self.form, config.bits)[1]
                self._saving = exact / estimate if estimate else 1.0
                dictionary = self.dictionary()
                self._shared = weight_bits([dictionary.tokens]) + weight_bits(dictionary.network)
        self._asked += self.training
        place = positions(codes, self._steps, config.bits)
        bits: Tensor = self._rate(place, ~top(codes, config.nonzeros))
        return self._saving * bits + self._shared

    def get_extra_state(self) -> dict[str, Any]:
        """Steps of all parts, and what a resumed run needs to measure sizes at the same training steps."""
        return {
            "steps": self._steps,
            "fractions": self._fractions,
            "asked": self._asked,
            "saving": self._saving,
            "shared": self._shared,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._steps, self._fractions = tuple(state["steps"]), tuple(state["fractions"])
        self._asked, self._saving, self._shared = state["asked"], state["saving"], state["shared"]

    def encode(self, message: pb.DistilledSet, parts: Sequence[Part], quick: bool = False) -> None:
        stream.write(message.epitome, self.config, self.dictionary(), self.coefficients().cpu(), parts, quick)

    @classmethod
    def decode(
        cls, message: pb.Epitome, spec: DataSpec, samples: int, parts: Iterable[Part]
    ) -> EpitomeParameterization:
        """Read the ``samples`` of all ``parts``.

        Raises:
            CorruptError: the message declares what does not exist, or holds numbers that none can send.
        """
        config, dictionary, integers = stream.read(message, spec, samples, parts)
        floats = [torch.from_numpy(t.floats()).float() for t in (dictionary.tokens, *dictionary.network)]
        codes = integers * scales(dictionary.steps, torch.empty(0))
        fractions = tuple(t.fraction_bits for t in (dictionary.tokens, *dictionary.network))
        return cls(spec, config, codes, floats[0], floats[1:], (dictionary.steps, fractions))

    def with_codes(self, codes: Tensor) -> EpitomeParameterization:
        """A copy of what all samples share, with ``codes`` ``[m, H, K, J]`` in place of those here."""
        shared = [tensor.detach().clone() for tensor in (self.tokens, *self.network)]
        grids = self._steps, self._fractions
        like = EpitomeParameterization(self.spec, self.config, codes, shared[0], shared[1:], grids)
        return like.train(self.training)

    def _sent(self) -> Tensor:
        """Codes as a receiver has them."""
        return self.coefficients() * scales(self._steps, self.codes.detach())

    def selected(self, index: Tensor) -> EpitomeParameterization:
        return self.with_codes(self._sent()[index])

    def tightened(self, strength: float) -> EpitomeParameterization:
        """As :meth:`Parameterization.tightened`; tokens and weights follow where hardly a code is left."""
        integers = tightened_codes(
            self.coefficients(), self.codes.detach(), self._steps, self.config, self.form, strength
        )
        like = self.with_codes(integers * scales(self._steps, self.codes.detach()))
        for tensor, bits in zip((like.tokens, *like.network), like._fractions, strict=True):
            tensor.data.copy_(tightened_weights(tensor.detach(), bits, strength))
        return like

    def joined(self, samples: Tensor, labels: Tensor, order: Tensor) -> EpitomeParameterization:
        added = fitting.fitted_codes(self, samples.to(self.codes.device))
        return self.with_codes(torch.cat([self._sent(), added])[order])

    def param_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        config = self.config
        codes = CODES_RATE if config.codes_rate is None else config.codes_rate
        if config.start == "fit":
            codes *= self.unit()
        return [
            {"params": [self.codes], "lr": learning_rate * codes},
            {"params": [self.tokens], "lr": learning_rate * config.tokens_rate},
            {"params": list(self.network.parameters()), "lr": learning_rate * config.network_rate},
        ]

    def allocation(self) -> Tensor:
        """The coefficients of each patch that are not zero (the appendix's Fig. III)."""
        return (self.coefficients() != 0).sum(dim=(1, 2)).view(-1, *self.form.grid)

    def describe(self) -> dict[str, Any]:
        config = self.config
        return {
            "parameterization": "epitome",
            "tokens": config.tokens,
            "width": config.width,
            "heads": config.heads,
            "blocks": config.blocks,
            "nonzeros": config.nonzeros,
            "patch": config.patch,
            "bits": config.bits,
            "parameters": self.form.parameters,
            "float32_equivalents": config.float32_equivalents(len(self), self.spec),
        }


_UNITS = (2, 3, 8, 9)  # places of gains and shifts among a block's tensors


def _fraction(tensor: Tensor, precision: float) -> int:
    if not bool(tensor.isfinite().all()):
        return 0  # which dictionary() refuses
    bits = fraction_bits_for(tensor.cpu().numpy(), precision)
    return max(0, bits) if tensor.numel() == 1 else bits


def _rounded(tensor: Tensor, bits: int) -> Tensor:
    with torch.no_grad():
        steps = (tensor * 2.0**bits).round().clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
        rounded = steps * 2.0**-bits
    return rounded + (tensor - tensor.detach())
