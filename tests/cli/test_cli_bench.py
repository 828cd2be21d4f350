"""``fedbits bench``: a folder of its own, what it says, and how it ends."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def benchmarks(tmp_path):
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "good.py").write_text("print('measured')")
    (folder / "bad.py").write_text("raise SystemExit(3)")
    (folder / "suites.toml").write_text(
        '[one]\nabout = "the first"\nlaptop = ["good.py"]\nfigures = ["good.py --draw"]\n'
        '[two]\nabout = "the second"\nlaptop = ["bad.py", "good.py --more"]\n'
    )
    return folder


def test_a_suite_is_run_and_what_was_done_is_not_done_again(fedbits, benchmarks):
    first = fedbits("bench", "one", "--json")
    assert first.code == 0
    (made,) = json.loads(first.out)["commands"]
    assert (made["suite"], made["command"], made["state"]) == ("one", "good.py", "done")
    (made,) = json.loads(fedbits("bench", "one", "--json").out)["commands"]
    assert made["state"] == "done before"


def test_a_command_that_fails_is_told_and_the_others_run(fedbits, benchmarks):
    outcome = fedbits("bench", "--json")
    states = [made["state"] for made in json.loads(outcome.out)["commands"]]
    assert outcome.code == 1 and states == ["done", "failed", "done"]
    assert "two: failed" in outcome.err


def test_figures_are_drawn_every_time(fedbits, benchmarks):
    for _ in range(2):
        (made,) = json.loads(fedbits("bench", "--figures", "--json").out)["commands"]
        assert (made["command"], made["state"]) == ("good.py --draw", "done")


def test_the_list_runs_nothing(fedbits, benchmarks):
    listed = json.loads(fedbits("bench", "--list", "--json").out)["suites"]
    assert listed["two"] == {
        "about": "the second",
        "commands": {"laptop": ["bad.py", "good.py --more"]},
    }
    assert "good.py --more" in fedbits("bench", "two", "--list").out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("three",), "'three'"),
        (("--benchmarks", "nowhere"), "nowhere"),
        (("--scale", "huge"), "huge"),
        (("--minutes", "-1"), "-1"),
    ],
)
def test_wrong_input_is_one_sentence(fedbits, benchmarks, words, named):
    outcome = fedbits("bench", *words)
    assert outcome.is_one_sentence() and named in outcome.err
