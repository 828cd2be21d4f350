"""Sweeps over the split of the bytes: samples alone, a network alone, and what lies between."""

from __future__ import annotations

from dataclasses import replace

import pytest
from making import make_data, tiny_recipe
from PIL import Image

from fedbits import evaluate, recipes
from fedbits.budget import Budget
from fedbits.errors import ConfigError
from fedbits.labels.network.config import LabellerConfig
from fedbits.recipe_variants import shared
from fedbits.sweep import SweepConfig, plots, report, run
from fedbits.sweep.result import Outcome, Result
from fedbits.sweep.split_plot import curves

QUICK = evaluate.protocol("laptop", network="mlp", width=8, steps=4)
LABELLER = LabellerConfig(steps=4)
RANDOM = replace(recipes.get("random"), labels="network", labeller=LABELLER)
ALONE = replace(recipes.get("network"), labeller=LABELLER)


def config(**settings):
    usual = {"recipes": (RANDOM,), "bits": (), "factors": (), "budgets": (Budget(600),), "protocol": QUICK}
    return SweepConfig(**{**usual, "validation": 0.25, **settings})


def test_a_recipe_splits_its_bytes():
    assert shared(RANDOM, None) is RANDOM
    assert shared(RANDOM, 0) == recipes.get("random")
    assert shared(RANDOM, 0.25).labelling == replace(LABELLER, share=0.25)
    assert shared(recipes.get("quadd"), 0.5).labels == "network"
    assert shared(RANDOM, 1).storage == "none" and shared(ALONE, 1) is ALONE
    with pytest.raises(ConfigError, match=r"share is -0.1: expected 0 .* to 1"):
        shared(RANDOM, -0.1)
    with pytest.raises(ConfigError, match="'network' has no samples, its network takes all"):
        shared(ALONE, 0.5)


def test_all_recipes_end_in_the_same_network_alone():
    points = config(recipes=(RANDOM, tiny_recipe("quadd")), bits=(1, 2), shares=(0.0, 0.5, 1.0)).points()
    assert [point.recipe.name for point in points if point.recipe.storage == "none"] == ["network"]
    assert len(points) == len({point.key for point in points}) == 2 * 2 * 2 + 1
    assert {point.complete().labels for point in points if point.share == 0} == {"hard"}


def test_bits_that_nobody_asked_for_are_planned():
    (point,) = config().points()
    assert point.complete() == RANDOM and point.form == "planned bits"
    (kept,) = config(recipes=(replace(RANDOM, bits=3, factor=2),)).points()
    assert (kept.complete().bits, kept.complete().factor, kept.form) == (3, 2, "3 bits")


def test_samples_both_and_a_network_alone_are_measured_at_equal_bytes(tmp_path):
    data = make_data((1, 8, 8), [12, 12, 9])
    sweep = run(data, config(recipes=(RANDOM, ALONE), shares=(0.0, 0.5)), tmp_path)
    samples = {result.record()["share"]: result.outcome.samples for result in sweep.results}
    assert list(samples) == [0.0, 0.5, 1.0]
    assert samples[0.0] > samples[0.5] > samples[1.0] == 0
    assert all(0 < result.outcome.bytes <= result.outcome.limit == 600 for result in sweep.results)
    assert report.table(sweep.results, sweep.best)[0][0] == "600B"


def test_the_split_is_drawn_from_samples_alone_to_the_network(tmp_path):
    points = config(recipes=(RANDOM, tiny_recipe("quadd")), shares=(0.0, 0.5, 1.0)).points()
    results = [Result(point, Outcome(600, 590, 20, (0.5,))) for point in points]
    assert {name: [share for share, _ in curve] for name, curve in curves(results).items()} == {
        "random, 600 B": [0.0, 0.5, 1.0],
        "quadd, 600 B": [0.0, 0.5, 1.0],
    }
    paths = plots.write(results, tmp_path, "made")
    assert [path.name for path in paths] == ["rate-utility.png", "split.png"]
    with Image.open(paths[-1]) as image:
        assert image.format == "PNG" and min(image.size) > 500
