"""Latents: what is trained is what is sent, at about the bits that are foretold, within their settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from making import make_data, make_spec

from fedbits.coding import RangeReader, RangeWriter
from fedbits.data import DataSpec
from fedbits.errors import ConfigError, CorruptError, FormatError
from fedbits.parameterization import LatentConfig, LatentParameterization
from fedbits.parameterization.latent import DecodingCost, checked
from fedbits.parameterization.latent.quantise import soft_rounded, softened
from fedbits.parameterization.latent.weights import rounded_entropy
from fedbits.parameterization.rate import REFRESH
from fedbits.quantization import Moment
from fedbits.wire import distilled_set_pb2 as pb

SMALL = LatentConfig(numbers=0, scales=(2, 4), hidden=4, context=8, entropy_hidden=6, fit_steps=20, beta=0.1)


def stored(shape: tuple[int, ...] = (1, 8, 8), n: int = 10, **settings: Any) -> LatentParameterization:
    data = make_data(shape, [n // 2, n - n // 2])
    order = torch.argsort(data.labels, stable=True)
    samples, labels = data.batch(order).samples, data.labels[order]
    return LatentParameterization.from_samples(samples, labels, data.spec, replace(SMALL, **settings), 0)


def sent(
    parameterization: LatentParameterization, per_class: bool = False
) -> tuple[pb.Latent, list[tuple[torch.Tensor, bytes]]]:
    labels = parameterization.labels
    known = [labels[labels == label] for label in labels.unique()] if per_class else [labels]
    parts, message = [(some, RangeWriter()) for some in known], pb.DistilledSet()
    parameterization.encode(message, parts)
    return message.latent, [(some, writer.bytes()) for some, writer in parts]


def received(
    message: pb.Latent, streams: list[tuple[torch.Tensor, bytes]], spec: DataSpec
) -> LatentParameterization:
    parts = [(labels, RangeReader(stream)) for labels, stream in streams]
    found = LatentParameterization.decode(message, spec, sum(len(labels) for labels, _ in parts), parts)
    return found.eval()


def bits_of(parameterization: LatentParameterization) -> int:
    message, streams = sent(parameterization)
    weights = len(message.synthesis_weights) + len(message.entropy_weights)
    return 8 * (weights + sum(len(stream) for _, stream in streams))


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((1, 8, 8), {}),
        ((3, 9, 7), {"synthesis": "stacked", "upsampling": "learned", "convolutions": 2}),
        ((2, 6, 6), {"numbers": 3, "scales": (3, 2), "group": "class", "context": 24, "entropy_layers": 2}),
        ((1, 8, 8), {"synthesis": "stacked", "class_means": False, "coarser": False, "components": 1}),
        ((21,), {"scales": (3, 7)}),
        ((21,), {"numbers": 4, "scales": (), "convolutions": 1, "group": 1}),
    ],
)
def test_what_is_received_is_what_was_sent(shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    mine = stored(shape, **settings).eval()
    per_class = len(shape) == 1 or settings.get("group") == "class"
    message, written = sent(mine, per_class)
    theirs = received(message, written, mine.spec)
    assert mine().shape == (10, *shape)
    assert torch.equal(mine(), theirs())
    assert torch.equal(mine(torch.tensor([7, 2])), theirs()[[7, 2]])
    again, streams = sent(theirs, per_class)
    assert again == message
    assert [stream for _, stream in streams] == [stream for _, stream in written]


@pytest.mark.parametrize("settings", [{}, {"group": "class"}, {"numbers": 3, "scales": (2,)}])
def test_training_sees_what_is_sent(settings: dict[str, Any]) -> None:
    mine = stored(**settings)
    trained = mine.train()().detach()
    assert (mine.eval()() - trained).abs().max() < 0.02


@pytest.mark.parametrize("quantisation", ["straight_through", "noise", "soft_rounding"])
def test_all_parts_have_a_gradient(quantisation: str) -> None:
    settings: dict[str, Any] = {"synthesis": "stacked", "upsampling": "learned", "fit_steps": 0}
    mine = stored(quantisation=quantisation, **settings).train()
    mine.begin(Moment(1, 10, 0))
    (mine().square().sum() + mine.rate(mine.labels)).backward()
    assert (mine.latents.grad != 0).float().mean() > 0.9  # type: ignore[union-attr]
    for tensor in (*mine.synthesis, *mine.entropy):
        assert tensor.grad is not None
        assert (tensor.grad != 0).any()


def test_latents_are_softened_until_they_are_rounded() -> None:
    latents, config = torch.linspace(-3, 3, 50)[None], replace(SMALL, quantisation="noise", soft_share=0.5)
    noisy = softened(latents, config, Moment(3, 10, 1))
    assert noisy is not None
    assert 0.2 < (noisy - latents).abs().mean() < 0.3
    assert torch.equal(noisy, softened(latents, config, Moment(3, 10, 1)))  # type: ignore[arg-type]
    assert not torch.equal(noisy, softened(latents, config, Moment(4, 10, 1)))  # type: ignore[arg-type]
    assert softened(latents, config, Moment(9, 10, 1)) is None
    assert softened(latents, config, None) is None
    off = [float((soft_rounded(latents, sharp) - latents.round()).abs().mean()) for sharp in (0.1, 4.0, 12.0)]
    assert off == sorted(off, reverse=True)
    assert (soft_rounded(latents, 0.01) - latents).abs().max() < 0.01


def test_fitted_samples_are_like_the_real_ones() -> None:
    data = make_data((1, 8, 8), [12, 12])
    order = torch.argsort(data.labels, stable=True)
    samples, labels = data.batch(order).samples, data.labels[order]
    config = replace(SMALL, fit_steps=60)
    fitted = LatentParameterization.from_samples(samples, labels, data.spec, config, 0).eval()
    left = (fitted() - samples).square().mean()
    assert left < 0.7 * samples.var(0).mean()
    again = LatentParameterization.from_samples(samples, labels, data.spec, config, 0).eval()
    assert torch.equal(fitted(), again())


def test_more_samples_than_networks_are_fitted_to() -> None:
    mine = stored((1, 4, 4), n=700, scales=(1, 2), fit_steps=5).eval()
    assert mine().shape == (700, 1, 4, 4)


@pytest.mark.parametrize("settings", [{}, {"n": 60}, {"n": 60, "group": "class"}])
def test_rate_is_what_is_spent(settings: dict[str, Any]) -> None:
    mine = stored(**settings).eval()
    assert float(mine.rate(mine.labels).detach()) == pytest.approx(bits_of(mine), rel=0.01, abs=80)
    assert float(mine.train().rate(mine.labels).detach()) == pytest.approx(bits_of(mine), rel=0.01, abs=80)


@pytest.mark.parametrize("quantisation", ["noise", "soft_rounding"])
@pytest.mark.parametrize("step", [0, 5])
def test_rate_is_what_would_be_sent_also_of_softened_latents(quantisation: str, step: int) -> None:
    mine = stored(n=60, quantisation=quantisation, soft_share=0.7, beta=1.0).train()
    mine.begin(Moment(step, 10, 1))
    assert softened(mine.latents, mine.config, Moment(step, 10, 1)) is not None
    assert float(mine.rate(mine.labels).detach()) == pytest.approx(bits_of(mine), rel=0.01, abs=80)


def test_rate_follows_weights_that_grow_and_pulls_them_back() -> None:
    mine = stored(n=60).train()
    before = float(mine.rate(mine.labels).detach())
    with torch.no_grad():
        for tensor in [*mine.synthesis, *mine.entropy]:
            tensor.mul_(8.0)
    for _ in range(REFRESH):  # until the size is looked at again
        rate = mine.rate(mine.labels)
    assert float(rate.detach()) > 1.1 * before
    assert float(rate.detach()) == pytest.approx(bits_of(mine), rel=0.01, abs=80)
    mine.zero_grad()
    rate.backward()
    layers = mine.synthesis[len(mine.form.mean_shapes) :]  # of which no latent is foretold
    assert all(float((layer.grad * layer.detach()).sum()) > 0 for layer in layers if bool(layer.any()))


def test_rate_falls_along_its_gradient() -> None:
    mine = stored(n=60).train()
    before = bits_of(mine)
    for _ in range(20):
        mine.latents.grad = None
        mine.rate(mine.labels).backward()
        with torch.no_grad():
            mine.latents.sub_(0.1 * mine.latents.grad)  # type: ignore[operator]
    assert bits_of(mine.eval()) < 0.95 * before


def test_tightened_takes_fewer_bits_the_stronger() -> None:
    mine = stored(n=40).eval()
    sizes = [bits_of(mine.tightened(strength)) for strength in (0.0, 0.1, 0.5, 1e4)]
    assert sizes[0] == bits_of(mine)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < sizes[0]
    off = [(mine.tightened(strength)() - mine()).square().mean() for strength in (0.0, 0.1, 0.5)]
    assert off[0] == 0
    assert off[1] < off[2]


def test_selected_and_joined_keep_what_is_sent() -> None:
    data = make_data((1, 8, 8), [10, 10])
    order = torch.argsort(data.labels, stable=True)
    samples, labels = data.batch(order).samples, data.labels[order]
    first = torch.tensor([*range(7), *range(10, 17)])
    later = torch.tensor([7, 8, 9, 17, 18, 19])
    config = replace(SMALL, fit_steps=60)
    mine = LatentParameterization.from_samples(samples[first], labels[first], data.spec, config, 0).eval()
    assert torch.equal(mine.selected(torch.tensor([3, 1]))(), mine()[[3, 1]])
    back = torch.argsort(torch.cat([labels[first], labels[later]]), stable=True)
    joined = mine.joined(samples[later], labels[later], back)
    assert torch.equal(joined.labels, labels)
    together = joined()[back.argsort()]
    assert torch.equal(together[:14], mine())
    assert (together[14:] - samples[later]).square().mean() < samples.var(0).mean()
    assert torch.equal(joined(), mine.joined(samples[later], labels[later], back)())


def test_parts_have_learning_rates_of_their_own() -> None:
    mine = stored(latents_rate=2.0, synthesis_rate=0.5, entropy_rate=0.0)
    groups = mine.param_groups(0.1)
    assert [group["lr"] for group in groups] == [0.2, 0.05, 0.0]
    assert sum(len(list(group["params"])) for group in groups) == len(list(mine.parameters()))


def test_a_resumed_run_goes_on_the_same() -> None:
    def train(mine: LatentParameterization, steps: range) -> None:
        mine.train()
        optimizer = torch.optim.SGD(mine.param_groups(0.05))
        for step in steps:
            mine.begin(Moment(step, 30, 0))
            loss = mine().square().mean() + 1e-5 * mine.rate(mine.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        mine.settle()

    whole, first, second = stored(), stored(), stored(fit_steps=0)
    train(whole, range(30))
    train(first, range(10))
    second.load_state_dict(first.state_dict())
    train(second, range(10, 30))
    assert torch.equal(whole.eval()(), second.eval()())
    assert bits_of(whole) == bits_of(second)


def test_weights_of_prediction_stay_within_their_range() -> None:
    for place, limit in ((0, 32.0), (1, 8192.0)):
        far = torch.tensor([1e9, -1e9, 0.3])
        for bits in (0, 3, 10):
            seen = rounded_entropy(far, place, bits)
            assert seen[0] == -seen[1]
            assert 0.9 * limit < seen[0] < limit


@pytest.mark.parametrize(
    "settings",
    [
        {"scales": ()},
        {"scales": (0, 2)},
        {"numbers": -1},
        {"numbers": 1000},
        {"scales": (1000,)},
        {"hidden": 0},
        {"convolutions": -1},
        {"context": 9},
        {"components": 5},
        {"entropy_layers": 0},
        {"group": 0},
        {"group": "all"},
        {"synthesis": "deep"},
        {"upsampling": "learned"},
        {"quantisation": "none"},
        {"precision": float("nan")},
        {"beta": -1.0},
        {"latents_rate": -1.0},
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    name = next(iter(settings))
    with pytest.raises(ConfigError, match=name):
        replace(SMALL, **settings)


@pytest.mark.parametrize("part", ["latents", "synthesis", "entropy"])
def test_a_diverged_optimisation_is_told(part: str) -> None:
    mine = stored()
    held = mine.latents if part == "latents" else getattr(mine, part)[-1]
    with torch.no_grad():
        held.view(-1)[0] = float("nan")
    with pytest.raises(ConfigError, match="diverged"):
        sent(mine.eval())


@pytest.mark.parametrize(
    "change",
    [
        {"scales": [2, 4]},
        {"scales": []},
        {"scales": [1 << 31]},
        {"scales": [2] * 1000},
        {"numbers": 1 << 31},
        {"hidden": 0},
        {"hidden": 1 << 31},
        {"convolutions": 1000},
        {"synthesis": 3},
        {"synthesis": 1 << 31},
        {"group_classes": 99},
        {"context": 7},
        {"entropy_hidden": 1000},
        {"entropy_layers": 5},
        {"components": 0},
        {"reach": 0},
        {"reach": 128},
    ],
)
def test_declarations_of_nothing_are_refused(change: dict[str, Any]) -> None:
    mine = stored()
    message = sent(mine)[0]
    for name, value in change.items():
        if isinstance(value, list):
            message.ClearField(name)
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    with pytest.raises(CorruptError):
        checked(message, mine.spec)


def test_wrong_streams_raise_or_decode_to_finite_samples() -> None:
    mine, spec = stored(n=6, numbers=2, scales=(4,)), make_spec((1, 8, 8), 2)
    message, streams = sent(mine)
    draws, refused = torch.Generator().manual_seed(0), 0
    for attempt in range(12):
        hostile = pb.Latent()
        hostile.CopyFrom(message)
        noise = bytes(torch.randint(0, 256, (260,), generator=draws).tolist())
        if attempt % 3:
            hostile.synthesis_weights = noise[:100]
        if attempt % 3 != 1:
            hostile.entropy_weights = noise[100:160]
        try:
            found = received(hostile, [(streams[0][0], noise[160:])], spec)
        except FormatError:
            refused += 1
            continue
        assert found().isfinite().all()
    assert 0 < refused < 12


def test_costs_grow_with_what_there_is_to_do() -> None:
    mine = stored()
    message = sent(mine)[0]
    cost = DecodingCost.of(message, mine.spec)
    assert (
        cost.parameters
        == mine.form.parameters
        == sum(tensor.numel() for tensor in mine.parameters()) - (mine.latents.numel())
    )
    assert cost.levels == 2 * message.reach + 1
    assert cost.shape == (1, 1, mine.latents.shape[1])
    message.hidden, message.convolutions = 64, 3
    larger = DecodingCost.of(message, mine.spec)
    assert larger.sample_work > cost.sample_work
    assert larger.shared_elements(10) > cost.shared_elements(10)
    assert cost.work(20) > cost.work(10) > 0
