"""Labels of views in a number of bytes: the promise holds, and more bytes lose less."""

from functools import partial

import pytest
import torch
from making import make_data, make_set

from fedbits.container import decode, encode
from fedbits.distilled_set import DistilledSet
from fedbits.errors import BudgetError, ConfigError
from fedbits.labels import CODECS, CodecConfig, ViewsConfig, vector
from fedbits.labels.fitting import TaughtLabels, compress, compress_to, divergence
from fedbits.labels.vector import FitConfig


@pytest.fixture(scope="module")
def distilled() -> DistilledSet:
    return make_set(make_data((1, 8, 8), [6, 6, 6]), 5)


@pytest.fixture(scope="module")
def taught(distilled):
    generator = torch.Generator().manual_seed(0)
    shape = (30, len(distilled), distilled.spec.classes)
    logits = 4 * torch.nn.functional.one_hot(distilled.labels, distilled.spec.classes)
    probabilities = (logits + 1.5 * torch.randn(shape, generator=generator)).softmax(2)
    return TaughtLabels(ViewsConfig(epochs=30), 2.0, probabilities.half(), distilled.labels)


def lost(taught, labels):
    rebuilt = torch.cat([labels.targets(e, torch.arange(len(labels))) for e in range(labels.config.epochs)])
    return divergence(taught.first(labels.config.epochs).rows(), rebuilt)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """Autoencoders are hardly trained: what is promised holds for any."""
    monkeypatch.setattr(vector, "FitConfig", partial(FitConfig, steps=5, batch=32, rounds=1, polishing=1))


@pytest.mark.parametrize("name", sorted(CODECS))
def test_labels_take_no_more_than_their_bytes(name, taught, distilled):
    limit = taught.float16_bytes // 4
    labels = compress_to(taught, name, limit)
    assert labels.size <= limit
    blob = encode(distilled.taught(labels))
    assert len(blob) - len(encode(distilled)) <= labels.size + 40  # what says which labels they are
    received = decode(blob)
    assert encode(received) == blob
    for epoch in (0, 1, 31):
        index = torch.tensor([2, 0])
        mine, theirs = distilled.taught(labels).lesson(index, epoch), received.lesson(index, epoch)
        assert torch.equal(mine.samples, theirs.samples) and torch.equal(mine.targets, theirs.targets)
        assert bool(theirs.viewed.all()) and theirs.temperature.tolist() == [2.0, 2.0]


def test_more_bytes_lose_less(taught):
    few, many = (compress_to(taught, "vq", taught.float16_bytes // ratio) for ratio in (24, 6))
    assert lost(taught, many) < lost(taught, few)


def test_float16_labels_are_pruned_to_fewer_epochs(taught):
    labels = compress_to(taught, "float16", taught.float16_bytes // 5)
    assert 1 <= labels.config.epochs < taught.config.epochs
    assert lost(taught, labels) < 1e-3
    same = labels.targets(labels.config.epochs, torch.arange(len(labels)))
    assert torch.equal(same, labels.targets(0, torch.arange(len(labels))))


@pytest.mark.parametrize("name", ["float16", "top", "vqae"])
def test_too_few_bytes_are_an_error_that_says_how_many_would_do(name, taught):
    with pytest.raises(BudgetError, match=r"give [1-9]|takes [1-9]"):
        compress_to(taught, name, 4)


def test_an_unknown_codec_is_named(taught):
    with pytest.raises(ConfigError, match="vqqe"):
        compress_to(taught, "vqqe", 1000)
    with pytest.raises(ConfigError, match="levels"):
        compress(taught, CodecConfig("scalar"))


def test_the_same_seed_gives_the_same_labels(taught):
    first, second = (compress_to(taught, "vqae", 300, seed=3) for _ in range(2))
    assert first.parts == second.parts


def test_a_set_of_some_classes_has_no_labels_of_views(taught, distilled):
    blob = encode(distilled.taught(compress(taught, CodecConfig("scalar", levels=4))))
    assert decode(blob).view_labels is not None
    assert decode(blob, classes=[0]).view_labels is None
