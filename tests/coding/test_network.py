"""Entropy networks: exact integers, tables that never change, and distributions that are ones."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from fresh import make_network
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbits.coding import Meter, RangeReader, RangeWriter, code_grid, network, neural, surroundings
from fedbits.coding.grid import OWN, OWN_WORK
from fedbits.coding.network import (
    CERTAIN,
    SHAPES,
    logit,
    prior,
    read_layers,
    write_layers,
)
from fedbits.coding.own import HIDDEN, as_layers, largest_shapes
from fedbits.coding.surroundings import inputs_of
from fedbits.coding.weights import QuantisedTensor, weights_work
from fedbits.errors import CorruptError, FormatError

ALL_WIDTHS = st.integers(1, 8)


def test_the_shipped_networks_and_all_tables_are_what_they_were() -> None:
    """A blob decodes only with these."""
    stored = write_layers([layer for kind in SHAPES for layer in network.shipped()[kind].layers])
    assert (
        hashlib.sha256(stored).hexdigest()
        == "7b1595bd1b1190aa1c3b6a2c29675655fee3aae9486346344a6dc2d22e4080d9"
    )
    tables = (
        network._SIGMOIDS,
        network._INVERSE_WIDTHS,
        network._SHARES,
        network._SCALES,
        network._LOGARITHMS,
        surroundings._OCTAVES,
    )
    digest = hashlib.sha256(b"".join(table.astype("<i8").tobytes() for table in tables)).hexdigest()
    assert digest == "9e68a3f2f71668b60fa7f1fe9bd2c62cf6f4834334ae84e71119940de80c5a1e"


def test_no_table_entry_depends_on_the_last_digits_of_a_function() -> None:
    """Rounding to an integer cannot differ where no value is near a half."""
    values = [65536 / (1 + math.exp(-t / 64)) for t in range(-768, 769)]
    values += [65536 * math.exp(-m / 16) for m in range(1, 193)]
    values += [2 ** (16 - m / 8) for m in range(-40, 73) if m % 8]
    values += [2 ** (8 + m / 8) for m in range(-40, 73) if m % 8]
    values += [4096 * math.log1p(m / 1024) for m in range(1, 1024)]
    values += [8 * math.log2(m / 16) for m in range(1, 1 << 14)]
    assert min(abs(value - math.floor(value) - 0.5) for value in values) > 1e-9


def test_layers_survive_their_bytes() -> None:
    layers = make_network(1, 5).layers
    read, rest = read_layers(write_layers(layers) + b"more", (30, 5, 12))
    assert rest == b"more"
    for before, after in zip(layers, read, strict=True):
        assert np.array_equal(before.weights, after.weights)
        assert np.array_equal(before.bias, after.bias)


def test_a_sample_gets_the_same_outputs_alone_and_among_others() -> None:
    """What a float network does not promise."""
    inputs = np.random.default_rng(0).integers(-2047, 2048, (1000, 57))
    together = prior(3)(inputs)
    assert np.array_equal(together, np.concatenate([prior(3)(inputs[i : i + 1]) for i in range(1000)]))
    assert np.array_equal(together, prior(3)(inputs[::-1])[::-1])
    exact = inputs
    for number, layer in enumerate(prior(3).layers):
        exact = (exact @ layer.weights.T.astype(np.int64) + layer.bias) >> 10
        exact = exact if number == 2 else np.clip(exact, 0, (1 << 15) - 1)
    assert np.array_equal(together, exact)


@settings(max_examples=60, deadline=None)
@given(bits=ALL_WIDTHS, channels=st.integers(1, 4), seed=st.integers(0, 9), own=st.booleans())
def test_a_mixture_is_a_distribution(bits: int, channels: int, seed: int, own: bool) -> None:
    draws, levels = np.random.default_rng(seed), 1 << bits
    inputs = draws.integers(-2047, 2048, (20, inputs_of(channels)))
    centre, octave = draws.integers(0, levels, 20), draws.integers(-8, 65, 20)
    expected = (make_network(channels, 9, seed) if own else prior(channels)).mixture(
        inputs, centre, octave, levels
    )
    up_to = np.stack([expected.up_to(np.full(20, symbol)) for symbol in range(-1, levels + 1)])
    assert (np.diff(up_to, axis=0) >= 0).all()
    assert (up_to[0] == 0).all()
    assert (up_to[-2:] == CERTAIN).all()


def test_logits_are_those_of_the_odds() -> None:
    draws = np.random.default_rng(0)
    yes = np.exp2(draws.uniform(8, 32, 1000)).astype(np.int64)
    no = CERTAIN - yes
    found = logit(yes, no) / 4096
    assert np.allclose(found, np.log(yes / np.maximum(no, 256)).clip(-12, 12), atol=0.003)
    assert logit(np.array([CERTAIN]), np.array([0]))[0] == 12 * 4096


@pytest.mark.parametrize(("channels", "bits"), [(1, 2), (3, 4), (2, 8), (5, 1)])
def test_a_network_travels_ahead_of_the_symbols(channels: int, bits: int) -> None:
    draws, levels, shape = np.random.default_rng(1), 1 << bits, (6, channels, 5, 4)
    symbols = draws.integers(0, levels, shape)
    sent = make_network(channels, 7)
    writer, meter = RangeWriter(), Meter()
    for coder in (writer, meter):
        code_grid(coder, OWN, levels, shape, symbols, network=sent)
    read = code_grid(RangeReader(writer.bytes()), OWN, levels, shape)
    assert np.array_equal(read, symbols)
    assert abs(8 * len(writer.bytes()) - meter.bits) < 64


@settings(max_examples=40, deadline=None)
@given(stream=st.binary(max_size=400), channels=st.integers(1, 3), bits=ALL_WIDTHS)
def test_any_bytes_give_symbols_or_a_format_error(stream: bytes, channels: int, bits: int) -> None:
    for number in (5, OWN):
        try:
            read = code_grid(RangeReader(stream), number, 1 << bits, (3, channels, 4, 3))
        except FormatError:
            continue
        assert read.max() < 1 << bits


def test_weights_finer_or_larger_than_the_format_s_are_refused() -> None:
    fine = [QuantisedTensor(np.zeros((1, 30), np.int64), 11), QuantisedTensor(np.zeros(1, np.int64), 0)]
    large = [QuantisedTensor(np.full((1, 30), 32), 0), QuantisedTensor(np.zeros(1, np.int64), 0)]
    for tensors in (fine, large):
        with pytest.raises(CorruptError, match="weights"):
            as_layers(tensors)


def test_the_work_of_a_network_that_travels_is_counted() -> None:
    assert all(weights_work(largest_shapes(channels)) <= OWN_WORK for channels in (1, 2, 3, 9))
    assert HIDDEN[-1] == 64


@pytest.mark.parametrize("levels", [2, 16, 32])
def test_a_stream_does_not_depend_on_how_much_is_evaluated_at_once(
    levels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(levels)
    symbols = rng.integers(0, levels, (50, 1, 4, 3))

    def stream() -> bytes:
        writer = RangeWriter()
        code_grid(writer, 5, levels, (50, 1, 4, 3), symbols)
        return writer.bytes()

    whole = stream()
    monkeypatch.setattr(neural, "_PART", 7)
    assert stream() == whole
    read = code_grid(RangeReader(whole), 5, levels, (50, 1, 4, 3))
    assert np.array_equal(read, symbols)
