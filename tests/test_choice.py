"""``--recipe auto``: a choice by trial, on training data alone."""

from __future__ import annotations

import pytest
from making import make_data

from fedbits.budget import Budget
from fedbits.choice import ChoiceConfig, choose
from fedbits.errors import BudgetError, ConfigError
from fedbits.evaluate import protocol
from fedbits.labels.network import training
from fedbits.recipes import get

QUICK = protocol("laptop", network="mlp", width=8, steps=4)


def config(*recipes: str, shares: tuple[float, ...] = ()) -> ChoiceConfig:
    return ChoiceConfig(recipes, shares, steps=2, validation=0.25, protocol=QUICK)


@pytest.fixture
def data():
    return make_data((1, 8, 8), [12, 12, 9])


@pytest.fixture
def judged(monkeypatch):
    """Accuracies to give by recipe and share, in place of training networks."""
    found: dict[tuple[str, float], float] = {}

    def give(bench, received, progress):
        share = 1.0 if not len(received) else 0.0 if received.network is None else 0.5
        return (found[received.recipe, share],)

    monkeypatch.setattr("fedbits.sweep.measure.Bench._judged", give)
    monkeypatch.setattr(training, "WORK", 1.0)  # as few steps as there may be
    monkeypatch.setattr(training, "_FEWEST", 2)
    return found


def test_the_best_of_all_recipes_is_chosen_and_said(data, tmp_path, judged):
    judged.update({("random", 0): 0.5, ("herding", 0): 0.7})
    chosen = choose(data, Budget(400), config("random", "herding"), folder=tmp_path)
    assert chosen.recipe == get("herding")
    assert chosen.reason == (
        "herding, uniform 70.0 % of held-out training data, before random, uniform 50.0 %"
    )
    assert [one["recipe"] for one in chosen.document()["tried"]] == ["herding", "random"]


def test_the_best_samples_share_their_bytes_with_a_network(data, tmp_path, judged):
    judged.update({("random", 0): 0.5, ("random", 0.5): 0.7, ("network", 1): 0.65})
    chosen = choose(data, Budget(600), config("random", "network", shares=(0.5,)), folder=tmp_path)
    assert (chosen.recipe.name, chosen.recipe.labels) == ("random", "network")
    assert chosen.recipe.labelling.share == chosen.document()["share"] == 0.5
    assert [one["share"] for one in chosen.document()["tried"]] == [0.5, 1.0, None]


def test_a_network_alone_may_be_the_best(data, tmp_path, judged):
    judged.update({("random", 0): 0.5, ("network", 1): 0.9})
    chosen = choose(data, Budget(600), config("random", "network"), folder=tmp_path)
    assert chosen.recipe == get("network") and chosen.document()["share"] == 1


def test_a_choice_is_kept(data, monkeypatch, tmp_path):
    monkeypatch.setenv("FEDBITS_CACHE", str(tmp_path))
    first = choose(data, Budget(400), config("random"))
    monkeypatch.setattr("fedbits.sweep.measure.Bench.measure", lambda *args: pytest.fail("measured again"))
    assert choose(data, Budget(400), config("random")) == first


def test_a_budget_for_nothing_is_a_sentence(data, tmp_path):
    with pytest.raises(BudgetError, match=r"no recipe fits the budget: .*9 bytes"):
        choose(data, Budget(9), config("random", "network"), folder=tmp_path)


def test_only_distill_chooses():
    with pytest.raises(ConfigError, match="'auto' is a choice by trial, which distill makes"):
        get("auto")
