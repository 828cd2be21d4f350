"""The pixel parameterisation: what is trained is what is sent, at the size that was promised."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_data, make_set, make_spec

from fedbits.coding import RangeReader, RangeWriter
from fedbits.errors import CorruptError
from fedbits.parameterization import PixelParameterization
from fedbits.parameterization.network_rate import NetworkRate
from fedbits.parameterization.pixel import PixelConfig, shrink, stored_shape
from fedbits.parameterization.rate import ContextRate, Rate
from fedbits.quantization import QuantizerConfig
from fedbits.wire import distilled_set_pb2 as pb

SHAPES = [(1, 8, 8), (3, 8, 8), (1, 7, 5), (2, 9, 13), (1, 1, 6), (6,), (1,)]
FORMS = {
    "shape": st.sampled_from(SHAPES),
    "bits": st.integers(1, 8),
    "factor": st.sampled_from([1, 2, 4, 8]),
    "seed": st.integers(0, 20),
    "dtype": st.sampled_from(["uint8", "float32"]),
}


def made(shape: tuple[int, ...], bits: int = 3, factor: int = 1, seed: int = 0, dtype: str = "uint8"):
    """A set that has left the grid on which it started, as training leaves it."""
    distilled = make_set(make_data(shape, [3, 2, 3], seed, dtype), 3, bits, factor)
    stored = distilled.parameterization
    noise = torch.randn(stored.stored.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        stored.stored += 0.3 * noise
        stored.quantizer.low += 0.01
        stored.quantizer.width *= 1.01
    return stored


def labels_of(stored: PixelParameterization) -> torch.Tensor:
    """Classes of about equal size."""
    return torch.arange(len(stored)) * 3 // len(stored)


def sent(stored: PixelParameterization) -> tuple[PixelParameterization, int]:
    """What a receiver gets, and the bytes of the stream."""
    message, writer, labels = pb.DistilledSet(), RangeWriter(), labels_of(stored)
    stored.encode(message, [(labels, writer)])
    stream = writer.bytes()
    parts = [(labels, RangeReader(stream))]
    received = PixelParameterization.decode(message.pixel, stored.spec, len(stored), parts)
    return received, len(stream)


@settings(max_examples=60)
@given(**FORMS)
def test_what_is_sent_is_what_was_seen(
    shape: tuple[int, ...], bits: int, factor: int, seed: int, dtype: str
) -> None:
    stored = made(shape, bits, factor, seed, dtype)
    received, _ = sent(stored)
    with torch.no_grad():
        trained = stored.train()()
        seen = stored.eval()()
        decoded = received.eval()()
    assert seen.shape == (8, *shape)
    assert seen.dtype == torch.float32
    assert torch.equal(decoded, seen)
    assert torch.allclose(trained, seen, atol=1e-5)
    assert torch.equal(received.symbols(), stored.symbols())


@settings(max_examples=40)
@given(**FORMS)
def test_the_rate_of_what_is_on_the_grid_is_what_encoding_spends(
    shape: tuple[int, ...], bits: int, factor: int, seed: int, dtype: str
) -> None:
    received, size = sent(made(shape, bits, factor, seed, dtype))
    for mode in (True, False):
        rate = received.train(mode).rate(labels_of(received))
        assert 0 <= float(rate.detach()) <= 8 * size + 8
        assert 8 * size <= 1.01 * float(rate.detach()) + 32


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_the_rate_of_trained_samples(bits: int) -> None:
    stored = make_set(make_data((1, 12, 12), [20, 20, 20]), 20, bits).parameterization.eval()
    _, size = sent(stored)
    assert stored.rate(labels_of(stored)).item() == pytest.approx(8 * size, rel=0.01, abs=32)


def test_the_rate_falls_where_its_gradient_says() -> None:
    stored = make_set(make_data((1, 12, 12), [20, 20, 20]), 20, 3).parameterization.train()
    before = stored.rate(labels_of(stored))
    before.backward()
    assert bool(stored.stored.grad.isfinite().all())
    with torch.no_grad():
        stored.stored -= 0.1 * stored.quantizer.step.item() * stored.stored.grad.sign()
    assert float(stored.rate(labels_of(stored)).detach()) < float(before.detach())


@pytest.mark.parametrize("kind", [ContextRate, NetworkRate])
def test_the_gradient_points_to_cheaper_symbols(kind: type[Rate]) -> None:
    """Almost all symbols are 0: one beside them costs more the farther it is from 0."""
    rate = kind(4)
    symbols = torch.zeros(4, 1, 8, 8, dtype=torch.long)
    symbols[0, 0, :, 0] = 1
    spent = rate.refresh(symbols.numpy())
    assert float(rate(symbols.float())) == pytest.approx(spent, abs=1e-3)
    position = symbols.float()
    position[1, 0, 4, 4] = 0.4
    position.requires_grad_()
    rate(position).backward()
    assert float(position.grad[1, 0, 4, 4]) > 1.0


def test_selected_samples_are_those_of_the_whole() -> None:
    stored = made((1, 7, 5), factor=2)
    index = torch.tensor([5, 0, 5])
    for mode in (True, False):
        assert torch.equal(stored.train(mode)(index).detach(), stored()[index].detach())


def test_gradients_reach_all_that_is_stored() -> None:
    stored = made((3, 8, 8), factor=2).train()
    stored().square().sum().backward()
    groups = stored.param_groups(0.1)
    parameters = [parameter for group in groups for parameter in group["params"]]
    assert {id(p) for p in parameters} == {id(p) for p in stored.parameters()}
    assert all(float(p.grad.abs().sum()) > 0 for p in parameters)
    assert groups[0]["lr"] == 0.1 > groups[1]["lr"]


def test_unquantised_training_sees_what_is_stored() -> None:
    samples = make_data((1, 4, 4), [4]).batch().samples
    config = PixelConfig(1, quantizer=QuantizerConfig("post"))
    stored = PixelParameterization.from_samples(samples, make_spec((1, 4, 4), 1), config)
    assert torch.equal(stored.train()().detach(), samples)
    assert len(stored.eval()().unique()) == 2


@pytest.mark.parametrize("shape", SHAPES)
def test_tightening_by_nothing_rounds(shape: tuple[int, ...]) -> None:
    stored = made(shape, bits=4, factor=2)
    same = stored.tightened(0.0)
    assert torch.equal(same.symbols(), stored.symbols())
    assert torch.equal(same.eval()(), stored.eval()())


@pytest.mark.parametrize(("bits", "factor"), [(1, 1), (2, 2), (3, 1), (8, 1)])
def test_tightening_takes_fewer_bits(bits: int, factor: int) -> None:
    stored = made((1, 8, 8), bits, factor)
    sizes = [sent(stored.tightened(strength))[1] for strength in (0.0, 0.1, 1e4)]
    assert sizes[0] >= sizes[1]
    assert sizes[-1] <= 0.75 * sizes[0]


def test_tightening_stays_near_what_was_trained() -> None:
    stored = made((1, 8, 8), bits=4)
    moved = (stored.tightened(0.1).symbols() - stored.symbols()).abs()
    assert 0 < float(moved.float().mean()) < 0.5


def test_joined_samples_take_their_places() -> None:
    data = make_data((1, 8, 8), [3, 3])
    stored = make_set(data, 1, 8).parameterization
    added = data.batch(torch.arange(2)).samples
    order = torch.tensor([2, 0, 3, 1])
    joined = stored.joined(added, data.labels[:2], order).eval()
    assert torch.equal(joined()[[1, 3]], stored.eval()())
    assert torch.allclose(joined()[[0, 2]], added, atol=0.3)


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 5), (1, 1, 9), (2, 13, 6)])
def test_shrinking_keeps_flat_images_and_rounds_sides_up(shape: tuple[int, ...], factor: int) -> None:
    spec = make_spec(shape)
    stored = stored_shape(spec, factor)
    assert stored == (shape[0], -(-shape[1] // factor), -(-shape[2] // factor))
    small = shrink(torch.full((2, *shape), 0.7), spec, factor)
    assert small.shape == (2, *stored)
    assert torch.allclose(small, torch.full_like(small, 0.7))
    back = PixelParameterization.from_samples(torch.full((2, *shape), 0.7), spec, PixelConfig(3, factor))
    assert torch.allclose(back.eval()(), torch.full((2, *shape), 0.7), atol=1e-3)


def test_shrinking_is_by_area() -> None:
    samples = torch.arange(16.0).view(1, 1, 4, 4)
    small = shrink(samples, make_spec((1, 4, 4)), 2)
    assert small.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_flat_samples_have_no_resolution_to_trade() -> None:
    spec = make_spec((6,))
    assert stored_shape(spec, 8) == (1, 1, 6)
    samples = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    stored = PixelParameterization.from_samples(samples, spec, PixelConfig(8, 4)).eval()
    assert torch.allclose(stored(), samples, atol=0.03)


@pytest.mark.parametrize(
    "change", [{"factor_log2": 4}, {"coder": 99}, {"bits": 0}, {"bits": 9}, {"grid": b"abc"}]
)
def test_messages_that_no_encoder_writes(change: dict[str, object]) -> None:
    message, writer, stored = pb.DistilledSet(), RangeWriter(), made((1, 4, 4))
    stored.encode(message, [(labels_of(stored), writer)])
    for name, value in change.items():
        setattr(message.pixel, name, value)
    with pytest.raises(CorruptError):
        parts = [(labels_of(stored), RangeReader(writer.bytes()))]
        PixelParameterization.decode(message.pixel, make_spec((1, 4, 4)), len(stored), parts)


def test_description() -> None:
    assert made((1, 4, 4), 5, 2).describe() == {"parameterization": "pixel", "bits": 5, "factor": 2}
