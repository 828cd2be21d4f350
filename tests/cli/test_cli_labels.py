"""``fedbits labels``: from a set to a set with labels of its views, and wrong input on the way."""

import json

import numpy as np
import pytest

TEACHER = ("--epochs", 2, "--width", 4, "--teacher-steps", 2, "--device", "cpu")


@pytest.fixture(autouse=True)
def made(fedbits, tmp_path):
    """A tiny set ``s.fbits`` of ``few.npz``, and labels ``l.npz`` of its views."""
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 6), np.uint8)
    labels = np.arange(20) % 2
    np.savez(tmp_path / "few.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    distill = ("distill", "--data", "npz:few.npz", "--recipe", "random", "--ipc", 2, "--bits", 2)
    assert fedbits(*distill, "--device", "cpu", "--out", "s.fbits").code == 0
    outcome = fedbits(
        "labels", "make", "s.fbits", "--data", "npz:few.npz", *TEACHER, "--out", "l.npz", "--json"
    )
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    assert (facts["samples"], facts["epochs"], facts["float16_bytes"]) == (4, 2, 32)


def test_labels_travel_with_the_set_and_are_inspected(fedbits):
    outcome = fedbits(
        "labels", "compress", "l.npz", "s.fbits", "--codec", "scalar", "--ratio", 1, "-o", "t.fbits", "--json"
    )
    facts = json.loads(outcome.out)
    assert outcome.code == 0 and facts["codec"] == "scalar" and facts["label_bytes"] <= 32
    assert sum(facts["ledger"].values()) == 8 * facts["bytes"]
    inspected = json.loads(fedbits("labels", "inspect", "t.fbits", "--json").out)
    assert inspected["labels"] == 8 and inspected["bits"] == facts["ledger"]["labels"]
    assert "cutmix" in fedbits("labels", "inspect", "t.fbits").out
    assert "views" in fedbits("inspect", "t.fbits").out
    trained = fedbits("evaluate", "t.fbits", "--data", "npz:few.npz", "--steps", 2, "--width", 4, "--json")
    assert trained.code == 0 and len(json.loads(trained.out)["accuracies"]) == 5


def test_a_budget_holds_for_the_whole_blob(fedbits, tmp_path):
    budget = (tmp_path / "s.fbits").stat().st_size + 60
    outcome = fedbits(
        *("labels", "compress", "l.npz", "s.fbits", "--codec", "scalar", "--budget", f"{budget}B"),
        *("--out", "t.fbits"),
    )
    assert outcome.code == 0 and (tmp_path / "t.fbits").stat().st_size <= budget


def test_codecs_are_compared_and_teach_students(fedbits):
    outcome = fedbits(
        *("labels", "compare", "l.npz", "--codecs", "scalar,float16", "--ratios", "1,9", "--set", "s.fbits"),
        *("--data", "npz:few.npz", "--steps", 2, "--device", "cpu", "--json"),
    )
    rows = json.loads(outcome.out)["codecs"]
    assert [row["codec"] for row in rows] == ["scalar", "float16"] * 2
    assert "mean" in rows[0] and rows[0]["label_bytes"] <= 32
    assert "bytes" in rows[3]["error"]
    assert "as published" in fedbits("labels", "compare", "l.npz", "--codecs", "scalar", "--ratios", "1").out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("compress", "l.npz", "s.fbits"), "one of --ratio, --bytes and --budget"),
        (("compress", "l.npz", "s.fbits", "--codec", "vqqe", "--ratio", 2), "vqqe"),
        (("compress", "few.npz", "s.fbits", "--ratio", 2), "few.npz"),
        (("compress", "none.npz", "s.fbits", "--ratio", 2), "none.npz"),
        (("compress", "l.npz", "s.fbits", "--ratio", 0), "0"),
        (("compare", "l.npz", "--ratios", "ten"), "ten"),
        (("compare", "l.npz", "--set", "s.fbits"), "--data"),
        (("inspect", "s.fbits"), "hard labels"),
        (("make", "s.fbits", "--data", "npz:few.npz", "--mix", "blend"), "blend"),
        (("make", "s.fbits", "--data", "npz:few.npz", "--teacher", "none.pt"), "none.pt"),
        (("make", "s.fbits", "--data", "digits", *TEACHER), "digits"),
    ],
)
def test_wrong_input_is_one_sentence(fedbits, words, named):
    outcome = fedbits("labels", *words)
    assert outcome.code == 2 and named in outcome.err and "Traceback" not in outcome.err


def test_labels_of_another_set_are_refused(fedbits):
    fedbits(
        "distill", "--data", "npz:few.npz", "--recipe", "random", "--ipc", 3, "--bits", 2, "--out", "o.fbits"
    )
    outcome = fedbits("labels", "compress", "l.npz", "o.fbits", "--ratio", 1)
    assert outcome.code == 2 and "another set" in outcome.err
