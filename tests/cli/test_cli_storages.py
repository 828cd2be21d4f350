"""Sets that are no pixels (sparse codes, latents) through every command."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from fedbits import container
from fedbits.cli.blobs import fact_rows

MAKE = ("distill", "--data", "npz:few.npz", "--recipe", "mine.toml", "--steps", 0, "--device", "cpu")


@dataclass(frozen=True)
class Storage:
    """A recipe of its own, a budget that suits it, one that cannot, and what commands say of it."""

    recipe: str
    budget: str
    too_little: str
    parts: frozenset[str]
    said: str
    row: tuple[str, str]


STORAGES = {
    "epitome": Storage(
        'base = "speed"\n[epitome]\ntokens = 4\nwidth = 2\nnonzeros = 2\npatch = 6\nfit_steps = 5\n',
        "300B",
        "100B",
        frozenset({"positions", "coefficients", "tokens", "network"}),
        "Eq. 7",
        ("by the paper", "Eq. 7"),
    ),
    "latent": Storage(
        'base = "ruo"\n[latent]\nnumbers = 3\nscales = [2]\nhidden = 2\nentropy_hidden = 2\nfit_steps = 5\n',
        "250B",
        "60B",
        frozenset({"latents", "entropy network", "synthesis network"}),
        "latents a sample",
        ("values", "3 numbers, grids at 1/2 of a side"),
    ),
}


@pytest.fixture(params=STORAGES)
def storage(request, fedbits, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 6), np.uint8)
    np.savez(tmp_path / "few.npz", samples=images, labels=np.arange(20) % 2)
    (tmp_path / "mine.toml").write_text(STORAGES[request.param].recipe)
    return STORAGES[request.param]


def test_every_command_takes_it(storage, fedbits, tmp_path):
    made = json.loads(fedbits(*MAKE, "--budget", storage.budget, "--out", "a.fbits", "--json").out)
    blob = (tmp_path / "a.fbits").read_bytes()
    assert len(blob) == made["bytes"] <= int(storage.budget.removesuffix("B"))
    facts = json.loads(fedbits("inspect", "a.fbits", "--json").out)
    assert storage.parts <= set(facts["ledger"])
    assert sum(facts["ledger"].values()) == 8 * len(blob)
    name, value = storage.row
    assert storage.said in fedbits("inspect", "a.fbits").out and value in fact_rows(facts)[name]
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
    assert json.loads(judged.out)["samples"] == len(whole)


@pytest.mark.parametrize("storage", ["epitome"], indirect=True)
def test_an_epitome_is_counted_as_the_paper_counts(storage, fedbits):
    assert fedbits(*MAKE, "--budget", storage.budget, "--out", "a.fbits").code == 0
    facts = json.loads(fedbits("inspect", "a.fbits", "--json").out)
    assert facts["float32_equivalents"] == facts["parameters"] + 1.5 * facts["samples"] * 2


@pytest.mark.parametrize("storage", ["latent"], indirect=True)
def test_latents_are_counted(storage, fedbits):
    assert fedbits(*MAKE, "--budget", storage.budget, "--out", "a.fbits").code == 0
    facts = json.loads(fedbits("inspect", "a.fbits", "--json").out)
    assert facts["latents"] == 3 + 9 and facts["scales"] == [2]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (("--bits", 3), "bits is 3"),
        (("--factor", 2), "factor is 2"),
        (("--quantizer", "apot"), "quantizer is 'apot'"),
        (("--budget", None), "the smallest that would do is"),
    ],
)
def test_what_it_does_not_take_is_one_sentence(storage, fedbits, settings, named):
    option, value = settings
    outcome = fedbits(*MAKE, "--budget", storage.budget, option, value or storage.too_little)
    assert outcome.is_one_sentence() and named in outcome.err


def test_where_an_epitomes_coefficients_are_can_be_drawn(storage, fedbits, tmp_path):
    assert fedbits(*MAKE, "--budget", storage.budget, "--out", "a.fbits").code == 0
    plain = json.loads(fedbits("show", "a.fbits", "--json").out)
    outcome = fedbits("show", "a.fbits", "--allocation", "--json", "--out", "b.png")
    if storage is STORAGES["epitome"]:
        assert json.loads(outcome.out)["width"] > plain["width"]
    else:
        assert outcome.is_one_sentence() and "latent" in outcome.err
        assert not (tmp_path / "b.png").exists()
