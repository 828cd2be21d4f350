"""Sweeps: what is tried, on which data, and what is kept of it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from unittest.mock import Mock

import pytest
import torch
from making import TINY_LATENT, make_data, tiny_recipe
from PIL import Image

from fedbits import recipe_toml, recipes
from fedbits.budget import Budget
from fedbits.errors import ConfigError, DataError
from fedbits.evaluate import protocol
from fedbits.parameterization import EpitomeConfig, LatentConfig
from fedbits.sweep import SweepConfig, best_by_group, measure, plots, ranked, rate_utility_plot, report, run
from fedbits.sweep.grid import budget_text
from fedbits.sweep.result import Outcome, Result

QUICK = protocol("laptop", network="mlp", width=8, steps=4)
RANDOM = (recipes.get("random"),)


def config(**settings):
    usual = {
        "recipes": (tiny_recipe("quadd"), recipes.get("random")),
        "bits": (1, 2),
        "budgets": (Budget(400),),
        "steps": 2,
        "validation": 0.25,
        "protocol": QUICK,
    }
    return SweepConfig(**{**usual, **settings})


@pytest.fixture
def data():
    return make_data((1, 8, 8), [12, 12, 9])


class Instant(list):
    """In the place of measuring: the points that were asked for, and Ctrl-C when there are ``stop_at``."""

    stop_at: int | None = None

    def measure(self, bench, point, progress=None):
        if len(self) == self.stop_at:
            raise KeyboardInterrupt
        self.append(point)
        return Result(point, Outcome(400, 390, 10 * point.bits, (0.5 + 0.01 * point.bits,)))


@pytest.fixture
def instant(monkeypatch):
    """The points that a sweep would measure, measured in no time."""
    points = Instant()
    monkeypatch.setattr(
        measure.Bench, "measure", lambda bench, point, progress=None: points.measure(bench, point)
    )
    return points


def results_of(sweep):
    """Without the times, which never repeat."""
    return [replace(result, outcome=replace(result.outcome, seconds=0.0)) for result in sweep.results]


def test_the_grid_has_each_point_once():
    grid = config(bits=(2, 32), factors=(1, 2), quantizers=("uniform", "post"), ipcs=(3, 4), budgets=())
    points = grid.points()
    assert len(points) == len(set(points)) == 2 * 2 * (2 * 2 + 1)
    assert {point.factor for point in points if point.bits == 32} == {1}
    assert {point.recipe.steps for point in points} == {2, 0}  # real samples stay real
    assert len({point.key for point in points}) == len(points)


def test_results_keep_to_the_budget(data, tmp_path):
    sweep = run(data, config(bits=(2,)), tmp_path)
    assert [result.point for result in sweep.results] == list(config(bits=(2,)).points())
    for result in sweep.results:
        assert result.done and 0 < result.outcome.bytes <= result.outcome.limit == 400
        assert result.outcome.samples >= 3 and 0 <= result.accuracy <= 1
    assert sweep.winner == max(sweep.results, key=lambda one: (one.accuracy, -one.outcome.bytes))


def test_the_same_images_take_more_bytes_at_more_bits(data, tmp_path):
    sweep = run(data, config(budgets=(), ipcs=(2,), bits=(1, 4, 32), recipes=RANDOM), tmp_path)
    assert {result.outcome.samples for result in sweep.results} == {6}
    sizes = [result.outcome.bytes for result in sweep.results]
    assert sizes == sorted(sizes) and sizes[-1] > 6 * 64 * 4
    assert {result.outcome.limit for result in sweep.results} == {None}
    assert list(sweep.best) == ["2 a class"]


def test_what_judges_is_never_distilled(data, tmp_path, monkeypatch):
    distilled, judged = [], []
    distill, evaluate = measure.distill, measure.evaluate.evaluate

    def spying_distill(train, *args, **kwargs):
        distilled.append(train)
        return distill(train, *args, **kwargs)

    def spying_evaluate(received, test, *args, **kwargs):
        judged.append(test)
        return evaluate(received, test, *args, **kwargs)

    monkeypatch.setattr(measure, "distill", spying_distill)
    monkeypatch.setattr(measure.evaluate, "evaluate", spying_evaluate)
    run(data, config(bits=(1, 2), budgets=(), ipcs=(1,), recipes=RANDOM), tmp_path)
    rows = [{tuple(sample.flatten().tolist()) for sample in part[0].samples} for part in (distilled, judged)]
    everything = {tuple(sample.flatten().tolist()) for sample in data.samples}
    assert rows[0].isdisjoint(rows[1]) and rows[0] | rows[1] == everything
    assert all(torch.equal(part.samples, judged[0].samples) for part in judged)


def test_an_interrupted_sweep_goes_on_without_doing_anything_twice(data, tmp_path, instant):
    whole = run(data, config(), tmp_path / "whole")
    instant.clear()
    instant.stop_at = 2
    with pytest.raises(KeyboardInterrupt):
        run(data, config(), tmp_path / "part")
    assert len(list((tmp_path / "part" / "points").glob("*.json"))) == 2
    instant.stop_at = None
    assert run(data, config(), tmp_path / "part") == whole
    assert instant == list(config().points())
    run(data, config(), tmp_path / "part")
    assert len(instant) == 4


def test_a_point_is_taken_up_from_its_checkpoint(data, tmp_path, monkeypatch):
    monkeypatch.setattr("fedbits.optimise.CHECKPOINT_EVERY", 2)
    one = config(recipes=(tiny_recipe("quadd"),), bits=(2,), steps=5, budgets=(), ipcs=(2,))
    whole = run(data, one, tmp_path / "whole")
    encode = measure.container.encode
    monkeypatch.setattr(measure.container, "encode", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(data, one, tmp_path / "part")
    (left,) = (tmp_path / "part" / "points").iterdir()
    assert left.suffix == ".checkpoint"
    monkeypatch.setattr(measure.container, "encode", encode)
    assert results_of(run(data, one, tmp_path / "part")) == results_of(whole)
    assert not left.exists()
    left.write_bytes(b"damaged")
    next((tmp_path / "part" / "points").glob("*.json")).unlink()
    assert results_of(run(data, one, tmp_path / "part")) == results_of(whole)


def test_a_larger_grid_adds_to_what_is_there(data, tmp_path, instant):
    first = run(data, config(recipes=RANDOM, bits=(2,)), tmp_path)
    second = run(data, config(recipes=RANDOM, bits=(1, 2)), tmp_path)
    assert [point.bits for point in instant] == [2, 1] and first.results[0] == second.results[1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"validation": 0.5}, "validation 0.25, not 0.5"),
        ({"steps": 3}, "steps 2, not 3"),
        ({"seed": 1}, "seed 0"),
    ],
)
def test_other_conditions_are_refused(data, tmp_path, instant, changed, message):
    run(data, config(), tmp_path)
    with pytest.raises(ConfigError, match=message):
        run(data, config(**changed), tmp_path)


def test_other_data_and_other_folders_are_refused(data, tmp_path, instant):
    random = config(recipes=RANDOM, bits=(2,))
    run(data, random, tmp_path / "a")
    with pytest.raises(ConfigError, match="other data"):
        run(make_data((1, 8, 8), [12, 12, 9], seed=1), random, tmp_path / "a")
    (tmp_path / "a" / "sweep.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"sweep\.json is damaged"):
        run(data, random, tmp_path / "a")
    with pytest.raises(ConfigError, match="something else"):
        run(data, random, tmp_path)
    with pytest.raises(ConfigError, match="it is a file"):
        run(data, random, tmp_path / "a" / "sweep.json")


def test_points_that_cannot_work_are_recorded(data, tmp_path):
    grid = config(budgets=(Budget(20), Budget(400)), bits=(2,), recipes=RANDOM)
    sweep = run(data, grid, tmp_path)
    small, large = sweep.results
    assert "20 bytes" in small.outcome.reason and not small.done and large.done
    assert list(sweep.best) == ["400B"] and ranked(sweep.results) == [large, small]
    assert run(data, grid, tmp_path) == sweep


def test_flat_samples_are_not_shrunk(tmp_path):
    flat = make_data((6,), [8, 8], dtype="float32")
    sweep = run(flat, config(recipes=RANDOM, factors=(1, 2), bits=(2,), budgets=(), ipcs=(2,)), tmp_path)
    assert [result.done for result in sweep.results] == [True, False]
    assert "flat samples" in sweep.results[1].outcome.reason


def test_too_few_samples_to_hold_out(tmp_path):
    with pytest.raises(DataError, match="too few"):
        run(make_data((1, 8, 8), [1, 1]), config(), tmp_path)


def test_several_jobs_find_what_one_finds(data, tmp_path):
    random = config(recipes=RANDOM, bits=(1, 2), budgets=(), ipcs=(2,))
    alone = run(data, random, tmp_path / "alone")
    assert results_of(run(data, random, tmp_path / "two", jobs=2)) == results_of(alone)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipes": ()}, "without recipes"),
        ({"shares": (1.5,)}, "share is 1.5: expected 0 .* to 1"),
        ({"budgets": ()}, "budgets .* or ipc"),
        ({"bits": (9,)}, "bits is 9"),
        ({"factors": (3,)}, "factor is 3"),
        ({"ipcs": (0,)}, "ipc is 0"),
        ({"steps": -1}, "steps is -1"),
        ({"quantizers": ("nosuch",)}, "unknown quantizer 'nosuch'"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"repeats": 0}, "repeats is 0"),
        ({"budgets": (Budget(1, "bpp"),)}, "bpp needs the number of samples"),
        (
            {"recipes": (recipes.get("random"), recipes.get("random", bits=1))},
            "two recipes are called 'random'",
        ),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        config(**settings)


@pytest.mark.parametrize("text", ["512B", "1KiB/class", "1536B", "4MiB/class", "0.5bpp", "300bits/class"])
def test_budgets_are_written_as_they_are_read(text):
    assert budget_text(Budget.parse(text)) == text


def made_up(settings):
    """Results without any work: more bits and samples are better, up to a point."""
    results = []
    for number, point in enumerate(settings.points()):
        accuracy = 0.5 + 0.05 * min(point.bits, 3) - 0.01 * point.factor
        samples = (point.ipc or 40 // point.bits) * 3
        outcome = Outcome(None, 100 * point.bits + number, samples, (accuracy, accuracy + 0.01))
        results.append(Result(point, Outcome(reason="too small") if point.bits == 8 else outcome))
    return tuple(results)


def test_epitomes_have_no_bits_and_are_tried_once(tmp_path):
    recipes_ = (tiny_recipe("speed"), *RANDOM)
    grid = config(recipes=recipes_, bits=(2, 32), factors=(1, 2), quantizers=("uniform", "apot"))
    points = [point for point in grid.points() if point.recipe.name == "speed"]
    assert len(points) == 1 and len(grid.points()) == 1 + 2 * 2 + 1
    (point,) = points
    assert (point.bits, point.factor, point.quantizer) == (None, None, None)
    assert point.complete() == replace(recipes_[0], steps=2)
    assert point.form == point.quantizer_name == "sparse codes" and "None" not in point.key
    result = Result(point, Outcome(400, 390, 12, (0.5,)))
    assert result.spot == "sparse codes, 12 samples"
    assert Result.of_record(point, json.loads(json.dumps(result.record()))) == result
    assert report.table([result], {})[0][2:5] == ["sparse codes", "-", "-"]
    others = [Result(one, Outcome(400, 380, 20, (0.4,))) for one in grid.points() if one.bits]
    for results in ([result], [result, *others]):
        assert len(plots.write(results, tmp_path, "made")) == 2


def test_latents_have_no_bits_and_are_told_from_codes(data, tmp_path):
    small = LatentConfig(**{**TINY_LATENT, "fit_steps": 5})
    chosen = (tiny_recipe("ruo", latent=small), tiny_recipe("speed"), *RANDOM)
    points = config(recipes=chosen, bits=(2,)).points()
    assert [point.form for point in points] == ["latents", "sparse codes", "2 bits"]
    results = [Result(one, Outcome(400, 380, 20, (0.4,))) for one in points]
    assert len(plots.write(results, tmp_path, "made")) == 2
    (result,) = run(data, config(recipes=chosen[:1], bits=(1, 2)), tmp_path / "run").results
    assert result.done and result.outcome.bytes <= 400


def test_an_epitome_is_measured(data, tmp_path):
    small = EpitomeConfig(tokens=4, width=2, nonzeros=2, patch=8, fit_steps=5)
    recipe = tiny_recipe("speed", epitome=small)
    sweep = run(data, config(recipes=(recipe,), bits=(1, 2)), tmp_path)
    (result,) = sweep.results
    assert result.done and result.outcome.bytes <= 400


@pytest.mark.parametrize(
    "settings",
    [
        {"budgets": (Budget(400),), "bits": (2,), "recipes": (recipes.get("random"),)},
        {"budgets": (Budget(400), Budget(800)), "factors": (1, 2), "bits": (1, 3, 8)},
        {"budgets": (), "ipcs": (1, 5), "bits": (1, 4, 32)},
    ],
)
def test_plots_are_drawn(tmp_path, settings):
    paths = plots.write(made_up(config(**settings)), tmp_path, "made")
    assert [path.name for path in paths] == ["rate-utility.png", "samples-bits.png"]
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG" and min(image.size) > 500
    assert plots.write((made_up(config(bits=(8,)))), tmp_path, "made") == []


def test_lines_lead_along_the_best():
    budgets = made_up(config(budgets=(Budget(400), Budget(800)), bits=(1, 3)))
    assert [one.point.bits for one in rate_utility_plot.frontier(budgets)] == [3, 3]
    images = made_up(config(budgets=(), ipcs=(5,), bits=(1, 3, 4), recipes=(recipes.get("random"),)))
    assert [one.point.bits for one in rate_utility_plot.frontier(images)] == [1, 3]


def test_names_do_not_overlap():
    assert rate_utility_plot.spread([0.5], 0.2) == [0.5]
    assert rate_utility_plot.spread([0.0, 0.05, 0.99], 0.2) == pytest.approx([0.1, 0.3, 0.9])
    many = rate_utility_plot.spread([0.9] * 8, 0.2)
    assert all(b - a >= 0.125 - 1e-9 for a, b in pairwise(many)) and 0 < many[0] < many[-1] < 1


def test_a_missing_matplotlib_is_a_sentence(monkeypatch):
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="matplotlib"):
        plots.check_available()


def test_the_report_names_the_best_and_what_it_was_measured_with(tmp_path):
    results = made_up(config(budgets=(Budget(400), Budget(800)), bits=(1, 3, 8)))
    sweep = measure.Sweep(config(), "made", 20, 5, results)
    names = {path.name for path in report.write(sweep, tmp_path, "npz:made.npz")}
    assert names == {"results.json", "best.toml", "best-400B.toml", "best-800B.toml"}
    found = json.loads((tmp_path / "results.json").read_text())
    assert {"settings", "versions", "machine", "points", "best", "winner"} == set(found)
    assert found["points"][0]["key"] == found["winner"] and found["points"][-1]["status"] == "impossible"
    assert found["best"]["800B"]["spot"] == "3 bits, 39 samples"
    best = recipe_toml.load(tmp_path / "best.toml")
    assert best == best_by_group(results)["400B"].point.complete() and best.bits == 3
    assert "fedbits distill --data npz:made.npz --budget 400B" in (tmp_path / "best.toml").read_text()
