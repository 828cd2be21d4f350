"""The epitome: what is trained is what is sent, at about the bits that are foretold, within its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from making import make_data, make_spec

from fedbits.coding import CODERS, RangeReader, RangeWriter
from fedbits.data import DataSpec
from fedbits.errors import ConfigError, CorruptError, FormatError
from fedbits.parameterization import EpitomeConfig, EpitomeParameterization
from fedbits.parameterization.epitome import DecodingCost, checked, shares
from fedbits.parameterization.epitome.code_rate import CodeRate
from fedbits.parameterization.epitome.codes import step_bits, top
from fedbits.quantization import Moment
from fedbits.wire import distilled_set_pb2 as pb

SMALL = EpitomeConfig(tokens=6, width=8, heads=2, blocks=1, nonzeros=5, patch=4, bits=4, fit_steps=30)


def stored(shape: tuple[int, ...] = (1, 8, 8), n: int = 10, **settings: Any) -> EpitomeParameterization:
    data = make_data(shape, [n // 2, n - n // 2])
    order = torch.argsort(data.labels, stable=True)
    samples = data.batch(order).samples
    return EpitomeParameterization.from_samples(samples, data.spec, replace(SMALL, **settings), 0)


def labels_of(parameterization: EpitomeParameterization) -> torch.Tensor:
    n = len(parameterization)
    return torch.arange(n) // max(1, n // 2 + n % 2)


def sent(
    parameterization: EpitomeParameterization, per_class: bool = False, quick: bool = False
) -> tuple[pb.Epitome, list[tuple[torch.Tensor, bytes]]]:
    labels = labels_of(parameterization)
    known = [labels[labels == label] for label in labels.unique()] if per_class else [labels]
    parts, message = [(some, RangeWriter()) for some in known], pb.DistilledSet()
    parameterization.encode(message, parts, quick)
    return message.epitome, [(some, writer.bytes()) for some, writer in parts]


def received(
    message: pb.Epitome, streams: list[tuple[torch.Tensor, bytes]], spec: DataSpec
) -> EpitomeParameterization:
    parts = [(labels, RangeReader(stream)) for labels, stream in streams]
    found = EpitomeParameterization.decode(message, spec, sum(len(labels) for labels, _ in parts), parts)
    return found.eval()  # type: ignore[return-value]


def bits_of(parameterization: EpitomeParameterization) -> int:
    message, streams = sent(parameterization)
    return 8 * (
        len(message.token_weights) + len(message.network_weights) + sum(len(stream) for _, stream in streams)
    )


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((1, 8, 8), {}),
        ((3, 9, 7), {"blocks": 2, "heads": 4}),  # patches stick out
        ((21,), {"bits": 2, "patch": 5}),
        ((2, 6, 6), {"blocks": 0, "bits": 8, "patch": 16}),
        ((1, 8, 8), {"start": "random", "sparsify": "end"}),
    ],
)
def test_what_is_received_is_what_was_sent(shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    mine = stored(shape, **settings).eval()
    per_class = len(shape) == 1 or settings.get("blocks") == 2
    message, written = sent(mine, per_class)
    theirs = received(message, written, mine.spec)
    assert mine().shape == (10, *shape)
    assert torch.equal(mine(), theirs())
    assert torch.equal(mine(torch.tensor([7, 2])), theirs()[[7, 2]])
    again, streams = sent(theirs, per_class)
    assert again == message
    assert [stream for _, stream in streams] == [stream for _, stream in written]


def test_training_sees_what_is_sent() -> None:
    mine = stored()
    trained = mine.train()().detach()
    assert (mine.eval()() - trained).abs().max() < 0.02
    counts = (mine.seen(mine.codes) != 0).flatten(2).sum(2)
    assert counts.max() <= SMALL.nonzeros
    assert counts.float().mean() > 0.5 * SMALL.nonzeros


def test_all_codes_have_a_gradient_and_masked_ones_may_come_back() -> None:
    mine = stored().train()
    mine().square().sum().backward()
    hidden = ~top(mine.codes, SMALL.nonzeros)
    assert hidden.any()
    assert (mine.codes.grad[hidden] != 0).float().mean() > 0.5  # type: ignore[index]
    assert all(tensor.grad is not None for tensor in (mine.tokens, *mine.network))
    place = tuple(hidden.nonzero()[0])
    with torch.no_grad():
        mine.codes[place] = 2 * mine.codes.abs().max()
    assert mine.seen(mine.codes)[place] != 0


def test_sparsity_may_be_left_to_the_end() -> None:
    mine = stored(start="random", sparsify="end").train()
    assert (mine.seen(mine.codes) != 0).flatten(2).sum(2).min() > SMALL.nonzeros
    assert (mine.coefficients() != 0).flatten(2).sum(2).max() <= SMALL.nonzeros
    mine.settle()
    assert (mine.codes != 0).flatten(2).sum(2).max() <= SMALL.nonzeros


def test_fitted_samples_are_like_the_real_ones() -> None:
    data = make_data((1, 8, 8), [12, 12])
    samples = data.batch(torch.arange(24)).samples
    fitted = EpitomeParameterization.from_samples(samples, data.spec, replace(SMALL, fit_steps=150), 0).eval()
    left = (fitted() - samples).square().mean()
    assert left < 0.5 * samples.var(0).mean()
    again = EpitomeParameterization.from_samples(samples, data.spec, replace(SMALL, fit_steps=150), 0).eval()
    assert torch.equal(fitted(), again())


@pytest.mark.parametrize("n", [10, 60])
def test_rate_is_what_is_spent(n: int) -> None:
    mine = stored(n=n).eval()
    assert float(mine.rate(labels_of(mine)).detach()) == pytest.approx(bits_of(mine), rel=0.01, abs=80)


def test_rate_falls_along_its_gradient() -> None:
    mine = stored(n=60).train()
    labels = labels_of(mine)
    before = mine.rate(labels)
    before.backward()
    largest = float(mine.codes.detach().abs().max())
    with torch.no_grad():
        mine.codes -= 0.1 * largest * mine.codes.grad.sign()  # type: ignore[union-attr]
    assert bits_of(mine.eval()) < float(before.detach())


def test_the_rate_of_codes_counts_positions_and_values() -> None:
    rate, symbols = CodeRate(2, (1, 4)), torch.zeros(50, 1, 2, 4, dtype=torch.long)
    symbols[::2, 0, 0, 0] = 1
    bits = rate.refresh(symbols)
    assert 50 < bits < 110  # one bit for each first patch, less for the others of its token
    position = symbols.float().requires_grad_(True)
    rate(position).backward()
    assert (position.grad[symbols == 1] > 0).all()  # type: ignore[index]
    assert (position.grad[symbols == 0] == 0).all()  # type: ignore[index]


def test_penalty_is_the_sum_of_magnitudes() -> None:
    mine = stored()
    assert float(mine.penalty().detach()) == pytest.approx(float(mine.codes.detach().abs().sum()))


def test_tightened_takes_fewer_bits_the_stronger() -> None:
    mine = stored(n=40).eval()
    sizes = [bits_of(mine.tightened(strength)) for strength in (0.0, 0.5, 3.0, 1e4)]
    assert sizes[0] == bits_of(mine)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < sizes[0]
    assert sizes[-1] < 0.1 * sizes[0] + 400
    off = [(mine.tightened(strength)() - mine()).square().mean() for strength in (0.0, 0.5, 3.0)]
    assert off[0] == 0
    assert off[1] < off[2]


def test_selected_and_joined_keep_what_is_sent() -> None:
    data = make_data((1, 8, 8), [10, 10])
    samples = data.batch(torch.arange(20)).samples
    mine = EpitomeParameterization.from_samples(samples[:14], data.spec, SMALL, 0).eval()
    assert torch.equal(mine.selected(torch.tensor([3, 1]))(), mine()[[3, 1]])
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    joined = mine.joined(samples[14:], data.labels[14:], order)
    together = joined()[order.argsort()]
    assert torch.equal(together[:14], mine())
    assert (together[14:] - samples[14:]).square().mean() < 0.8 * samples.var(0).mean()
    assert torch.equal(joined(), mine.joined(samples[14:], data.labels[14:], order)())


def test_parts_have_learning_rates_of_their_own() -> None:
    for start, unit in (("random", 1.0), ("fit", None)):
        mine = stored(tokens_rate=0.5, codes_rate=2.0, network_rate=0.0, start=start)
        groups = mine.param_groups(0.1)
        assert [group["lr"] for group in groups] == [0.2 * (unit or mine.unit()), 0.05, 0.0]
    assert sum(len(list(group["params"])) for group in groups) == len(list(mine.parameters()))


@pytest.mark.parametrize("scale", [1, 100])
def test_codes_move_as_far_as_they_are_large_however_fine_their_steps(scale: float) -> None:
    """Steps are powers of two, so that rates for the same codes may differ, by less than three times."""
    codes = stored(start="fit").codes.detach() * scale
    units = []
    for bits in (2, 3, 5, 8):
        like = stored(start="fit", bits=bits)
        alone = EpitomeParameterization(like.spec, like.config, codes, like.tokens.data, list(like.network))
        units.append(alone.param_groups(1.0)[0]["lr"] / float(codes.abs().max()))
    assert max(units) < 3 * min(units)


def test_a_resumed_run_goes_on_the_same() -> None:
    def train(mine: EpitomeParameterization, steps: range) -> None:
        mine.train()
        optimizer = torch.optim.SGD(
            mine.parameters(), 0.05
        )  # whose own state a checkpoint has, rates and all
        for step in steps:
            mine.begin(Moment(step, 40, 0))
            loss = mine().square().mean() + 1e-5 * mine.rate(labels_of(mine))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    whole, first, second = stored(), stored(), stored(start="random")
    train(whole, range(30))
    train(first, range(20))
    second.load_state_dict(first.state_dict())
    train(second, range(20, 30))
    assert torch.equal(whole.eval()(), second.eval()())


def test_the_papers_count() -> None:
    spec = make_spec((3, 32, 32), 10)
    config = EpitomeConfig(tokens=16, width=32, heads=2, blocks=1, nonzeros=48, patch=4)
    assert config.float32_equivalents(170, spec) == 29_872


@pytest.mark.parametrize(
    "settings",
    [
        {"heads": 3},
        {"tokens": 0},
        {"bits": 1},
        {"bits": 9},
        {"nonzeros": 0},
        {"blocks": -1},
        {"precision": 0.0},
        {"precision": float("nan")},
        {"sparsify": "never"},
        {"start": "zero"},
        {"codes_rate": -1.0},
        {"patch": 0},
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    name = next(iter(settings))
    with pytest.raises(ConfigError, match=name):
        replace(SMALL, **settings)


def test_a_diverged_optimisation_is_told() -> None:
    mine = stored()
    with torch.no_grad():
        mine.tokens[0, 0] = float("nan")
    with pytest.raises(ConfigError, match="diverged"):
        sent(mine.eval())


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": 1 << 20},
        {"width": 1 << 31},
        {"heads": 3},
        {"heads": 0},
        {"blocks": 1000},
        {"patch": 0},
        {"bits": 40},
        {"coder": max(CODERS) + 1},
        {"coder": 8},
        {"nonzeros": 0},
        {"fraction_bits": [1]},
        {"fraction_bits": [1, 99]},
    ],
)
def test_declarations_of_nothing_are_refused(change: dict[str, Any]) -> None:
    mine = stored()
    message = sent(mine)[0]
    for name, value in change.items():
        if isinstance(value, list):
            message.ClearField(name)  # type: ignore[arg-type]
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    with pytest.raises(CorruptError):
        checked(message, mine.spec)


def test_wrong_streams_raise_or_decode_to_finite_samples() -> None:
    mine, spec = stored(n=6), make_spec((1, 8, 8), 2)
    message, streams = sent(mine)
    draws, refused = torch.Generator().manual_seed(0), 0
    for _ in range(30):
        hostile = pb.Epitome()
        hostile.CopyFrom(message)
        noise = bytes(torch.randint(0, 256, (400,), generator=draws).tolist())
        hostile.token_weights, hostile.network_weights = noise[:60], noise[60:200]
        try:
            found = received(hostile, [(streams[0][0], noise[200:])], spec)
        except FormatError:
            refused += 1
            continue
        assert found().isfinite().all()
    assert refused > 0


def test_shares_of_bits_add_up() -> None:
    mine = stored(n=40).eval()
    message, streams = sent(mine)
    bits = 8 * len(streams[0][1])
    parts = [(streams[0][0], RangeReader(streams[0][1]))]
    found = shares(message, mine.spec, parts, bits)
    assert sum(found.values()) == bits
    assert all(share > 0.1 * bits for share in found.values())


def test_costs_grow_with_what_there_is_to_do() -> None:
    mine = stored()
    message = sent(mine)[0]
    cost = DecodingCost.of(message, mine.spec)
    assert cost.parameters == mine.form.parameters
    assert cost.levels == 16
    message.width, message.blocks = 64, 3
    assert DecodingCost.of(message, mine.spec).sample_work > cost.sample_work
    assert cost.work(20) > cost.work(10) > 0


def test_masks_take_the_largest_of_each_head() -> None:
    codes = torch.tensor([[[[3.0, -5.0]], [[0.0, 1.0]]], [[[2.0, 1.0]], [[-4.0, 0.0]]]])
    kept = codes * top(codes, 1)
    assert kept.flatten().tolist() == [0, -5, 0, 1, 2, 0, -4, 0]
    assert step_bits(kept, 2) == (-2, -2)  # up to 5 and 4 at a step of 4, of which one and a half are reached
