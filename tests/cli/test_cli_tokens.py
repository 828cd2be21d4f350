"""``fedbits labels tokens``: made, interrupted, gone on with, added to, looked at and learned from."""

import json

import pytest
from token_teacher import VOCABULARY, write_tokens

from fedbits.labels.tokens import making
from fedbits.labels.tokens.file import TokenLabels

pytest.importorskip("transformers", reason="language models need the extra tokens")
SIZES = ("--top", 4, "--window", 8, "--chunk-windows", 4, "--fitted", 64)
CODEC = ("--codec", "vq", "--segment", 5, "--levels", 16)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small Llama on disk."""
    from fedbits.labels.tokens.pretrained import StudentConfig, make_student

    folder = tmp_path_factory.mktemp("models") / "small"
    make_student(StudentConfig(16, 1, 2), VOCABULARY, 8, 0).save_pretrained(folder)
    return folder


@pytest.fixture
def make(fedbits, model, tmp_path):
    """``make(*options)`` labels 149 tokens into ``labels.ftl``."""
    text = write_tokens(tmp_path / "text.npy")

    def run(*options, text=text):
        words = ("labels", "tokens", "make", text, "--teacher", model, "--out", "labels.ftl")
        return fedbits(*words, *SIZES, *CODEC, *options)

    return run


def test_labels_are_made_looked_at_and_added_to(fedbits, make, tmp_path):
    made = make("--json")
    assert made.code == 0
    facts = json.loads(made.out)
    assert (facts["labels"], facts["chunks"], facts["finished"]) == (149, 5, True)
    assert (facts["teacher"], facts["vocabulary"], facts["top"]) == ("small", VOCABULARY, 4)
    assert facts["bytes"] == (tmp_path / "labels.ftl").stat().st_size
    assert facts["bytes_a_token"] == facts["bytes"] / 149
    looked = fedbits("labels", "tokens", "inspect", "labels.ftl", "--check", "--json")
    found, bits = json.loads(looked.out), json.loads(looked.out)["bits_a_token"]
    assert {**facts, **found} == {**found, "seconds": facts["seconds"]}
    assert found["checked"] == 5
    chunks = facts["bytes"] - facts["shared_bytes"]
    assert 149 * sum(bits.values()) / 8 < chunks < 149 * sum(bits.values()) / 8 + 5 * (8 + 8)
    assert min(bits.values()) > 1
    assert "149 in 5 chunks" in fedbits("labels", "tokens", "inspect", "labels.ftl").out
    more = make("--append", "--json", text=write_tokens(tmp_path / "more.npy", 20))
    assert [part["labels"] for part in json.loads(more.out)["texts"]] == [149, 19]


def test_a_second_time_asks_what_is_meant(make):
    assert make().code == 0
    again = make()
    assert again.is_one_sentence()
    assert "--resume" in again.err
    assert make("--resume", "--append").is_one_sentence()
    finished = make("--resume")
    assert finished.is_one_sentence()
    assert "finished" in finished.err


def test_ctrl_c_keeps_whole_chunks_and_resume_ends_at_the_same_bytes(make, tmp_path, monkeypatch):
    assert make().code == 0
    path = tmp_path / "labels.ftl"
    whole = path.read_bytes()
    path.unlink()
    usual, said = making.top_labels, []

    def interrupted(*arguments):
        said.append(arguments)
        if len(said) > 8:
            raise KeyboardInterrupt
        return usual(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(making, "top_labels", interrupted)
        broken = make()
    assert broken.code == 130
    kept = TokenLabels(path, unfinished=True)
    assert 0 < kept.labels < 149
    assert f"{kept.labels} labels are kept" in broken.err
    assert "--resume" in broken.err
    assert make("--resume").code == 0
    assert path.read_bytes() == whole


def test_a_student_is_trained_tested_and_kept(fedbits, make, tmp_path):
    make()
    words = ("labels", "tokens", "train", "labels.ftl", "--width", 16, "--layers", 1, "--heads", 2)
    words = (*words, "--steps", 3, "--batch", 2, "--test", write_tokens(tmp_path / "test.npy", 40))
    first = fedbits(*words, "--out", "student", "--json")
    facts = json.loads(first.out)
    assert (facts["learned"], facts["tokens_seen"]) == ("labels", 48)
    assert 1 < facts["perplexity"] < 10 * VOCABULARY
    assert (tmp_path / "student" / "config.json").exists()
    assert json.loads(fedbits(*words, "--json").out)["perplexity"] == facts["perplexity"]
    hard = json.loads(fedbits(*words, "--hard", "--json").out)
    assert hard["learned"] == "text"
    assert hard["perplexity"] != facts["perplexity"]
    assert "perplexity" in fedbits(*words).out
    assert fedbits(*words, "--out", "student").is_one_sentence()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (("--teacher", "nosuch"), "no language model nosuch"),
        (("--codec", "pca"), "unknown codec"),
        (("--segment", 9), "expected 1 to 5"),
        (("--top", 64), "expected 1 to 39"),
        (("--window", 99999), "the window of token labels is 99,999"),
        (("--resume",), "leave out --resume"),
        (("--append",), "leave out --append"),
        (("--out", "text.npy"), "is there already"),
    ],
)
def test_wrong_options_are_one_sentence_and_leave_nothing(make, tmp_path, changes, expected):
    before = sorted(tmp_path.iterdir())
    outcome = make(*changes)
    assert outcome.is_one_sentence()
    assert expected in outcome.err
    assert sorted(tmp_path.iterdir()) == before


def test_texts_need_a_tokenizer(make, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("so it goes")
    assert "no tokenizer" in make(text=text).err


def test_unfinished_and_foreign_files_are_one_sentence(fedbits, make, tmp_path):
    make()
    path = tmp_path / "labels.ftl"
    path.write_bytes(path.read_bytes()[:-20])
    trained = fedbits("labels", "tokens", "train", "labels.ftl", "--out", "student")
    assert trained.is_one_sentence()
    assert "not finished" in trained.err
    assert json.loads(fedbits("labels", "tokens", "inspect", "labels.ftl", "--json").out)["finished"] is False
    assert fedbits("labels", "tokens", "inspect", "text.npy").is_one_sentence()
    assert fedbits("labels", "tokens", "train", "labels.ftl").is_one_sentence()


@pytest.mark.parametrize("command", ["make", "inspect", "train"])
def test_help_shows_examples(fedbits, command):
    shown = fedbits("labels", "tokens", command, "--help")
    assert shown.code == 0
    assert f"fedbits labels tokens {command} " in shown.out.split("Examples:")[1]
    assert "--json" in shown.out
