"""Learning to reproduce real samples in few bits (Eq. 12): all parts at once, or latents alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedbits.parameterization.latent import start
from fedbits.parameterization.latent.form import Form
from fedbits.parameterization.latent.weights import searched
from fedbits.quantization import Moment
from fedbits.rng import torch_stream

if TYPE_CHECKING:
    from fedbits.parameterization.latent.stored import LatentParameterization

_MOST_SAMPLES, _MOST_NUMBERS = 4096, 1 << 22  # that networks are fitted to: samples, and numbers in them
_BATCH = 512  # of them, that one step looks at
_LATENTS_RATE, _RATE = 0.05, 0.005  # Adam's
_REFRESH = 20  # steps between two looks at how large weights are, before their steps are searched
_SEARCH = 0.7  # of the steps, after which the steps of weights are searched, and then stay
_FEW = 128  # samples that a search looks at
_LATENT_STEPS = 150  # to fit latents alone
_CHUNK = 1024  # samples whose latents are fitted together
_LEAST_MAGNITUDE = 0.25  # in steps: below, hardly a bit is left to save
_FAR = 1e6  # further than any sample is


def most_samples(form: Form) -> int:
    """As many as networks are fitted to, at most."""
    numbers = form.sample[0] * form.sample[1] * form.sample[2]
    return min(_MOST_SAMPLES, max(_BATCH // 8, _MOST_NUMBERS // numbers))


def spaced(labels: Tensor, most: int) -> Tensor:
    """At most ``most`` places, evenly spaced."""
    count = min(most, len(labels))
    return torch.arange(count) * len(labels) // max(1, count)


def fit(stored: LatentParameterization, samples: Tensor, steps: int, seed: int, times: float = 1.0) -> None:
    """Train all of ``stored`` to the least squared distance to ``samples`` plus β times bits.

    Then search the steps of weights, as of ``times`` as many samples, and train on with them. Of many samples
    a step looks at some; so in the end, latents are trained alone.
    """
    networks = [*stored.synthesis, *stored.entropy]
    groups = [{"params": [stored.latents], "lr": _LATENTS_RATE}, {"params": networks, "lr": _RATE}]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    stored.train()
    search = round(_SEARCH * steps)
    for step in range(steps):
        stored.begin(Moment(step, steps, seed))
        if step == search:
            search_steps(stored, samples, times)
        elif step < search and step % _REFRESH == 0:
            stored.fractions = start.fractions(stored.synthesis, stored.entropy, stored.config.precision)
        index = _batch(len(samples), step, seed).to(samples.device)
        seen = stored.seen(stored.latents[index])
        cost = _cost(stored, seen, stored.labels[index], samples[index])
        share = len(index) / (times * len(samples))
        _descend(optimizer, step / max(1, steps), cost + share * stored.config.beta * _weight_bits(stored))
    stored.settle()
    if len(samples) > _BATCH and steps:
        latents = stored.latents.detach()
        latents.copy_(_all_fitted(stored, latents.clone(), samples, stored.labels))


def _batch(n: int, step: int, seed: int) -> Tensor:
    if n <= _BATCH:
        return torch.arange(n)
    return torch.randperm(n, generator=torch_stream(seed, "latent", "batch", step))[:_BATCH]


def _cost(stored: LatentParameterization, seen: Tensor, labels: Tensor, samples: Tensor) -> Tensor:
    distance = (stored.made(seen, labels) - samples).square().sum()
    return distance + stored.config.beta * stored.bits(seen, labels)


def _weight_bits(stored: LatentParameterization) -> Tensor:
    """Bits of the synthesis networks, up to a constant: under Laplace distributions of their magnitudes."""
    spent = stored.latents.new_zeros(())
    for tensor, bits in zip(stored.synthesis, stored.fractions[0], strict=True):
        spent = spent + tensor.numel() * torch.log2(tensor.abs().mean() * 2.0**bits + _LEAST_MAGNITUDE)
    return spent


def _descend(optimizer: torch.optim.Optimizer, done: float, loss: Tensor) -> None:
    for group in optimizer.param_groups:
        group.setdefault("base", group["lr"])
        group["lr"] = group["base"] * min(1.0, 2 * (1 - done))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def search_steps(stored: LatentParameterization, samples: Tensor, times: float) -> None:
    """Choose the steps of all weights by what they do to samples and bits (Eqs. 8–10)."""
    index = spaced(stored.labels, _FEW)
    labels, wanted = stored.labels[index], samples[index]
    weight = times * len(samples) / max(1, len(index))
    beta = stored.config.beta
    with torch.no_grad():
        seen = stored.latents[index].round()

        def cost(fractions: Sequence[int], entropy: bool) -> float:
            kept = stored.fractions
            stored.fractions = (kept[0], list(fractions)) if entropy else (list(fractions), kept[1])
            bits = beta * float(stored.bits(seen, labels))
            distance = 0.0 if entropy else float((stored.made(seen, labels) - wanted).square().sum())
            stored.fractions = kept
            return weight * (distance + bits)

        means, shapes = len(stored.form.mean_shapes), len(stored.form.synthesis_shapes)
        first = searched(
            list(stored.synthesis),
            stored.fractions[0],
            _together(stored.form.groups, shapes, means),
            lambda f: cost(f, False),
            beta,
            -8,
        )
        stored.fractions = first, stored.fractions[1]
        alone = [[place] for place in range(len(stored.entropy))]
        second = searched(list(stored.entropy), stored.fractions[1], alone, lambda f: cost(f, True), beta, 0)
        stored.fractions = first, second


def _together(groups: int, tensors: int, means: int) -> list[list[int]]:
    """Places of tensors of all groups: the means of a group together, as they are all of latents."""
    found = []
    for first in range(0, groups * tensors, tensors):
        found += [list(range(first, first + means))] if means else []
        found += [[place] for place in range(first + means, first + tensors)]
    return found


def fitted_latents(stored: LatentParameterization, samples: Tensor, labels: Tensor) -> Tensor:
    """Latents ``[m, latents]`` of ``samples`` ``[m, *shape]`` of classes ``labels``, networks as they are.

    Each starts from those of the stored sample of its class that is nearest to it.
    """
    with torch.no_grad():
        have = stored.made(stored.latents.round(), stored.labels).flatten(1)
        nearest = [
            (torch.cdist(some.flatten(1), have) + _FAR * (of[:, None] != stored.labels)).argmin(1)
            for some, of in zip(samples.split(_CHUNK), labels.split(_CHUNK), strict=True)
        ]
    latents = stored.latents.detach()[torch.cat(nearest)]
    return _all_fitted(stored, latents, samples, labels)


def _all_fitted(stored: LatentParameterization, latents: Tensor, samples: Tensor, labels: Tensor) -> Tensor:
    """``latents`` trained on, a chunk at a time."""
    training = stored.training
    stored.train()
    parts = zip(latents.split(_CHUNK), samples.split(_CHUNK), labels.split(_CHUNK), strict=True)
    found = [_fitted(stored, *some) for some in parts]
    for tensor in stored.parameters():
        tensor.grad = None
    stored.train(training)
    return torch.cat(found)


def _fitted(stored: LatentParameterization, latents: Tensor, samples: Tensor, labels: Tensor) -> Tensor:
    latents = latents.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([latents], lr=_LATENTS_RATE, betas=(0.9, 0.99))
    for step in range(_LATENT_STEPS):
        stored.begin(Moment(step, _LATENT_STEPS, 0))
        cost = _cost(stored, stored.seen(latents), labels, samples)
        _descend(optimizer, step / _LATENT_STEPS, cost)
    stored.settle()
    return latents.detach()
