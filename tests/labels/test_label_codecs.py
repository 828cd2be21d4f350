"""Every codec of labels: symbols in range, probabilities back, and less lost with more levels."""

import numpy as np
import pytest
import torch

from fedbits.coding.weights import decode_weights, encode_weights
from fedbits.errors import ConfigError
from fedbits.labels import CODECS, CodecConfig
from fedbits.labels.codec import spaced_levels
from fedbits.labels.fitting import divergence

CLASSES = 6
# Of each codec a small size and a larger one.
SIZES = {
    "float16": ({}, {}),
    "scalar": ({"levels": 2}, {"levels": 16}),
    "top": ({"width": 1, "levels": 4}, {"width": 4, "levels": 32}),
    "pca": ({"width": 2, "levels": 8}, {"width": 5, "levels": 32}),
    "rpca": ({"width": 2, "levels": 8}, {"width": 5, "levels": 32}),
    "vq": ({"segment": 6, "levels": 4}, {"segment": 3, "levels": 64}),
    "vqae": ({"width": 6, "segment": 6, "levels": 4}, {"width": 6, "segment": 3, "levels": 64}),
    "vqae-rd": ({"width": 6, "segment": 6, "levels": 4}, {"width": 6, "segment": 3, "levels": 64}),
}
EVERY = sorted(CODECS)


@pytest.fixture(scope="module")
def labels():
    """Softmaxes around few prototypes, as teachers give."""
    generator = torch.Generator().manual_seed(0)
    prototypes = 3 * torch.randn(8, CLASSES, generator=generator)
    chosen = torch.randint(8, (400,), generator=generator)
    return (prototypes[chosen] + 0.5 * torch.randn(400, CLASSES, generator=generator)).softmax(1)


def fitted(name, size, labels):
    return CODECS[name].fit(CodecConfig(name, **size), labels, 0)


def test_every_codec_is_tried():
    assert set(SIZES) == set(CODECS)


@pytest.mark.parametrize("name", EVERY)
def test_symbols_are_in_range_and_labels_are_probabilities(name, labels):
    for size in SIZES[name]:
        config = CodecConfig(name, **size)
        CODECS[name].check(config, CLASSES)
        codec = fitted(name, size, labels)
        symbols = codec.symbols(labels)
        levels = CODECS[name].columns(config, CLASSES)
        assert symbols.shape == (len(labels), len(levels)) and symbols.dtype == np.uint16
        assert (symbols < np.array(levels)).all()
        rebuilt = codec.labels(symbols)
        assert rebuilt.shape == labels.shape and float(rebuilt.min()) > 0
        assert torch.allclose(rebuilt.sum(1), torch.ones(len(labels)), atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_what_travels_makes_the_same_labels(name, labels):
    codec = fitted(name, SIZES[name][1], labels)
    shapes = CODECS[name].shapes(codec.config, CLASSES)
    assert [tensor.values.shape for tensor in codec.tensors] == shapes
    received = decode_weights(encode_weights(codec.tensors), shapes) if shapes else []
    symbols = codec.symbols(labels)
    assert torch.equal(type(codec)(codec.config, CLASSES, received).labels(symbols), codec.labels(symbols))


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"float16", "rpca"}))
def test_a_larger_size_loses_less(name, labels):
    losses = [
        divergence(labels, codec.labels(codec.symbols(labels)))
        for codec in (fitted(name, size, labels) for size in SIZES[name])
    ]
    assert losses[1] < losses[0]


def test_float16_loses_its_rounding_alone(labels):
    codec = fitted("float16", {}, labels)
    assert torch.allclose(codec.labels(codec.symbols(labels)), labels, atol=1e-3)


def test_the_largest_entries_come_back_as_they_were(labels):
    codec = fitted("top", {"width": 2, "levels": 128}, labels)
    rebuilt = codec.labels(codec.symbols(labels))
    assert float((rebuilt.argmax(1) == labels.argmax(1)).float().mean()) > 0.97  # others are nearly equal
    assert torch.allclose(rebuilt.amax(1), labels.amax(1), atol=0.02)


def test_robust_components_are_not_turned_by_outliers():
    generator = torch.Generator().manual_seed(2)
    direction = torch.nn.functional.normalize(torch.randn(8, generator=generator), dim=0)
    rows = torch.randn(300, 1, generator=generator) * direction
    rows[torch.randperm(300, generator=generator)[:12], 3] += 30
    config = CodecConfig("pca", width=1, levels=2)
    found = []
    for name in ("pca", "rpca"):
        component = torch.from_numpy(CODECS[name].fit(config, rows, 0).tensors[1].floats()[0]).float()
        found.append(abs(float(torch.nn.functional.normalize(component, dim=0) @ direction)))
    assert found[0] < 0.9 < 0.98 < found[1]


def test_an_autoencoder_beats_bare_segments_where_labels_lie_in_few_directions():
    generator = torch.Generator().manual_seed(1)
    directions = torch.randn(2, 12, generator=generator)
    labels = (torch.randn(600, 2, generator=generator) @ directions).softmax(1)
    bare = CODECS["vq"].fit(CodecConfig("vq", segment=6, levels=16), labels, 0)
    coded = CODECS["vqae"].fit(CodecConfig("vqae", 24, 12, 16), labels, 0)
    squares = [float((c.labels(c.symbols(labels)) - labels).square().sum()) for c in (bare, coded)]
    assert squares[1] < squares[0]


def test_codes_are_refined_beyond_the_nearest_segment(labels):
    codec = fitted("vqae", {"width": 6, "segment": 2, "levels": 8}, labels)
    nearest = codec._nearest(labels).numpy().astype(np.uint16)

    def lost(symbols):
        return float((codec._sums(torch.from_numpy(symbols.astype(np.int64))) - labels).square().sum())

    assert lost(codec.symbols(labels)) <= lost(nearest)


def test_dear_bits_make_symbols_predictable(labels):
    codec = fitted("vqae-rd", {"width": 6, "segment": 6, "levels": 64}, labels)
    classes = torch.zeros(len(labels), dtype=torch.int64)

    def used(weight):
        return len(np.unique(codec.priced(labels, classes, weight)))

    assert used(0.0) > used(0.01) > used(1.0)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (CodecConfig("float16", levels=2), "levels"),
        (CodecConfig("scalar", levels=1), "levels"),
        (CodecConfig("top", width=7, levels=4), "width"),
        (CodecConfig("pca", width=2, levels=257), "levels"),
        (CodecConfig("vq", segment=7, levels=4), "segment"),
        (CodecConfig("vqae", width=6, segment=4, levels=4), "segment"),
        (CodecConfig("vqae", width=0, segment=1, levels=4), "width"),
    ],
)
def test_a_size_that_does_not_exist_is_named(config, named):
    with pytest.raises(ConfigError, match=named):
        CODECS[config.name].check(config, CLASSES)


@pytest.mark.parametrize("name", EVERY)
def test_sizes_worth_trying_exist(name):
    for classes in (2, 10, 100):
        for config in CODECS[name].sizes(classes):
            CODECS[name].check(config, classes)


def test_levels_are_where_values_are():
    values = torch.cat([torch.zeros(50), torch.full((30,), 0.5), torch.ones(20)])
    assert torch.allclose(spaced_levels(values, 3), torch.tensor([0.0, 0.5, 1.0]))
