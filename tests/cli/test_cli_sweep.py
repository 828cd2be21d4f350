"""``fedbits sweep``: one command from a grid to the best recipe."""

import json

import numpy as np
import pytest
from PIL import Image

from fedbits import recipe_toml
from fedbits.sweep import measure, plots

QUICK = ("--recipes", "random", "--evaluation-steps", 2, "--device", "cpu")
SAME_IMAGES = ("sweep", "--data", "npz:few.npz", "--ipc", "1,2", "--bits", "1,8", *QUICK)


@pytest.fixture(autouse=True)
def few(fedbits, tmp_path):
    """A few tiny images as ``few.npz``; their test part would be recognised, were it looked at."""
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 6), np.uint8)
    labels = np.arange(20) % 2
    np.savez(tmp_path / "few.npz", x_train=images, y_train=labels, x_test=images[:2] * 0, y_test=labels[:2])


def test_a_sweep_ends_in_a_recipe_that_distill_takes(fedbits, tmp_path):
    outcome = fedbits(*SAME_IMAGES, "--out", "out", "--json")
    facts = json.loads(outcome.out)
    assert outcome.code == 0
    assert {"settings", "versions", "machine", "points", "best", "winner", "out", "files"} == set(facts)
    assert len(facts["points"]) == 4 and set(facts["best"]) == {"1 a class", "2 a class"}
    accuracies = [point["accuracy"] for point in facts["points"]]
    assert accuracies == sorted(accuracies, reverse=True)
    for name in ("rate-utility.png", "samples-bits.png"):
        with Image.open(tmp_path / "out" / name) as image:
            assert image.format == "PNG"
    winner = next(point for point in facts["points"] if point["key"] == facts["winner"])
    best = recipe_toml.load(tmp_path / "out" / "best.toml")
    assert (best.name, best.bits, best.ipc) == ("random", winner["bits"], winner["ipc"])
    again = fedbits(
        "distill", "--data", "npz:few.npz", "--recipe", "out/best.toml", "--device", "cpu", "--json"
    )
    assert json.loads(again.out)["samples"] == winner["samples"]


def test_the_table_names_the_sweet_spot_and_what_cannot_work(fedbits, tmp_path):
    outcome = fedbits(
        *("sweep", "--data", "npz:few.npz", "--budgets", "9B,200B", "--bits", "2", *QUICK, "--no-plots")
    )
    assert outcome.code == 0, outcome.err
    assert "sweet spot at 200B: 2 bits" in outcome.out and "too small" in outcome.out
    assert "fedbits distill --data npz:few.npz --budget 200B --recipe" in " ".join(outcome.out.split())
    (folder,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in folder.iterdir()} == {"sweep.json", "points", "results.json", "best.toml"}


def test_where_nothing_works_the_table_says_why(fedbits, tmp_path):
    outcome = fedbits("sweep", "--data", "npz:few.npz", "--budget", "9B", *QUICK)
    assert outcome.code == 0 and "no point of the grid can work" in outcome.out


def test_an_interruption_says_what_is_kept(fedbits, monkeypatch):
    def interrupt(self, point, progress=None):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(measure.Bench, "measure", interrupt)
        stopped = fedbits(*SAME_IMAGES, "--out", "out")
    assert stopped.code == 130
    assert stopped.err == "interrupted: what is done is kept in out; the same command goes on from it\n"
    assert fedbits(*SAME_IMAGES, "--out", "out", "--no-plots").code == 0
    assert fedbits(*SAME_IMAGES, "--out", "out", "--validation", 0.5).is_one_sentence()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "budgets"),
        (("--budget", "lots"), "lots"),
        (("--budget", "1KiB,"), "'1KiB,' lacks an item"),
        (("--budget", "1bpp"), "ipc"),
        (("--ipc", "few"), "few"),
        (("--ipc", "1", "--bits", "0"), "bits is 0"),
        (("--ipc", "1", "--factors", "5"), "factor is 5"),
        (("--ipc", "1", "--quantizers", "unifrom"), "'uniform'"),
        (("--ipc", "1", "--recipes", "quad"), "'quadd'"),
        (("--ipc", "1", "--validation", "0"), "validation is 0"),
        (("--ipc", "1", "--protocol", "feeling"), "feeling"),
        (("--ipc", "1", "--jobs", "0"), "jobs"),
        (("--ipc", "1", "--out", "few.npz"), "few.npz"),
        (("--ipc", "1", "--out", "."), "something else"),
    ],
)
def test_a_wrong_value_is_named(fedbits, tmp_path, arguments, named):
    outcome = fedbits("sweep", "--data", "npz:few.npz", "--device", "cpu", *arguments)
    assert outcome.is_one_sentence(), outcome
    assert named in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["few.npz"]


def test_a_missing_matplotlib_is_said_before_the_work(fedbits, monkeypatch):
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    assert "--no-plots" in fedbits(*SAME_IMAGES).err
