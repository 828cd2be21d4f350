"""Recipes as TOML: every one reads back as it was written, and wrong files are one clear sentence."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace

import pytest

from fedbits import recipe_toml, recipe_variants, recipes
from fedbits.errors import ConfigError
from fedbits.matching import OBJECTIVES
from fedbits.matching.pool import PoolConfig
from fedbits.parameterization import EpitomeConfig, LatentConfig
from fedbits.quantization import QuantizerConfig
from fedbits.recipe import Recipe


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_reads_back(name):
    recipe = recipes.get(name)
    assert recipe_toml.loads(recipe_toml.dumps(recipe)) == recipe


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_every_objective_reads_back(kind):
    recipe = recipes.get("random", objective=OBJECTIVES[kind][0](), steps=7)
    text = recipe_toml.dumps(recipe)
    assert tomllib.loads(text)["objective"]["kind"] == kind
    assert recipe_toml.loads(text) == recipe


def test_settings_that_differ_read_back():
    recipe = Recipe(
        'odd "name"\\é',
        summary="two\nlines, [1,\n 2]",
        steps=3,
        quantizer=QuantizerConfig("apot", "tensor", temperature=(1.0, 1e-7), standardised=False),
        objective=replace(recipes.get("quadd-cf").objective, pool=PoolConfig(stages=(7,))),
        ipc=4,
        bits=32,
        factor=1,
    )
    assert recipe_toml.loads(recipe_toml.dumps(recipe)) == recipe


def test_none_is_an_absent_key_and_arrays_are_short():
    text = recipe_toml.dumps(recipes.get("quadd-cf"))
    assert "ipc" not in tomllib.loads(text) and "stages = [0, 50, 200, 500]\n" in text
    assert text.startswith("# ") and "fedbits distill" in text


def test_a_file_may_begin_with_a_named_recipe():
    text = 'base = "quadd-cf"\nsteps = 5\n[objective.pool]\nnetworks = 3\n[optimizer]\nlearning_rate = 1\n'
    read, quadd = recipe_toml.loads(text, "mine"), recipes.get("quadd-cf")
    objective = replace(quadd.objective, pool=replace(quadd.objective.pool, networks=3))
    optimizer = replace(quadd.optimizer, learning_rate=1.0)
    assert read == replace(quadd, name="mine", steps=5, objective=objective, optimizer=optimizer)
    assert isinstance(read.optimizer.learning_rate, float)


def test_none_takes_away_what_the_base_gives():
    read = recipe_toml.loads('base = "quadd-cf"\nbits = "none"\n[objective]\npool = "none"\n')
    assert read.objective == replace(recipes.get("quadd-cf").objective, pool=None)


def test_the_name_is_that_of_the_text_or_of_the_file(tmp_path):
    (tmp_path / "mine.toml").write_text("steps = 2\n")
    assert recipe_toml.load(tmp_path / "mine.toml") == Recipe("mine", steps=2)
    (tmp_path / "mine.toml").write_text('name = "other"\n')
    assert recipe_toml.get(str(tmp_path / "mine.toml"), bits=2, ipc=None) == Recipe("other", bits=2)


@pytest.mark.parametrize(
    ("reference", "path"),
    [("quadd", False), ("my.toml", True), ("./quadd", True), ("folder/my", True), ("toml", False)],
)
def test_what_is_a_path(reference, path):
    assert recipe_toml.is_path(reference) is path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = 1\nbits = x\n", r"not TOML: .*line 2"),
        ("stepz = 3", r"unknown key 'stepz' \(did you mean 'steps'\?\): expected one of name, summary"),
        ("[objective]\nwidht = 3", r"unknown key 'objective.widht' \(did you mean 'width'\?\)"),
        ("[objective.pool]\nstage = [1]", r"unknown key 'objective.pool.stage' \(did you mean 'stages'\?\)"),
        ('[objective]\nkind = "distributon"', r"unknown objective.kind 'distributon' \(did you mean 'dist"),
        ("[objective]\nkind = 3", 'objective.kind is 3: expected one of "distribution"'),
        ('base = "quad"', r"unknown recipe 'quad' \(did you mean 'quadd'\?\)"),
        ("base = 3", 'base is 3: expected one of "quadd"'),
        ('steps = "3"', 'steps is "3": expected an integer'),
        ("steps = 3.0", "steps is 3.0: expected an integer"),
        ("steps = true", "steps is true: expected an integer"),
        ("ipc = [1]", 'ipc is .1.: expected an integer, or "none"'),
        ("penalty = nan", "penalty is NaN: expected a finite number"),
        ("[optimizer]\ndecay = 1", "optimizer.decay is 1: expected true or false"),
        ('[optimizer]\nname = "sdg"', 'optimizer.name is "sdg": expected one of "adam", "sgd"'),
        (
            "[quantizer]\ntemperature = [1]",
            "quantizer.temperature is .1.: expected a list of 2 finite numbers",
        ),
        (
            '[objective.pool]\nstages = [1, "a"]',
            'item 2 of objective.pool.stages is "a": expected an integer',
        ),
        ("objective = 3", "objective is 3: expected a table of settings"),
        ("[steps]", "steps is {}: expected an integer"),
        ("labels = 2020-01-01", 'labels is "2020-01-01": expected one of "hard", "soft"'),
        ("bits = 9", "bits is 9: expected 1 to 8"),
        ('name = ""', 'name is "": expected 1 to 64 printable characters'),
    ],
)
def test_wrong_text_is_one_sentence(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        recipe_toml.loads(text)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    cases = {"none.toml": None, "latin.toml": b"summary = '\xe9'", "huge.toml": b"#" * (1 << 21)}
    cases["deep.toml"] = b"steps = " + b"[" * 100_000
    for name, content in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=name):
            recipe_toml.load(tmp_path / name)
    with pytest.raises(ConfigError, match="cannot read"):
        recipe_toml.load(tmp_path)


def test_another_quantizer():
    quadd = recipes.get("quadd")
    assert recipe_variants.requantized(quadd, None) is quadd
    assert recipe_variants.requantized(quadd, "post").quantizer == replace(quadd.quantizer, name="post")
    with pytest.raises(ConfigError, match=r"unknown quantizer 'unifrom' \(did you mean 'uniform'\?\)"):
        recipe_variants.requantized(quadd, "unifrom")


def test_epitomes_are_planned_or_complete():
    text = recipe_toml.dumps(recipes.get("speed"))
    assert "no table [epitome]" in text and "fedbits inspect" in text and "epitome" not in tomllib.loads(text)
    assert "no table [epitome]" not in recipe_toml.dumps(recipes.get("speed-tm"))
    comment = text[text.index("# [epitome]") :].partition("\n\n")[0]
    read = recipe_toml.loads('base = "speed"\n' + comment.replace("# ", ""))
    assert read.epitome == EpitomeConfig(tokens=32, width=16, nonzeros=6, patch=28)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'base = "speed"\n[epitome]\ntokens = 8',
            "epitome lacks the key 'width': it needs tokens, width, nonz",
        ),
        ('storage = "pixels"', "unknown storage 'pixels'"),
        (
            "[epitome]\ntokens = 8\nwidth = 4\nnonzeros = 2\npatch = 4",
            "storage is 'pixel': expected 'epitome'",
        ),
        (
            'base = "speed-tm"\n[epitome]\nheads = 5',
            "heads of the epitome is 5: expected a divisor of width 96",
        ),
        ('base = "speed"\nbits = 3', "bits is 3: it shapes pixels"),
    ],
)
def test_wrong_epitomes(text, message):
    with pytest.raises(ConfigError, match=message):
        recipe_toml.loads(text)


def test_epitomes_are_laid_over_that_of_the_base():
    published = recipes.get("speed-tm").epitome
    assert recipe_toml.loads('base = "speed-tm"\n[epitome]\ntokens = 8').epitome == replace(
        published, tokens=8
    )
    assert recipe_toml.loads('base = "speed-tm"\nepitome = "none"').epitome is None


def test_latents_are_planned_or_as_given():
    text = recipe_toml.dumps(recipes.get("ruo"))
    assert "no table [latent]" in text and "fedbits inspect" in text and "latent" not in tomllib.loads(text)
    comment = text[text.index("# [latent]") :].partition("\n\n")[0]
    read = recipe_toml.loads('base = "ruo"\n' + comment.replace("# ", ""))
    assert read.latent == LatentConfig(numbers=32, scales=(4, 2), hidden=8, beta=1.0)
    given = replace(recipes.get("ruo"), latent=LatentConfig(scales=(), group=2, class_means=False))
    assert recipe_toml.loads(recipe_toml.dumps(given)) == given
    assert "no table [latent]" not in recipe_toml.dumps(given)
    assert recipe_toml.loads('base = "ruo"\n[latent]\ngroup = "class"').latent == LatentConfig(group="class")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[latent]\nnumbers = 8", "there are settings of latents, but storage is 'pixel': expected 'latent'"),
        (
            'base = "ruo"\n[epitome]\ntokens = 8\nwidth = 4\nnonzeros = 2\npatch = 4',
            "there are settings of an epitome, but storage is 'latent': expected 'epitome'",
        ),
        ('base = "ruo"\n[latent]\nnumbers = 999', "latent: numbers of the latents is 999: expected 0 to 128"),
        ('base = "ruo"\n[latent]\nscales = 4', "latent.scales is 4: expected a list of integers"),
        ('base = "ruo"\nbits = 3', "bits is 3: it shapes pixels"),
    ],
)
def test_wrong_latents(text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        recipe_toml.loads(text)


def test_quantizers_are_for_pixels():
    with pytest.raises(
        ConfigError, match="quantizer is 'apot': it shapes pixels, but the storage is 'epitome'"
    ):
        recipe_variants.requantized(recipes.get("speed"), "apot")
