"""What every quantiser promises, whatever its name, width and scope."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedbits.errors import ConfigError
from fedbits.quantization import (
    QUANTIZERS,
    FixedQuantizer,
    Grid,
    Moment,
    Quantizer,
    QuantizerConfig,
    build,
)
from fedbits.quantization.banded import BandedQuantizer

names = st.sampled_from(sorted(QUANTIZERS))
scopes = st.sampled_from(["channel", "tensor"])
SETTINGS = [
    (name, scope, standardised)
    for name in QUANTIZERS
    for scope in ("channel", "tensor")
    for standardised in ((False, True) if name == "apot" else (True,))
]


def made(seed: int = 0, n: int = 40, channels: int = 3, scale: float = 1.0, offset: float = 0.0) -> Tensor:
    """Values whose channels differ in mean and deviation."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n, channels, 4, 5, generator=generator)
    spread = torch.arange(1.0, channels + 1).view(1, -1, 1, 1)
    return (values * spread + 0.3 * spread + offset) * scale


def make(
    name: str, bits: int, values: Tensor, scope: str = "channel", standardised: bool = True
) -> Quantizer:
    return build(QuantizerConfig(name, scope, standardised=standardised), bits, values)  # type: ignore[arg-type]


def ready(quantizer: Quantizer, values: Tensor, step: int = 0) -> Quantizer:
    """As in a training step."""
    quantizer.train().begin(Moment(step, 10, 0), values)
    return quantizer


@given(name=names, bits=st.integers(1, 8), scope=scopes, standardised=st.booleans(), seed=st.integers(0, 99))
def test_what_travels_gives_the_same_levels(
    name: str, bits: int, scope: str, standardised: bool, seed: int
) -> None:
    values = made(seed, n=5, scale=4.0 ** (seed % 5 - 2), offset=seed % 7 - 3.0)
    quantizer = make(name, bits, values, scope, standardised)
    grid = quantizer.grid()
    side = grid.side_information()
    per_channel = scope == "channel" or (name == "apot" and standardised)
    assert len(side) == (12 if per_channel else 4)
    received = Grid.from_side_information(bits, side, 3, grid.spacing)
    used = quantizer.levels - (name == "apot" and bits > 1)  # the last level of the powers is a repetition
    symbols = torch.arange(used).view(-1, 1, 1, 1).expand(-1, 3, 1, 1)
    levels = received.lookup(symbols)
    assert torch.equal(levels, grid.lookup(symbols))
    assert bool((levels.diff(dim=0) > 0).all())
    for reader in (grid, received, FixedQuantizer(received)):
        assert torch.equal(reader.symbols(levels.float()), symbols)
    if bits <= 6:  # what is stored for an outermost level of fsq is bounded
        assert torch.equal(quantizer.symbols(quantizer.stored(levels.float())), symbols)


@given(name=names, bits=st.integers(1, 8), scope=scopes, standardised=st.booleans(), seed=st.integers(0, 99))
def test_evaluation_sees_exactly_what_is_sent(
    name: str, bits: int, scope: str, standardised: bool, seed: int
) -> None:
    values = made(seed, n=7, scale=3.0 ** (seed % 5 - 2))
    quantizer = make(name, bits, values, scope, standardised).eval()
    stored = quantizer.stored(values)
    sent = quantizer.grid().lookup(quantizer.symbols(stored)).float()
    assert torch.equal(quantizer(stored), sent)
    position = quantizer.position(stored)
    assert position.min().item() >= 0 and position.max().item() <= quantizer.levels - 1
    assert torch.equal(position.round().long(), quantizer.symbols(stored))
    if name in ("uniform", "apot"):
        assert torch.equal(ready(quantizer, values)(stored), quantizer.eval()(stored))


@pytest.mark.parametrize(("name", "scope", "standardised"), SETTINGS)
def test_more_bits_come_closer(name: str, scope: str, standardised: bool) -> None:
    values = made()
    errors = []
    for bits in range(1, 9):
        quantizer = make(name, bits, values, scope, standardised)
        sent = quantizer.grid().lookup(quantizer.symbols(quantizer.stored(values)))
        errors.append(float((sent - values).square().mean() / values.square().mean()))
    assert all(later < 0.9 * earlier for earlier, later in pairwise(errors[:6]))
    assert errors[3] < 0.02 and errors[7] < 2e-3


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
@pytest.mark.parametrize(("name", "scope", "standardised"), SETTINGS)
@pytest.mark.parametrize(
    "values",
    [
        torch.zeros(4, 3, 2, 2),
        torch.full((4, 3, 2, 2), -7.5),
        made(n=1)[..., :1, :1],
        made(scale=1e-30),
        made(scale=1e20),
    ],
    ids=["zero", "constant", "one number", "tiny", "huge"],
)
def test_nothing_becomes_infinite(
    name: str, scope: str, standardised: bool, bits: int, values: Tensor
) -> None:
    quantizer = make(name, bits, values, scope, standardised)
    stored = quantizer.stored(values).clone().requires_grad_()
    for step in range(4):  # of fsq, some have noise
        seen = ready(quantizer, stored.detach(), step)(stored)
        seen.sum().backward()
        (quantizer.position(stored).sum() + quantizer.penalty(stored)).backward()
        gradients = [stored.grad, *(p.grad for p in quantizer.parameters() if p.requires_grad)]
        assert bool(seen.isfinite().all())
        assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    quantizer.settle(stored.detach())
    side = quantizer.grid().side_information()
    received = Grid.from_side_information(bits, side, 3, quantizer.grid().spacing)
    assert bool(received.lookup(quantizer.symbols(stored)).isfinite().all())


@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_constant_is_kept(name: str) -> None:
    values = torch.full((4, 3, 2, 2), 1.375)
    for bits in range(1, 9):
        quantizer = make(name, bits, values)
        sent = quantizer.grid().lookup(quantizer.symbols(quantizer.stored(values)))
        assert (sent - 1.375).abs().max().item() < 1e-3, bits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", QUANTIZERS)
def test_type_shape_and_device_are_kept(name: str, dtype: torch.dtype) -> None:
    values = made().to(dtype)
    quantizer = make(name, 3, values)
    stored = quantizer.stored(values)
    for step in range(3):
        seen = ready(quantizer, values, step)(stored)
        for result in (seen, stored, quantizer.position(stored)):
            assert (result.dtype, result.shape, result.device) == (dtype, values.shape, values.device)
    assert quantizer.symbols(stored).dtype == torch.int64


@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_moment_decides_what_training_sees(name: str) -> None:
    """Two runs, one of them resumed in the middle; and every forward pass of a step is the same."""
    values = made()
    whole, resumed = make(name, 3, values), make(name, 3, values)
    before = torch.get_rng_state()
    for step in range(12):
        seen = ready(whole, values, step)(values)
        assert torch.equal(seen, whole(values))
        if step >= 6:
            assert torch.equal(seen, ready(resumed, values, step)(values))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("name", "scope", "standardised"), SETTINGS)
def test_state_holds_all_that_the_grid_says(name: str, scope: str, standardised: bool) -> None:
    first, second = (make(name, 3, made(seed), scope, standardised) for seed in (0, 1))
    second.load_state_dict(first.state_dict())
    assert second.grid().side_information() == first.grid().side_information()


@pytest.mark.parametrize("name", [name for name in QUANTIZERS if name != "post"])
def test_everything_is_learned(name: str) -> None:
    values = made()
    quantizer = make(name, 2, values)
    stored = quantizer.stored(values).clone().requires_grad_()
    ready(quantizer, values)(stored).square().sum().backward()
    assert (stored.grad != 0).float().mean().item() > 0.7  # type: ignore[union-attr]
    assert all(bool((parameter.grad != 0).all()) for parameter in quantizer.parameters())


def banded(name: str, values: Tensor) -> Quantizer:
    return BandedQuantizer.covering(2, values, QuantizerConfig(name), band=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [make, banded], ids=["plain", "banded"])
@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("uniform", "forward"),
        ("uniform", "position"),
        ("ddq", "forward"),
        ("ddq", "position"),
        ("apot", "forward"),
    ],
)
def test_values_far_out_receive_what_leads_them_back(
    name: str, kind: Callable[..., Quantizer], of: str
) -> None:
    values = made()
    quantizer = kind(name, values) if kind is banded else kind(name, 2, values)
    ready(quantizer, values)
    for side in (-1.0, 1.0):
        for pull in (-1.0, 1.0):
            far = torch.full_like(values, side * 100).requires_grad_()
            (pull * getattr(quantizer, of)(far)).sum().backward()
            assert far.grad is not None
            assert bool((far.grad * pull > 0).all() if side == pull else (far.grad == 0).all())


def test_names() -> None:
    expected = r"'unifrom' \(did you mean 'uniform'\?\): expected one of uniform, fsq, ddq, apot, post"
    with pytest.raises(ConfigError, match=expected):
        QuantizerConfig("unifrom")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"scope": "row"}, "'row': expected channel or tensor"),
        ({"tail": 0.5}, r"tail .* 0\.5"),
        ({"tail": -0.1}, "tail"),
        ({"temperature": (0.0, 2.0)}, "temperature"),
        ({"temperature": (1.0, float("inf"))}, "temperature"),
        ({"temperature": (1.0,)}, "temperature"),
        ({"learning_rate": -1.0}, r"learning rate .* -1\.0"),
    ],
)
def test_wrong_settings(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        QuantizerConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("bits", [0, 9])
def test_bits_out_of_range(name: str, bits: int) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 8"):
        make(name, bits, made())
