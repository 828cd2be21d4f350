"""Probabilities of labels: near what was encoded, and the same integers on every machine."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from fedbits.coding.weights import QuantisedTensor
from fedbits.errors import ConfigError, CorruptError
from fedbits.labels.codec import CodecConfig
from fedbits.labels.tokens.values import ONE, check_exact, kind_named, probabilities, roots_of
from fedbits.labels.vector import VectorAutoencoder

TOP = 5
CONFIGS = {
    "float16": CodecConfig("float16"),
    "scalar": CodecConfig("scalar", levels=64),
    "vq": CodecConfig("vq", segment=3, levels=64),
    "vqae": CodecConfig("vqae", 6, 6, 64),
}


@pytest.fixture(scope="module")
def top():
    generator = torch.Generator().manual_seed(0)
    return (2.5 * torch.randn(600, 40, generator=generator)).softmax(1).topk(TOP, dim=1).values


@pytest.fixture(scope="module", params=CONFIGS)
def fitted(request, top):
    config = CONFIGS[request.param]
    return kind_named(config.name).fit(config, roots_of(top), 0)


def test_probabilities_are_near_and_sum_to_one(fitted, top):
    found = probabilities(fitted, fitted.symbols(roots_of(top)))
    assert found.shape == (600, TOP + 1)
    assert (found > 0).all()
    assert (found.sum(1) == ONE).all()
    true = torch.cat([top, 1 - top.sum(1, keepdim=True)], 1).double().numpy()
    lost = (true * np.log(true / (found / ONE))).sum(1).mean()
    assert lost < (1e-3 if fitted.name == "float16" else 0.06)


def test_any_symbols_give_a_distribution(fitted):
    generator = np.random.default_rng(0)
    levels = fitted.columns(fitted.config, TOP + 1)
    symbols = np.stack([generator.integers(0, most, 500) for most in levels], 1).astype(np.uint16)
    found = probabilities(fitted, symbols)
    assert (found > 0).all()
    assert (found.sum(1) == ONE).all()


def by_hand(codec, symbols):
    """The same in integers without end."""
    codebook, decoder = codec.tensors
    numbers = [int(number) for code in symbols for number in codebook.values[code]]
    scale = Fraction(1, 1) / Fraction(2) ** (codebook.fraction_bits + decoder.fraction_bits)
    sums = [
        scale * sum(n * int(row[c]) for n, row in zip(numbers, decoder.values, strict=True))
        for c in range(TOP + 1)
    ]
    squares = [min(max(total * 2**15 // 1, 0), 2**15) ** 2 for total in sums]
    squares[0] += sum(squares) == 0
    found = [1 + square * (ONE - TOP - 1) // sum(squares) for square in squares]
    return [found[0] + ONE - sum(found), *found[1:]]


def test_values_of_an_autoencoder_are_those_of_integers(top):
    generator = np.random.default_rng(0)
    tensors = [
        QuantisedTensor(generator.integers(-(2**11), 2**11, (16, 2)), 11),
        QuantisedTensor(generator.integers(-(2**9), 2**9, (4, TOP + 1)), 8),
    ]
    codec = VectorAutoencoder(CodecConfig("vqae", 4, 2, 16), TOP + 1, tensors)
    symbols = generator.integers(0, 16, (300, 2)).astype(np.uint16)
    found = probabilities(codec, symbols)
    assert [by_hand(codec, row) for row in symbols] == found.tolist()


def test_tensors_too_large_for_exact_sums_are_refused():
    huge = [QuantisedTensor(np.full((2, 2), 2**30), 0), QuantisedTensor(np.full((4, 6), 2**30), 0)]
    with pytest.raises(CorruptError, match="no encoder"):
        check_exact(VectorAutoencoder(CodecConfig("vqae", 4, 2, 2), 6, huge))


def test_codecs_that_token_labels_lack_are_refused():
    with pytest.raises(ConfigError, match="expected one of float16, scalar, vq, vqae"):
        kind_named("pca")


def test_roots_are_of_the_top_and_of_what_remains():
    found = roots_of(torch.tensor([[0.5, 0.25]]))
    assert torch.allclose(found.square(), torch.tensor([[0.5, 0.25, 0.25]]))
