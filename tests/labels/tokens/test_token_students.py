"""Language models of transformers: teachers from disk, students from a configuration."""

import numpy as np
import pytest
import torch
from token_teacher import SETTINGS, VOCABULARY, WINDOW, source, teacher

from fedbits.errors import ConfigError
from fedbits.labels.tokens.dataset import TokenWindows
from fedbits.labels.tokens.making import make
from fedbits.labels.tokens.pretrained import StudentConfig, load_teacher, make_student, teacher_of
from fedbits.labels.tokens.student import TrainConfig, hard_loss, perplexity, soft_loss, train

pytest.importorskip("transformers", reason="language models need the extra tokens")
SMALL, CPU = StudentConfig(16, 1, 2), torch.device("cpu")


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    return make(tmp_path_factory.mktemp("labels") / "labels.ftl", teacher(), source(400), SETTINGS)


def student(seed=0):
    return make_student(SMALL, VOCABULARY, WINDOW, seed)


def test_students_follow_from_their_seed_alone():
    before = torch.get_rng_state()
    first, again, other = (student(seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    name = "model.embed_tokens.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
    assert first[name].shape == (VOCABULARY, 16)


def test_a_model_on_disk_is_a_teacher(tmp_path):
    made = student(3)
    made.save_pretrained(tmp_path / "model")
    loaded = load_teacher(str(tmp_path / "model"), CPU)
    tokens = torch.arange(6)[None]
    with torch.no_grad():
        assert torch.equal(loaded.logits(tokens), teacher_of(made, "made").logits(tokens))
    assert loaded.digest() == teacher_of(made, "made").digest()
    assert (loaded.name, loaded.vocabulary()) == ("model", VOCABULARY)
    with pytest.raises(ConfigError, match="no tokenizer"):
        loaded.tokenize("so it goes")
    path = tmp_path / "labels.ftl"
    found = make(path, loaded, source(40), SETTINGS)
    assert (found.labels, found.header.teacher) == (39, "model")


@pytest.mark.parametrize("where", ["nosuch", "no/such", "json"])
def test_models_that_are_not_there_are_refused(where):
    with pytest.raises(ConfigError, match="there is no language model"):
        load_teacher(where, CPU)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot load a causal language model"):
        load_teacher(str(tmp_path), CPU)


@pytest.mark.parametrize("sizes", [(0, 1, 1), (16, 0, 2), (16, 1, 3)])
def test_students_that_do_not_exist_are_refused(sizes):
    with pytest.raises(ConfigError, match="no student has"):
        StudentConfig(*sizes)


def divergence_from_teacher(model):
    tokens = torch.from_numpy(source(200, seed=5).ids).view(-1, WINDOW)
    with torch.no_grad():
        true = teacher().logits(tokens).log_softmax(2)
        learned = teacher_of(model, "student").logits(tokens).log_softmax(2)
    return float((true.exp() * (true - learned)).sum(2).mean())


def test_a_student_of_labels_comes_near_the_teacher_and_one_of_text_does_not(labels):
    how = TrainConfig(steps=60, batch=8, learning_rate=1e-2)
    windows = TokenWindows(labels, 0)
    fresh, soft, hard = student(), student(), student()
    train(soft, windows, soft_loss(labels.header.tail.probabilities), how)
    train(hard, windows, hard_loss, how)
    reached = [divergence_from_teacher(model) for model in (fresh, hard, soft)]
    assert reached[2] < 0.5 * reached[0]
    assert reached[2] < 0.5 * reached[1]


def test_the_same_seed_trains_the_same_student(labels):
    how = TrainConfig(steps=3, batch=2, seed=1)
    found = []
    for _ in range(2):
        made = student()
        train(made, TokenWindows(labels, 1), hard_loss, how)
        found.append(made.state_dict()["model.embed_tokens.weight"])
    assert torch.equal(*found)


def test_too_few_windows_are_refused(labels):
    with pytest.raises(ConfigError, match="fewer than a batch of 99"):
        train(student(), TokenWindows(labels), hard_loss, TrainConfig(1, 99))


def test_perplexity_of_even_guesses_is_the_vocabulary():
    found = perplexity(lambda tokens: torch.zeros(*tokens.shape, VOCABULARY), source(30), 4)
    assert np.isclose(found, VOCABULARY)
