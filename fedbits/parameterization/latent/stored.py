"""The parameterisation: latents of each sample, and for each group of classes the networks they share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedbits.coding import Meter
from fedbits.coding.weights import QuantisedTensor, quantise, weight_bits
from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError, CorruptError
from fedbits.parameterization.base import Parameterization, Part
from fedbits.parameterization.latent import fitting, start, stream
from fedbits.parameterization.latent.config import LatentConfig
from fedbits.parameterization.latent.exact import Synthesis, SynthesisTensors
from fedbits.parameterization.latent.prediction import MOST_REACH, Predictor, bits_of
from fedbits.parameterization.latent.quantise import softened
from fedbits.parameterization.latent.synthesis import Floating, synthesise
from fedbits.parameterization.latent.tighten import tightened_latents
from fedbits.parameterization.latent.weights import rounded, rounded_entropy
from fedbits.parameterization.rate import EXACT_EVERY, REFRESH
from fedbits.quantization import Moment
from fedbits.wire import distilled_set_pb2 as pb

Fractions = tuple[list[int], list[int]]  # bits of all tensors of synthesis and of entropy networks


class LatentParameterization(Parameterization):
    """Samples as a small network makes them of integer latents on grids of several scales (RUO, section 3.2).

    Latents and weights are rounded to what is sent in the forward pass, straight-through in the backward
    pass; latents may, in the first part of training, be softened instead.
    """

    own_parts, shared_parts = ("latents",), ("entropy network", "synthesis network")
    leaner = "[latent] settings of fewer numbers, scales and hidden"
    most_tightened = 0.15  # of latents; what that costs is measured in benchmarks only where it matters

    def __init__(
        self,
        spec: DataSpec,
        config: LatentConfig,
        latents: Tensor,
        labels: Tensor,
        synthesis: Sequence[Tensor],
        entropy: Sequence[Tensor],
        fractions: Fractions | None = None,
    ) -> None:
        """``latents`` ``[n, latents]`` of samples of classes ``labels`` ``[n]``, and tensors of all groups.

        Tensors are in the order of :attr:`Form.synthesis_shapes` and :attr:`Form.entropy_shapes`, group after
        group. ``fractions`` of all; left out, they are chosen.
        """
        super().__init__()
        self.spec, self.config, self.form = spec, config, config.form(spec)
        self.latents = nn.Parameter(latents)
        self.register_buffer("labels", labels.clone().long())
        self.synthesis = nn.ParameterList([nn.Parameter(tensor) for tensor in synthesis])
        self.entropy = nn.ParameterList([nn.Parameter(tensor) for tensor in entropy])
        if fractions is None:
            fractions = start.fractions(self.synthesis, self.entropy, config.precision)
        self.fractions: Fractions = list(fractions[0]), list(fractions[1])
        self._moment: Moment | None = None
        self._asked = 0
        self._coded, self._saving, self._weighing = 1.0, 1.0, 1.0

    labels: Tensor

    @classmethod
    def from_samples(
        cls, samples: Tensor, labels: Tensor, spec: DataSpec, config: LatentConfig, seed: int
    ) -> LatentParameterization:
        """As many as ``samples`` ``[n, *spec.shape]`` of classes ``labels`` ``[n]``, which it learns to
        reproduce in few bits (Eq. 12).
        """
        index = fitting.spaced(labels, fitting.most_samples(config.form(spec)))
        some, known = samples[index], labels[index]
        latents, synthesis, entropy = start.parts(some, known, config.form(spec), config.beta, seed)
        small = cls(spec, config, latents, known, synthesis, entropy)
        fitting.fit(small, some, config.fit_steps, seed, len(samples) / max(1, len(some)))
        if len(some) == len(samples):
            return small
        return small.with_latents(fitting.fitted_latents(small, samples, labels), labels)

    def __len__(self) -> int:
        return len(self.latents)

    def groups(self, labels: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Each group of which there are samples of classes ``labels``, and where they are."""
        group = labels // self.form.group_classes
        if self.form.groups == 1:
            if len(labels):
                yield 0, torch.arange(len(labels), device=labels.device)
            return
        for number in group.unique().tolist():
            yield number, (group == number).nonzero()[:, 0]

    def forward(self, index: Tensor | None = None) -> Tensor:
        latents, labels = self.latents, self.labels
        seen = self.seen(latents)
        if index is not None:
            seen, labels = seen[index], labels[index]
        if not self.training:
            return self._received(seen.detach(), labels)
        return self.made(seen, labels)

    def made(self, seen: Tensor, labels: Tensor) -> Tensor:
        """Samples of latents as training sees them ``[n, latents]``, in floating point."""
        samples: list[Tensor] = []
        order: list[Tensor] = []
        for group, where in self.groups(labels):
            means, kernels, layers = self.synthesis_parts(group)
            values = seen[where]
            if means is not None:
                values = values + means[labels[where] % self.form.group_classes]
            samples.append(synthesise(self.form, Floating(self.form, kernels, layers), values))
            order.append(where)
        if not samples:
            return seen.new_zeros(0, *self.spec.shape)
        together = torch.cat(samples)
        if len(order) > 1:
            together = together[torch.cat(order).argsort()]
        return together.reshape(-1, *self.spec.shape)

    def _received(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Exact samples of integer latents."""
        samples = torch.empty(len(latents), *self.form.sample, device=latents.device)
        for group, where in self.groups(labels):
            synthesis = Synthesis(self.sent_synthesis(group), latents.device)
            samples[where] = synthesis(latents[where], labels[where] % self.form.group_classes)
        return samples.reshape(-1, *self.spec.shape)

    def seen(self, latents: Tensor) -> Tensor:
        """What training sees of ``latents``; in evaluation, the integers that are sent."""
        limited = latents.clamp(-MOST_REACH, MOST_REACH)
        soft = softened(limited, self.config, self._moment) if self.training else None
        return limited + (limited.detach().round() - limited.detach()) if soft is None else soft

    def synthesis_parts(self, group: int) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
        """Means ``[classes, latents]``, kernels and layers of a group, rounded straight-through."""
        size = len(self.form.synthesis_shapes)
        rows = slice(group * size, (group + 1) * size)
        pairs = zip(list(self.synthesis)[rows], self.fractions[0][rows], strict=True)
        tensors = [rounded(tensor, bits) for tensor, bits in pairs]
        first = len(self.form.mean_shapes)
        second = first + len(self.form.kernel_shapes)
        means = torch.cat(tensors[:first], dim=1) if first else None
        return means, tensors[first:second], tensors[second:]

    def entropy_parts(self, group: int) -> list[Tensor]:
        """Weights and biases of a group's entropy network, rounded straight-through."""
        size = len(self.form.entropy_shapes)
        rows = slice(group * size, (group + 1) * size)
        tensors = zip(list(self.entropy)[rows], self.fractions[1][rows], strict=True)
        return [rounded_entropy(tensor, place, bits) for place, (tensor, bits) in enumerate(tensors)]

    def bits(self, seen: Tensor, labels: Tensor) -> Tensor:
        """Of latents as training sees them ``[n, latents]``: the estimate, differentiable."""
        spent = seen.new_zeros(())
        for group, where in self.groups(labels):
            means = self.synthesis_parts(group)[0]
            known = None if means is None else means[labels[where] % self.form.group_classes]
            spent = spent + bits_of(self.form, self.entropy_parts(group), seen[where], known).sum()
        return spent

    def integers(self) -> Tensor:
        """Latents ``[n, latents]`` as they are sent, int64."""
        limited = self.latents.detach().clamp(-MOST_REACH, MOST_REACH)
        if not bool(limited.isfinite().all()):
            raise ConfigError("a latent is not a finite number: the optimisation diverged")
        return limited.round().long()

    def sent_synthesis(self, group: int) -> SynthesisTensors:
        """Tensors of a group as they are sent.

        Raises:
            ConfigError: they hold numbers that cannot be sent.
        """
        size = len(self.form.synthesis_shapes)
        rows = slice(group * size, (group + 1) * size)
        found = SynthesisTensors.of(self.form, _sent(list(self.synthesis)[rows], self.fractions[0][rows]))
        try:
            found.check()
        except CorruptError as error:
            raise ConfigError(
                f"the synthesis network cannot be sent ({error}): the optimisation diverged"
            ) from error
        return found

    def sent(self) -> tuple[list[QuantisedTensor], list[QuantisedTensor]]:
        """All tensors of synthesis and entropy networks, group after group, as they are sent.

        Raises:
            ConfigError: they hold numbers that cannot be sent.
        """
        for group in range(self.form.groups):
            self.sent_synthesis(group)
        size = len(self.form.entropy_shapes)
        with torch.no_grad():
            entropy = [rounded_entropy(t, i % size, self.fractions[1][i]) for i, t in enumerate(self.entropy)]
        return _sent(list(self.synthesis), self.fractions[0]), _sent(entropy, self.fractions[1])

    def predictors(self, reach: int) -> list[Predictor]:
        """Of all groups, for latents up to ``reach``."""
        return stream.predictors(self.form, *self.sent(), reach)

    def measured(self, labels: Tensor) -> float:
        """Bits of the latents as they are coded."""
        integers = self.integers().cpu().numpy()
        meter = Meter()
        known = labels.cpu().numpy()
        stream.code_latents(meter, self.predictors(stream.reach_of(integers)), known, integers)
        return meter.bits

    def begin(self, moment: Moment) -> None:
        self._moment = moment

    def settle(self) -> None:
        self._moment = None

    def rate(self, labels: Tensor) -> Tensor:
        if not self.training:
            return torch.tensor(self.measured(labels) + self._weighed())
        spent, weights = self.bits(self.seen(self.latents), self.labels), self._weight_bits()
        if self._asked % REFRESH == 0:
            self._look(labels, float(spent.detach()), float(weights.detach()))
        self._asked += 1
        return self._saving * spent + self._weighing * weights

    def _look(self, labels: Tensor, spent: float, weights: float) -> None:
        """Relate what latents and weights seem to take as training sees them to what they take as sent.

        Under noise latents seem to take up to four times as much as rounded, and weights grow in training: a
        run that trusted its estimates would end with half of its budget unused, or far above it.
        """
        with torch.no_grad():
            estimate = float(self.bits(self.integers().to(self.latents), self.labels))
        if self._asked % (REFRESH * EXACT_EVERY) == 0:
            self._coded = self.measured(labels) / estimate if estimate else 1.0
        self._saving = self._coded * estimate / spent if spent else 1.0
        self._weighing = self._weighed() / weights if weights else 1.0

    def _weighed(self) -> float:
        """Bits of both networks as they are coded."""
        synthesis, entropy = self.sent()
        return weight_bits(synthesis) + weight_bits(entropy)

    def _weight_bits(self) -> Tensor:
        """About what both networks take, differentiable: under Laplace distributions of their magnitudes."""
        spent = self.latents.new_zeros(())
        tensors = zip([*self.synthesis, *self.entropy], [*self.fractions[0], *self.fractions[1]], strict=True)
        for tensor, bits in tensors:
            spent = spent + tensor.numel() * torch.log2(1 + 2 * math.e * 2.0**bits * tensor.abs().mean())
        return spent

    def get_extra_state(self) -> dict[str, Any]:
        """Steps of weights, and what a resumed run needs to measure sizes at the same training steps."""
        return {
            "fractions": self.fractions,
            "asked": self._asked,
            "coded": self._coded,
            "saving": self._saving,
            "weighing": self._weighing,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.fractions = (list(state["fractions"][0]), list(state["fractions"][1]))
        self._asked, self._coded = state["asked"], state["coded"]
        self._saving, self._weighing = state["saving"], state["weighing"]

    def encode(self, message: pb.DistilledSet, parts: Sequence[Part], quick: bool = False) -> None:
        stream.write(
            message.latent, self.config, self.spec, self.sent(), self.integers().cpu().numpy(), parts
        )

    @classmethod
    def decode(
        cls, message: pb.Latent, spec: DataSpec, samples: int, parts: Iterable[Part]
    ) -> LatentParameterization:
        """Read the ``samples`` of all ``parts``.

        Raises:
            CorruptError: the message declares what does not exist, or holds numbers that none can send.
        """
        config, (synthesis, entropy), integers, labels = stream.read(message, spec, samples, parts)
        fractions = [t.fraction_bits for t in synthesis], [t.fraction_bits for t in entropy]
        networks = [[torch.from_numpy(t.floats()).float() for t in some] for some in (synthesis, entropy)]
        latents = torch.from_numpy(integers).float()
        return cls(spec, config, latents, labels, networks[0], networks[1], fractions)

    def with_latents(self, latents: Tensor, labels: Tensor) -> LatentParameterization:
        """A copy of the networks, with ``latents`` ``[m, latents]`` of classes ``labels``."""
        networks = [[t.detach().clone() for t in some] for some in (self.synthesis, self.entropy)]
        like = LatentParameterization(
            self.spec, self.config, latents, labels, networks[0], networks[1], self.fractions
        )
        return like.train(self.training)

    def selected(self, index: Tensor) -> LatentParameterization:
        return self.with_latents(self.integers().to(self.latents)[index], self.labels[index])

    def tightened(self, strength: float) -> LatentParameterization:
        if strength <= 0:
            return self.with_latents(self.integers().to(self.latents), self.labels)
        values = self.latents.detach().clamp(-MOST_REACH, MOST_REACH)
        chosen = self.integers().cpu().numpy()
        predictors = self.predictors(stream.reach_of(chosen))
        for group, where in self.groups(self.labels):
            classes = (self.labels[where] % self.form.group_classes).cpu().numpy()
            positions = values[where].double().cpu().numpy()
            chosen[where.cpu().numpy()] = tightened_latents(predictors[group], positions, classes, strength)
        return self.with_latents(torch.from_numpy(chosen).to(self.latents), self.labels)

    def joined(self, samples: Tensor, labels: Tensor, order: Tensor) -> LatentParameterization:
        labels = labels.to(self.labels)
        added = fitting.fitted_latents(self, samples.to(self.latents), labels)
        latents = torch.cat([self.integers().to(self.latents), added])
        order = order.to(self.labels)
        return self.with_latents(latents[order], torch.cat([self.labels, labels])[order])

    def param_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        config = self.config
        return [
            {"params": [self.latents], "lr": learning_rate * config.latents_rate},
            {"params": list(self.synthesis.parameters()), "lr": learning_rate * config.synthesis_rate},
            {"params": list(self.entropy.parameters()), "lr": learning_rate * config.entropy_rate},
        ]

    def describe(self) -> dict[str, Any]:
        config = self.config
        return {
            "parameterization": "latent",
            "numbers": config.numbers,
            "scales": list(config.scales),
            "groups": self.form.groups,
            "synthesis": config.synthesis,
            "hidden": config.hidden,
            "context": config.context,
            "entropy_hidden": config.entropy_hidden,
            "latents": self.form.latents,
            "parameters": self.form.parameters,
        }


def _sent(tensors: Sequence[Tensor], fractions: Sequence[int]) -> list[QuantisedTensor]:
    values = [np.asarray(tensor.detach().cpu().numpy()) for tensor in tensors]
    try:
        return [quantise(tensor, bits) for tensor, bits in zip(values, fractions, strict=True)]
    except ValueError as error:
        raise ConfigError(
            f"weights of a network cannot be sent ({error}): the optimisation diverged"
        ) from error
