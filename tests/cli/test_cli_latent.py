"""A set of latents through every command."""

import json

import numpy as np
import pytest

from fedbits import container
from fedbits.cli.blobs import fact_rows

MAKE = ("distill", "--data", "npz:few.npz", "--recipe", "mine.toml", "--steps", 0, "--device", "cpu")
MINE = 'base = "ruo"\n[latent]\nnumbers = 3\nscales = [2]\nhidden = 2\nentropy_hidden = 2\nfit_steps = 5\n'


@pytest.fixture(autouse=True)
def few(fedbits, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 6), np.uint8)
    np.savez(tmp_path / "few.npz", samples=images, labels=np.arange(20) % 2)
    (tmp_path / "mine.toml").write_text(MINE)


def test_every_command_takes_latents(fedbits, tmp_path):
    made = json.loads(fedbits(*MAKE, "--budget", "250B", "--out", "a.fbits", "--json").out)
    blob = (tmp_path / "a.fbits").read_bytes()
    assert len(blob) == made["bytes"] <= 250
    facts = json.loads(fedbits("inspect", "a.fbits", "--json").out)
    assert {"latents", "entropy network", "synthesis network"} <= set(facts["ledger"])
    assert sum(facts["ledger"].values()) == 8 * len(blob)
    assert facts["latents"] == 3 + 9 and facts["scales"] == [2]
    assert "latents a sample" in fedbits("inspect", "a.fbits").out
    assert "3 numbers, grids at 1/2 of a side" in fact_rows(facts)["values"]
    assert fedbits("recode", "a.fbits", "--per-class", "--out", "p.fbits").code == 0
    assert fedbits("recode", "p.fbits", "--out", "q.fbits").code == 0
    assert (tmp_path / "q.fbits").read_bytes() == blob
    for name in ("a", "p"):
        assert fedbits("decode", f"{name}.fbits", "--classes", "1", "--out", f"{name}.npz").code == 0
        assert fedbits("show", f"{name}.fbits").code == 0
    one, other = (np.load(tmp_path / f"{name}.npz") for name in ("a", "p"))
    assert np.array_equal(one["samples"], other["samples"]) and set(one["labels"]) == {1}
    whole = container.decode(blob)
    assert np.array_equal(one["samples"], whole.raw()[whole.labels == 1].numpy())
    judged = fedbits("evaluate", "a.fbits", "--data", "npz:few.npz", "--steps", 2, "--repeats", 1, "--json")
    assert judged.code == 0 or judged.is_one_sentence()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (("--bits", 3), "bits is 3"),
        (("--factor", 2), "factor is 2"),
        (("--quantizer", "apot"), "quantizer is 'apot'"),
        (("--budget", "60B"), "the smallest that would do is"),
    ],
)
def test_what_latents_do_not_take_is_one_sentence(fedbits, settings, named):
    outcome = fedbits(*MAKE, "--budget", "250B", *settings)
    assert outcome.is_one_sentence() and named in outcome.err
