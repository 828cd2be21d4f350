"""Token labels as docs/tokens.md has them: an independent reader and fedbits read the same."""

from dataclasses import replace
from pathlib import Path

import pytest
from golden import reader_tokens
from token_teacher import SETTINGS, source, teacher

from fedbits.labels.codec import CodecConfig
from fedbits.labels.tokens.file import TokenLabels
from fedbits.labels.tokens.making import make
from fedbits.labels.tokens.values import ONE

GOLDEN = Path(__file__).parent / "golden" / "v1-tokens.ftl"


def assert_read_the_same(path):
    labels = TokenLabels(path)
    octaves, chunks = reader_tokens.read(path.read_bytes())
    assert octaves == labels.header.tail.octaves.tolist()
    assert len(chunks) == len(labels)
    for number, chunk in enumerate(chunks):
        targets = labels.targets(number)
        assert [label.token for label in chunk] == targets.tokens[1:].tolist()
        assert [label.ids for label in chunk] == targets.ids.tolist()
        shares = [[share / ONE for share in label.shares] for label in chunk]
        assert [row[:-1] for row in shares] == targets.probabilities.tolist()
        assert [row[-1] for row in shares] == targets.rest.tolist()


def test_golden_labels():
    assert_read_the_same(GOLDEN)


@pytest.mark.parametrize(
    "codec",
    [
        CodecConfig("float16"),
        CodecConfig("scalar", levels=20),
        CodecConfig("vq", segment=2, levels=9),
        CodecConfig("vqae", 6, 6, 8),
    ],
    ids=lambda codec: codec.name,
)
def test_every_codec(tmp_path, codec):
    settings = replace(SETTINGS, codec=codec, window=7, chunk_windows=11)
    path = make(tmp_path / "labels.ftl", teacher(), source(120), settings).path
    assert_read_the_same(path)
