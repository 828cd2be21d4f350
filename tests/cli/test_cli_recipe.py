"""``fedbits recipe``, and recipes from files."""

import json

import numpy as np
import pytest

from fedbits import container, recipe_toml, recipes

SMALL = ("distill", "--data", "npz:few.npz", "--ipc", 1, "--device", "cpu")


@pytest.fixture(autouse=True)
def few(fedbits, tmp_path):
    """A few tiny images as ``few.npz``."""
    images = np.arange(12 * 36, dtype=np.uint8).reshape(12, 6, 6)
    np.savez(tmp_path / "few.npz", samples=images, labels=np.arange(12) % 2)


def test_what_is_printed_is_what_distill_takes(fedbits, tmp_path, small_quadd):
    printed = fedbits("recipe", "quadd")
    assert printed.code == 0 and printed.err == ""
    (tmp_path / "my.toml").write_text(printed.out)
    assert recipe_toml.load(tmp_path / "my.toml") == recipes.get("quadd")
    for recipe, out in (("quadd", "a.fbits"), ("my.toml", "b.fbits")):
        assert fedbits(*SMALL, "--recipe", recipe, "--steps", 2, "--out", out).code == 0
    assert (tmp_path / "a.fbits").read_bytes() == (tmp_path / "b.fbits").read_bytes()


def test_json_holds_every_setting(fedbits):
    settings = json.loads(fedbits("recipe", "quadd", "--json").out)
    assert settings["ipc"] is None and settings["objective"]["kind"] == "regression"
    assert settings["objective"]["students"]["networks"] == recipes.get("quadd").objective.students.networks


def test_the_name_of_a_file_travels(fedbits, tmp_path):
    (tmp_path / "mine.toml").write_text('base = "random"\nbits = 2\n')
    assert fedbits(*SMALL, "--recipe", "mine.toml").code == 0
    assert container.decode((tmp_path / "set.fbits").read_bytes()).recipe == "mine"
    assert "bits = 2" in fedbits("recipe", "mine.toml").out


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "wrong.toml"),
        ("steps = x", "line 1"),
        ("stepz = 3", "did you mean 'steps'"),
        ('steps = "many"', '"many"'),
        ("bits = 9", "bits is 9"),
        ("[objective]\nwidth = 1.5", "objective.width is 1.5"),
    ],
)
@pytest.mark.parametrize("command", [("recipe",), (*SMALL, "--recipe"), ("sweep", *SMALL[1:], "--recipes")])
def test_a_wrong_file_is_one_sentence(fedbits, tmp_path, command, content, named):
    if content is not None:
        (tmp_path / "wrong.toml").write_text(content)
    outcome = fedbits(*command, "wrong.toml")
    assert outcome.is_one_sentence(), outcome
    assert named in outcome.err and "wrong.toml" in outcome.err
