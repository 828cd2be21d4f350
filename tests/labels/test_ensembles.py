"""Networks of several nodes together: what each knows, whose answer counts, who labels whose views."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from labelling import alone, hybrid, network_labels
from making import make_data, make_set

from fedbits import recipes
from fedbits.budget import Budget
from fedbits.data.union import Union
from fedbits.distill import distill
from fedbits.errors import ConfigError
from fedbits.labels import RULES, Ensemble, NetworkLabels, Rule
from fedbits.labels.network.ensemble import pooled
from fedbits.labels.network.known import counted, told
from fedbits.pooling import ensembles, with_pooled_labels

DATA = make_data((4,), [8, 8, 8])
SAMPLES = DATA.batch().samples


def knowing(*counts: int, seed: int = 0) -> NetworkLabels:
    return network_labels(DATA.spec, seed=seed, known=told(counts))


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9))
def test_what_is_told_is_about_what_was_seen(counts: list[int]) -> None:
    known = told(counts)
    assert len(known) in (1, len(counts))
    found = counted(known, len(counts)).tolist()
    for count, about in zip(counts, found, strict=True):
        assert (about == 0) == (count == 0)
        assert abs(about - count) <= 0.1 * (count + 1)


def test_as_many_of_each_class_take_a_single_byte() -> None:
    assert len(told([6000] * 10)) == 1
    assert counted(told([6000] * 10), 10).unique().numel() == 1
    assert counted(b"", 3).tolist() == [1, 1, 1]


def test_all_classes_count_alike_by_the_mean() -> None:
    networks = [knowing(5, 0, 0), knowing(0, 9, 9, seed=1)]
    expected = sum(one.network(SAMPLES).softmax(1) for one in networks) / 2
    assert torch.allclose(Ensemble(networks, "mean")(SAMPLES).exp(), expected, atol=1e-6)


def test_an_ensemble_elsewhere_leaves_the_labelling_networks_where_they_are() -> None:
    one = knowing(5, 5, 5)
    before = one.probabilities(SAMPLES)
    Ensemble([one], "mean").to("meta")
    assert torch.equal(one.probabilities(SAMPLES), before)


def test_of_a_class_those_count_that_have_seen_it() -> None:
    networks = [knowing(100, 0, 50), knowing(100, 100, 0, seed=1)]
    first, second = (one.network(SAMPLES).softmax(1) for one in networks)
    expected = torch.stack([(first[:, 0] + second[:, 0]) / 2, second[:, 1], first[:, 2]], 1)
    found = Ensemble(networks, "weighted")(SAMPLES).exp()
    assert torch.allclose(found, expected / expected.sum(1, keepdim=True), atol=1e-5)


def test_a_common_class_is_no_more_likely_when_corrected() -> None:
    """Of two equal classes, one was seen seven times as often: odds fall by seven."""
    alike, often = knowing(100, 100, 100), knowing(700, 100, 0)
    odds = {}
    for name, one in (("alike", alike), ("often", often)):
        found = Ensemble([one], "corrected")(SAMPLES)
        odds[name] = found[:, 0] - found[:, 1]
    assert torch.allclose(odds["alike"] - odds["often"], torch.tensor(7.0).log(), atol=0.15)
    assert bool((Ensemble([often], "corrected")(SAMPLES)[:, 2].exp() < 1e-6).all())


@pytest.mark.parametrize("rule", RULES)
def test_a_class_that_none_has_seen_is_never_named(rule: Rule) -> None:
    networks = [knowing(5, 3, 0), knowing(7, 2, 0, seed=1)]
    found = Ensemble(networks, rule)(SAMPLES)
    assert bool(found.isfinite().all())
    if rule != "mean":
        assert not bool((found.argmax(1) == 2).any())


def test_views_are_labelled_by_those_that_know_their_classes() -> None:
    networks = [knowing(40, 40, 0), knowing(0, 40, 40, seed=1), knowing(10, 40, 40, seed=2)]
    together = pooled(networks[0], networks)
    first, _, third = (one.probabilities(SAMPLES) for one in networks)
    made_of = torch.zeros(len(SAMPLES), 3)
    made_of[:, 0] = 1
    expected = 0.8 * first + 0.2 * third  # 40 samples against 10, and none
    assert torch.allclose(together.label(SAMPLES, made_of), expected, atol=0.02)
    made_of[:, 0], made_of[:, 1] = 0.5, 0.5  # geometric means: 40, hardly any, 20
    expected = 2 / 3 * first + 1 / 3 * third
    assert torch.allclose(together.label(SAMPLES, made_of), expected, atol=0.03)


def test_a_class_that_none_knows_is_labelled_all_the_same() -> None:
    networks = [knowing(40, 40, 0), knowing(40, 0, 0, seed=1)]
    made_of = torch.tensor([[0.0, 0.0, 1.0]]).expand(len(SAMPLES), 3)
    found = pooled(networks[0], networks).label(SAMPLES, made_of)
    assert torch.allclose(found.sum(1), torch.ones(len(SAMPLES)), atol=1e-5)


def test_sets_are_pooled_with_networks_that_came_alone() -> None:
    both, bare = hybrid(make_set(DATA, 4), known=told([9, 9, 0])), make_set(DATA, 3)
    teacher = alone(DATA.spec, seed=3, known=told([900, 900, 900]))
    sets = with_pooled_labels([both, bare, teacher])
    assert len(sets) == 2 and sets[1] is bare
    index = torch.arange(len(both))
    union = Union(DATA.spec, sets)
    before, after = both.lesson(index, 1), union.lesson(index, 1)
    assert torch.equal(before.samples, after.samples) and torch.equal(before.viewed, after.viewed)
    assert teacher.network is not None
    viewed = before.viewed
    theirs = teacher.network.probabilities(before.samples[viewed])
    assert (after.targets[viewed] - theirs).abs().max() < 0.05  # nearly all of the weight is the teacher's
    assert torch.equal(before.targets[~viewed], after.targets[~viewed])


def test_there_is_no_ensemble_without_a_network() -> None:
    assert set(ensembles([alone(DATA.spec)])) == set(RULES)
    with pytest.raises(ConfigError, match="network"):
        ensembles([make_set(DATA, 3)])


def test_a_network_says_what_it_was_made_of() -> None:
    data = make_data((4,), [40, 0, 6])
    recipe = recipes.get("network", labeller=recipes.get("network").labelling)
    made = distill(data, recipe, Budget.parse("200B"))
    assert made.network is not None and made.network.known == told([40, 0, 6])
