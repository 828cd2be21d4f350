"""Token labels made: what is in the file is what the teacher said, however often making was interrupted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from token_teacher import SETTINGS, TOP, VOCABULARY, WINDOW, Causal, source, teacher

from fedbits.errors import ConfigError, DataError, TruncatedError
from fedbits.labels.codec import CodecConfig
from fedbits.labels.tokens.dataset import TokenWindows
from fedbits.labels.tokens.file import TokenLabels
from fedbits.labels.tokens.making import make
from fedbits.labels.tokens.teacher import TokenTeacher
from fedbits.labels.tokens.text import TokenSource, opened


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("labels") / "labels.ftl", teacher(), source(), SETTINGS)


def test_targets_are_what_the_teacher_said(made):
    text, network = torch.from_numpy(source().ids), Causal()
    assert made.counts == [32, 32, 32, 32, 21]
    for number, start in enumerate(range(0, 149, 32)):
        targets = made.targets(number)
        assert torch.equal(targets.tokens, text[start : start + len(targets.rest) + 1])
        windows = [
            text[begin : min(begin + WINDOW, 149)] for begin in range(start, min(start + 32, 149), WINDOW)
        ]
        with torch.no_grad():
            said = torch.cat([network(window[None])[0] for window in windows]).softmax(1).topk(TOP)
        assert torch.equal(targets.ids, said.indices)
        assert (targets.probabilities - said.values).abs().mean() < 0.05
        assert torch.equal(targets.probabilities.sum(1) + targets.rest, torch.ones(len(targets.rest)))


def test_windows_stream_in_order_or_shuffled(made):
    plain, text = list(TokenWindows(made)), torch.from_numpy(source().ids)
    assert len(plain) == len(TokenWindows(made)) == 149 // WINDOW
    for number, (tokens, ids, values, rest) in enumerate(plain):
        assert torch.equal(tokens, text[number * WINDOW : (number + 1) * WINDOW + 1])
        assert (ids.shape, values.shape, rest.shape) == ((WINDOW, TOP), (WINDOW, TOP), (WINDOW,))
    shuffled = TokenWindows(made, seed=1)
    first, again = ([window[0].tolist() for window in shuffled] for _ in range(2))
    shuffled.set_epoch(1)
    second = [window[0].tolist() for window in shuffled]
    assert first == again != second
    assert sorted(first) == sorted(second) == sorted(window[0].tolist() for window in plain)


def test_workers_share_the_chunks(made):
    loader = torch.utils.data.DataLoader(TokenWindows(made), batch_size=None, num_workers=2)
    found = sorted(window[0].tolist() for window in loader)
    assert found == sorted(window[0].tolist() for window in TokenWindows(made))


def interrupted(after: int) -> TokenTeacher:
    """Says a few batches only."""
    network, said = Causal(), []

    def logits(tokens):
        said.append(tokens)
        if len(said) > after:
            raise KeyboardInterrupt
        return network(tokens)

    return TokenTeacher("tiny", network, logits)


@pytest.mark.parametrize("after", [2, 6, 8, 9, 10])
def test_interrupted_labels_are_gone_on_with_to_the_same_bytes(made, tmp_path, after):
    path = tmp_path / "labels.ftl"
    with pytest.raises(KeyboardInterrupt):
        make(path, interrupted(after), source(), SETTINGS)
    make(path, teacher(), source(), SETTINGS)
    assert path.read_bytes() == made.path.read_bytes()


@pytest.mark.parametrize("torn", [1, 9, 40, 130, 300])
def test_a_crash_costs_at_most_the_last_chunk(made, tmp_path, torn):
    path, whole = tmp_path / "labels.ftl", made.path.read_bytes()
    path.write_bytes(whole[:-torn])
    with pytest.raises(TruncatedError, match="not finished"):
        TokenLabels(path)
    left = TokenLabels(path, unfinished=True)
    assert np.array_equal(left.chunk(0).tokens, made.chunk(0).tokens)
    make(path, teacher(), source(), SETTINGS)
    assert path.read_bytes() == whole


def test_a_last_chunk_whose_bytes_never_reached_the_disk_is_made_anew(made, tmp_path):
    path = tmp_path / "labels.ftl"
    path.write_bytes(made.path.read_bytes()[: made.stop])
    with path.open("r+b") as file:
        file.seek(-20, 2)
        file.write(bytes(20))
    assert TokenLabels(path, unfinished=True).counts == made.counts[:-1]
    make(path, teacher(), source(), SETTINGS)
    assert path.read_bytes() == made.path.read_bytes()


def test_a_text_is_added(made, tmp_path):
    path = tmp_path / "labels.ftl"
    path.write_bytes(made.path.read_bytes())
    more = source(50, seed=1, name="more")
    make(path, teacher(), more, SETTINGS, more=True)
    labels = TokenLabels(path)
    assert [(part.name, part.labels) for part in labels.parts] == [("text", 149), ("more", 49)]
    assert labels.counts == [*made.counts, 32, 17]
    assert np.array_equal(labels.chunk(6).tokens, more.ids[33:])
    assert np.array_equal(labels.chunk(2).ids, made.chunk(2).ids)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    make(path, teacher(), more, SETTINGS)
    assert path.read_bytes() == whole


def refuse(tmp_path, made, expected, error=ConfigError, torn=0, **changed):
    path = tmp_path / "labels.ftl"
    path.write_bytes(made.path.read_bytes()[: len(made.path.read_bytes()) - torn])
    before = path.read_bytes()
    usual = {"teacher": teacher(), "source": source(), "settings": SETTINGS}
    with pytest.raises(error, match=expected):
        make(path, **{**usual, **changed})
    assert path.read_bytes() == before


def test_other_labels_are_not_written_over(made, tmp_path):
    refuse(tmp_path, made, "is finished")
    refuse(tmp_path, made, "another teacher", torn=9, teacher=teacher(1))
    refuse(tmp_path, made, "another text", torn=9, source=source(seed=3))
    refuse(tmp_path, made, "give the same", torn=9, settings=replace(SETTINGS, window=9))
    other = replace(SETTINGS, codec=CodecConfig("vq", segment=5, levels=4))
    refuse(tmp_path, made, "give the same", torn=9, settings=other)
    refuse(tmp_path, made, "beyond 0 to 39", DataError, source=TokenSource("far", np.array([1, VOCABULARY])))
    with pytest.raises(ConfigError, match="leave out --append"):
        make(tmp_path / "none.ftl", teacher(), source(), SETTINGS, more=True)


def test_a_teacher_without_numbers_is_refused(tmp_path):
    network = Causal()
    network.outputs.data.fill_(torch.nan)
    with pytest.raises(ConfigError, match="not finite"):
        make(tmp_path / "labels.ftl", TokenTeacher("tiny", network, network), source(), SETTINGS)
    assert not list(tmp_path.iterdir())


def test_texts_are_cut_before_spaces_and_wait_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("fedbits.labels.tokens.text._BLOCK", 10)
    path = tmp_path / "text.txt"
    path.write_text("one two three four five six", encoding="utf-8")
    blocks = []

    def tokenize(text):
        blocks.append(text)
        return [ord(letter) for letter in text]

    with opened(path, tokenize) as found:
        assert isinstance(found.ids, np.memmap)
        assert "".join(map(chr, found.ids)) == path.read_text()
    assert len(blocks) > 2
    assert all(block.startswith(" ") for block in blocks[1:])


@pytest.mark.parametrize(
    ("content", "expected"), [(b"", "no text"), (b"\xff\xfe\x00", "UTF-8"), (b"x", "two integers")]
)
def test_what_is_no_text_is_refused(tmp_path, content, expected):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=expected), opened(path, teacher().tokenize):
        pass
    with pytest.raises(DataError, match="cannot read"), opened(tmp_path / "none.npy", None):
        pass
