"""The cosine transform: orthonormal, inverted exactly, and in training just what a receiver sees."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import reader
from hypothesis import given, settings
from hypothesis import strategies as st
from making import by_coder, make_data, make_spec, message_of, tiny_recipe
from scipy.fft import dctn
from storing import transformed

from fedbits.budget import Budget
from fedbits.container import decode, encode, inspect, ledger
from fedbits.data import load
from fedbits.distill import distill
from fedbits.errors import ConfigError
from fedbits.parameterization import PixelParameterization, transform
from fedbits.parameterization.pixel import PixelConfig
from fedbits.parameterization.rate import ContextRate
from fedbits.quantization import QUANTIZERS, Moment, QuantizerConfig
from fedbits.quantization.banded import BandedQuantizer

DOCUMENT = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
SIDES = [1, 2, 3, 4, 7, 8, 14, 28, 32, 50, 128, 255, 256]
SHAPES = [(1, 8, 8), (3, 8, 8), (1, 7, 5), (2, 9, 13), (1, 1, 6), (1, 1, 1)]


@pytest.mark.parametrize("side", SIDES)
def test_the_basis_is_orthonormal(side: int) -> None:
    basis = transform.basis(side)
    assert torch.allclose(basis @ basis.T, torch.eye(side, dtype=torch.float64), atol=1e-12)


def test_coefficients_are_those_of_another_implementation() -> None:
    samples = torch.randn(2, 3, 7, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = dctn(samples.numpy(), axes=(2, 3), norm="ortho")
    assert np.allclose(transform.forward(samples).numpy(), expected, atol=1e-12)


def test_the_integers_are_those_of_the_document() -> None:
    """And no other cosine function could give others; no sum leaves what float64 holds exactly."""
    digest, largest, nearest = hashlib.sha256(), 0.0, 1.0
    for side in range(1, transform.LARGEST_SIDE + 1):
        exact = transform.basis(side) * 2**16
        integers = transform.integers(side)
        digest.update(integers.numpy().astype("<i4").tobytes())
        assert np.array_equal(integers.numpy(), reader.cosines(side))
        largest = max(largest, float(integers.abs().sum(0).max()))
        nearest = min(nearest, float((exact - exact.floor() - 0.5).abs().min()))
    assert digest.hexdigest() in DOCUMENT
    assert nearest > 1e-5
    assert largest < 2**20
    assert largest * (largest * 2**27 / 2**16 + 1) + 2**15 < 2**51
    with pytest.raises(ValueError, match="257"):
        transform.integers(transform.LARGEST_SIDE + 1)


@settings(max_examples=40)
@given(
    height=st.sampled_from(SIDES[:-3]),
    width=st.sampled_from(SIDES[:-3]),
    size=st.floats(-3, 5),
    seed=st.integers(0, 99),
)
def test_the_inverse_is_exact(height: int, width: int, size: float, seed: int) -> None:
    """The same as Python's integers give, and as the independent reader, and near what floats give."""
    generator = torch.Generator().manual_seed(seed)
    coefficients = 10**size * torch.randn(2, 1, height, width, generator=generator, dtype=torch.float64)
    samples = transform.inverse(coefficients)
    assert np.array_equal(samples.numpy(), reader.untransformed(coefficients.numpy()))
    assert torch.equal(samples * 2**12, (samples * 2**12).round())
    if size < 3:
        back = transform.forward(samples)
        assert torch.allclose(back, coefficients, atol=1e-2, rtol=1e-3)


def test_the_largest_coefficients_are_summed_exactly() -> None:
    """All at the limit, with the signs of one column: in Python's integers, of any size."""
    side = transform.LARGEST_SIDE
    signs = torch.sign(transform.integers(side)[:, :1])
    coefficients = (signs * signs.T * 1e9)[None, None]
    column = [int(entry) for entry in transform.integers(side)[:, 0]]
    first = (sum(abs(entry) for entry in column) * 2**27 + 2**15) >> 16
    expected = (sum(abs(entry) for entry in column) * first + 2**15) >> 16
    assert expected > 2**34
    assert int(transform.inverse(coefficients)[0, 0, 0, 0] * 2**12) == expected


def test_the_order_of_sums_does_not_matter() -> None:
    coefficients = 1e6 * torch.randn(1, 1, 64, 256, generator=torch.Generator().manual_seed(0)).double()
    fixed = (coefficients * 2**12 + 0.5).floor().clamp(-(2**27), 2**27)
    columns = transform.integers(256)
    order = torch.randperm(256, generator=torch.Generator().manual_seed(1))
    assert torch.equal(fixed[..., order] @ columns[order], fixed @ columns)


def made(
    shape: tuple[int, ...],
    bits: int = 3,
    factor: int = 1,
    seed: int = 0,
    quantizer: str = "uniform",
    band: int = 0,
) -> PixelParameterization:
    """A parameterisation that has left the levels on which it started."""
    data = make_data(shape, [3, 2, 3], seed)
    samples = data.batch(torch.argsort(data.labels, stable=True)).samples
    config = PixelConfig(bits, factor, QuantizerConfig(quantizer), "dct", band)  # type: ignore[arg-type]
    stored = PixelParameterization.from_samples(samples, data.spec, config)
    noise = torch.randn(stored.stored.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        stored.stored += 0.3 * noise
    return stored


@settings(max_examples=40)
@given(
    shape=st.sampled_from(SHAPES),
    bits=st.integers(1, 8),
    factor=st.sampled_from([1, 2, 4, 8]),
    seed=st.integers(0, 20),
    quantizer=st.sampled_from(["uniform", "apot"]),
)
def test_training_sees_what_is_decoded(
    shape: tuple[int, ...], bits: int, factor: int, seed: int, quantizer: str
) -> None:
    """Bit for bit."""
    stored = made(shape, bits, factor, seed, quantizer)
    stored.begin(Moment(0, 10, 0))
    stored.settle()
    with torch.no_grad():
        trained, seen = stored.train()(), stored.eval()()
        some = stored(torch.tensor([5, 0]))
    assert torch.equal(trained, seen)
    assert torch.equal(some, seen[[5, 0]])
    sent = transformed(stored)
    blob = encode(sent, quick=True)
    received = decode(blob)
    assert torch.equal(received.samples, seen)
    assert torch.equal(received.parameterization.symbols(), stored.symbols())
    assert encode(received, quick=True) == blob
    assert sum(ledger(blob).components.values()) == 8 * len(blob)


@pytest.mark.parametrize(
    ("shape", "coder", "factor"), [((1, 8, 8), 2, 1), ((3, 7, 5), 2, 2), ((1, 6, 8), 4, 2)]
)
def test_the_independent_reader_decodes_it(shape: tuple[int, ...], coder: int, factor: int) -> None:
    sent = transformed(made(shape, 4, factor, quantizer="apot"))
    with by_coder(coder):
        for per_class in (False, True):
            blob = encode(sent, per_class=per_class)
            assert reader.read(blob).samples.tobytes() == sent.samples.numpy().tobytes()
            assert torch.equal(decode(blob, classes=[2]).samples, sent.samples[5:])
    assert inspect(blob)["transform"] == "dct"


@pytest.mark.parametrize("name", sorted(QUANTIZERS))
def test_every_quantizer_serves_coefficients(name: str) -> None:
    stored = made((2, 9, 8), 3, quantizer=name).train()
    stored.begin(Moment(3, 10, 7))
    seen = stored()
    assert seen.shape == (8, 2, 9, 8)
    (seen * torch.linspace(-1, 1, 72).view(9, 8)).sum().backward()
    assert bool(stored.stored.grad.isfinite().all()) and bool(stored.stored.grad.any())
    assert float(stored.penalty().detach()) >= 0
    stored.settle()
    sent = transformed(stored.eval())
    assert torch.equal(decode(encode(sent, quick=True)).samples, sent.samples)
    samples = make_data((2, 9, 8), [3, 2, 3]).batch().samples
    assert float((seen.detach() - samples.mean()).abs().mean()) < 4


def test_quantizers_out_of_the_loop_train_on_what_is_stored() -> None:
    stored = made((1, 8, 8), 1, quantizer="post").train()
    inverted = transform.basis(8).T @ stored.stored.detach().double() @ transform.basis(8)
    assert torch.allclose(stored().double(), inverted, atol=2e-3)


def test_gradients_are_those_of_the_float_transform() -> None:
    """Straight through the quantiser, and the transpose of the orthonormal transform."""
    stored = made((2, 6, 5), 8)
    weights = torch.randn(8, 2, 6, 5, generator=torch.Generator().manual_seed(1))
    (stored.train()() * weights).sum().backward()
    levels = stored.quantizer(stored.stored.detach())
    rows, columns = transform.basis(6).float(), transform.basis(5).float()
    floats = stored.stored.detach().clone().requires_grad_()
    within = stored.quantizer(floats)
    ((rows.T @ within @ columns) * weights).sum().backward()
    assert torch.allclose(stored.stored.grad, floats.grad, atol=1e-5)
    assert torch.allclose(rows.T @ levels @ columns, stored().detach(), atol=5e-3)


def test_gradients_reach_both_grids() -> None:
    stored = made((3, 8, 8), factor=2).train()
    stored().square().sum().backward()
    parameters = [parameter for group in stored.param_groups(0.1) for parameter in group["params"]]
    assert {id(p) for p in parameters} == {id(p) for p in stored.parameters()}
    assert len(parameters) == 5
    assert all(float(p.grad.abs().sum()) > 0 for p in parameters)


def test_a_band_has_a_range_of_its_own() -> None:
    digits = load("digits").train
    stored = PixelParameterization.from_samples(
        digits.batch(torch.arange(100)).samples, digits.spec, PixelConfig(3, transform="dct")
    )
    quantizer = stored.quantizer
    assert isinstance(quantizer, BandedQuantizer)
    assert quantizer.band == 4
    assert float(quantizer.low.step.detach()) > 1.5 * float(quantizer.high.step.detach())
    error = (stored.eval()() - digits.batch(torch.arange(100)).samples).square().mean()
    assert float(error) < 0.1


@pytest.mark.parametrize("bits", [2, 8])
def test_the_rate_is_what_encoding_spends(bits: int) -> None:
    digits = load("digits").train
    batch = digits.batch(torch.arange(24))
    stored = PixelParameterization.from_samples(
        batch.samples, digits.spec, PixelConfig(bits, transform="dct")
    )
    assert isinstance(stored._rate, ContextRate)
    sent = transformed(stored, [8, 8, 8], make_spec((1, 8, 8), 3))
    size = ledger(encode(sent)).components["samples"]
    assert stored.eval().rate(sent.labels).item() == pytest.approx(size, rel=0.01, abs=32)


def test_the_rate_falls_where_its_gradient_says() -> None:
    stored = made((1, 12, 12)).train()
    labels = torch.zeros(8).long()
    before = stored.rate(labels)
    before.backward()
    with torch.no_grad():
        step = stored.quantizer.grid()._columns(stored.stored, torch.float32)[1]
        stored.stored -= 0.2 * step * stored.stored.grad.sign()
    assert float(stored.rate(labels).detach()) < float(before.detach())


def test_tightened_joined_and_selected() -> None:
    stored = made((1, 8, 8), 4)
    sizes = [len(encode(transformed(stored.tightened(strength)))) for strength in (0.0, 0.1, 1e4)]
    assert sizes[0] >= sizes[1] and sizes[2] <= 0.75 * sizes[0]
    assert torch.equal(stored.tightened(0.0).eval()(), stored.eval()())
    data = make_data((1, 8, 8), [3, 2, 3])
    added = data.batch(torch.arange(2)).samples
    joined = made((1, 8, 8), 8).joined(added, data.labels[:2], torch.tensor([8, 0, 9, *range(1, 8)]))
    assert torch.allclose(joined.eval()()[[0, 2]], added, atol=0.25)
    assert torch.equal(stored.selected(torch.tensor([3, 1])).eval()(), stored()[[3, 1]])


@pytest.mark.parametrize(
    ("shape", "config", "message"),
    [
        ((6,), PixelConfig(transform="dct"), "needs images"),
        ((1, 257, 3), PixelConfig(transform="dct"), "at most 256"),
        ((1, 8, 8), PixelConfig(transform="dct", band=16), "band is 16: expected 1 to 15"),
        ((1, 8, 8), PixelConfig(transform="dct", band=-1), "band is -1"),
    ],
)
def test_what_has_no_transform(shape: tuple[int, ...], config: PixelConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PixelParameterization.from_samples(torch.zeros(1, *shape), make_spec(shape), config)
    if shape == (1, 257, 3):
        halved = replace(config, factor=2)
        assert len(PixelParameterization.from_samples(torch.ones(1, *shape), make_spec(shape), halved)) == 1


def test_transforms_that_do_not_exist() -> None:
    with pytest.raises(ConfigError, match="none or dct"):
        PixelConfig(transform="dst")  # type: ignore[arg-type]


@pytest.mark.parametrize("band", [1, 5, 15])
def test_the_band_travels(band: int) -> None:
    """15 of 8×8 coefficients: there is no high one."""
    stored = made((1, 8, 8), 3, band=band)
    blob = encode(transformed(stored))
    assert message_of(blob).pixel.band == band
    assert torch.equal(decode(blob).samples, stored.eval()())
    with by_coder(2):
        assert np.array_equal(reader.read(encode(transformed(stored))).samples, stored().numpy())


def test_large_samples_are_decoded_in_blocks() -> None:
    """More numbers than are looked up at once."""
    shape = (2, 200, 190)
    data = make_data(shape, [5])
    config = PixelConfig(2, transform="dct")
    stored = PixelParameterization.from_samples(data.batch().samples, data.spec, config).eval()
    one_by_one = torch.cat([stored(torch.tensor([i])) for i in range(5)])
    assert torch.equal(stored(), one_by_one)
    assert np.array_equal(
        stored().numpy(), reader.untransformed(stored._on_grid().double().numpy()).astype(np.float32)
    )


@pytest.mark.parametrize("name", ["quadd", "random"])
def test_budgets_are_kept(name: str) -> None:
    data = make_data((1, 8, 8), [40, 40, 40])
    small = distill(data, tiny_recipe(name, bits=3, transform="dct"), Budget.parse("700 B"), seed=1)
    blob = encode(small)
    assert 0.95 * 700 <= len(blob) <= 700
    assert inspect(blob)["transform"] == "dct"
    assert torch.equal(decode(blob).samples, small.samples)
