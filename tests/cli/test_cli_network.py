"""A network alone, and a set with one that labels its views, through the commands that take blobs."""

import json

import numpy as np
import pytest
from labelling import alone, hybrid
from making import make_data, make_set

from fedbits import container

DATA = make_data((1, 4, 4), [3, 2])


@pytest.fixture(autouse=True)
def blobs(fedbits, tmp_path):
    """A network alone, a set with one, and the data as a file."""
    (tmp_path / "net.fbits").write_bytes(container.encode(alone(DATA.spec)))
    (tmp_path / "both.fbits").write_bytes(container.encode(hybrid(make_set(DATA))))


def test_a_network_alone_says_what_it_is(fedbits, tmp_path):
    facts = json.loads(fedbits("inspect", "net.fbits", "--json").out)
    assert (facts["samples"], facts["labels"], facts["storage"]) == (0, "network", "none")
    shown = " ".join(fedbits("inspect", "net.fbits").out.split())
    assert "samples none: a network is all there is" in shown
    assert "network mlp of width 3, 71 weights" in shown
    for command in ("show", "decode"):
        refused = fedbits(command, "net.fbits")
        assert refused.is_one_sentence() and "a network alone, and no samples" in refused.err
    assert fedbits("recode", "net.fbits", "--out", "again.fbits").code == 0
    assert (tmp_path / "again.fbits").read_bytes() == (tmp_path / "net.fbits").read_bytes()


def test_a_set_with_a_network_is_taken_by_every_command(fedbits, tmp_path):
    facts = json.loads(fedbits("inspect", "both.fbits", "--json").out)
    assert facts["labels"] == "network" and facts["network"]["parameters"] == 71
    shown = " ".join(fedbits("inspect", "both.fbits").out.split())
    assert "views crops from 50%, turned by up to 15 degrees, mirrored, cutmix; temperature 1" in shown
    assert fedbits("show", "both.fbits").code == 0
    assert fedbits("decode", "both.fbits", "--out", "a.npz").code == 0
    assert np.load(tmp_path / "a.npz")["samples"].shape == (4, 1, 4, 4)


def test_distilling_and_testing_networks(fedbits, tmp_path):
    recipe = 'base = "network"\n[labeller]\nsteps = 60\n'
    (tmp_path / "quick.toml").write_text(recipe)
    made = fedbits(
        "distill",
        "--data",
        "digits",
        "--budget",
        "60B/class",
        "--recipe",
        "quick.toml",
        "--out",
        "d.fbits",
        "--json",
    )
    facts = json.loads(made.out)
    assert facts["bytes"] <= facts["budget_bytes"] == 600 and facts["fill"] > 0.9
    tested = json.loads(fedbits("evaluate", "d.fbits", "--data", "digits", "--json").out)
    assert tested["samples"] == 0 and tested["network_accuracy"] > 0.3
    assert "nothing was trained" in " ".join(fedbits("evaluate", "d.fbits", "--data", "digits").out.split())
    two = json.loads(fedbits("evaluate", "d.fbits", "d.fbits", "--data", "digits", "--json").out)
    assert two["network_accuracies"] == [tested["network_accuracy"]] * 2
    assert set(two["ensembles"]) == {"mean", "weighted", "corrected"}
    assert two["ensembles"]["mean"] == tested["network_accuracy"]
    assert "together, mean" in fedbits("evaluate", "d.fbits", "d.fbits", "--data", "digits").out
    other = fedbits("evaluate", "net.fbits", "--data", "digits")
    assert other.is_one_sentence() and "net.fbits" in other.err
    assert fedbits("distill", "--data", "digits", "--ipc", 3, "--recipe", "network").is_one_sentence()
