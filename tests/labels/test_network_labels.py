"""Networks that label views: what they compute, how they land in their bytes, what a set does with them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from labelling import EVERY_VIEW, alone, hybrid, network_labels
from making import make_data, make_set, make_spec

from fedbits import container, evaluate, recipes
from fedbits.budget import Budget
from fedbits.coding.weights import encode_weights
from fedbits.cut import first
from fedbits.data import TensorData
from fedbits.data.union import Union
from fedbits.distill import distill
from fedbits.errors import BudgetError, ConfigError, DataError
from fedbits.labelling import degraded_by
from fedbits.labels.network.config import LabellerConfig
from fedbits.labels.network.form import NetworkForm, form_for, started
from fedbits.labels.network.quantised import QuantisedWeights, landed
from fedbits.labels.network.training import chosen_form, parameters, train_labeller
from fedbits.rng import torch_stream

IMAGES, FLAT = make_data((1, 14, 13), [30, 30, 20]), make_data((12,), [30, 40], dtype="float32")
SMALL = make_data((1, 5, 5), [30, 30])
QUICK = LabellerConfig(steps=30, batch=32)


@pytest.mark.parametrize("data", [IMAGES, FLAT], ids=["images", "flat"])
def test_a_label_depends_on_its_view_alone(data: TensorData) -> None:
    labels = network_labels(data.spec)
    samples = data.batch().samples
    alone, together = labels.probabilities(samples[3:4]), labels.probabilities(samples)
    assert torch.allclose(alone[0], together[3], atol=1e-6)
    assert torch.allclose(together.sum(1), torch.ones(len(samples)), atol=1e-5)


def test_kinds_follow_the_shape_of_samples() -> None:
    assert form_for(IMAGES.spec, 3).kind == "convnet"
    assert form_for(FLAT.spec, 3).kind == "mlp"
    assert form_for(make_data((1, 8, 8), [1]).spec, 3).kind == "mlp"
    with pytest.raises(ConfigError, match="flat"):
        NetworkForm("convnet", 2).check(FLAT.spec)


@pytest.mark.parametrize("form", [NetworkForm("convnet", 3), NetworkForm("mlp", 5)])
def test_forms_say_what_they_take(form: NetworkForm) -> None:
    tensors = started(form.shapes(IMAGES.spec), torch_stream(0, "test"))
    assert [tuple(tensor.shape) for tensor in tensors] == form.shapes(IMAGES.spec)
    assert form.logits(tensors, IMAGES.batch().samples).shape == (80, 3)
    weights = sum(math.prod(shape) for shape in form.shapes(IMAGES.spec))
    products = form.products(IMAGES.spec)
    assert products == weights if form.kind == "mlp" else products > weights


@pytest.mark.parametrize(("limit", "spread"), [(60, 1.0), (150, 0.01), (150, 30.0)])
def test_weights_land_in_their_bytes_and_fill_them(limit: int, spread: float) -> None:
    tensors = started(NetworkForm("mlp", 8).shapes(FLAT.spec), torch_stream(1, "test"))
    weights = QuantisedWeights([spread * tensor for tensor in tensors])
    found = landed(weights, limit)
    assert found is not None
    assert 0.9 * limit <= len(encode_weights(found)) <= limit
    for tensor, exact in zip(found, weights.tensors, strict=True):
        step = 2.0**-tensor.fraction_bits
        assert np.abs(tensor.floats() - exact.detach().numpy()).max() <= step / 2 + 1e-6


def test_what_does_not_fit_is_not_sent() -> None:
    weights = QuantisedWeights(started(NetworkForm("mlp", 8).shapes(FLAT.spec), torch_stream(1, "test")))
    assert landed(weights, 3) is None


def test_training_sees_what_travels() -> None:
    weights = QuantisedWeights(started(NetworkForm("mlp", 4).shapes(FLAT.spec), torch_stream(2, "test")))
    seen = [tensor.detach().numpy() for tensor in weights()]
    for tensor, sent in zip(seen, weights.quantised(), strict=True):
        assert np.array_equal(tensor, sent.floats().astype(np.float32))
    weights.bits().backward()
    assert weights.levels.grad is not None
    assert bool((weights.levels.grad[[0, 2, 4]] < 0).all())  # finer steps take more bits


def test_the_width_follows_the_bytes() -> None:
    narrow, wide = (chosen_form(IMAGES.spec, LabellerConfig(), limit) for limit in (300, 3000))
    wider = form_for(IMAGES.spec, wide.width + 1)
    assert narrow.width < wide.width
    assert 4 * parameters(wide, IMAGES.spec) <= 8 * 3000 < 4 * parameters(wider, IMAGES.spec)
    assert chosen_form(IMAGES.spec, LabellerConfig(width=7), 10).width == 7
    with pytest.raises(BudgetError, match="too few"):
        chosen_form(IMAGES.spec, LabellerConfig(), 10)


def test_a_network_learns_its_task_within_its_bytes_and_again_the_same() -> None:
    config = replace(QUICK, steps=40, least_area=1.0, rotation=0, flipped=False, mix="none")
    one, other = (train_labeller(IMAGES, config, 300, seed=3) for _ in range(2))
    assert len(encode_weights(one.tensors)) <= 300
    assert encode_weights(one.tensors) == encode_weights(other.tensors)
    labels = network_labels(IMAGES.spec, one.form, tensors=tuple(one.tensors))
    assert evaluate.accuracy(labels.network, IMAGES) > 0.6  # three eighths are of one class


def test_a_network_trains_on_samples_as_they_are_received() -> None:
    seen = []

    def degrade(samples: torch.Tensor) -> torch.Tensor:
        seen.append(degraded(samples))
        return seen[-1]

    stored = make_set(IMAGES, bits=1, factor=2)
    degraded = degraded_by(stored.parameterization)
    train_labeller(IMAGES, replace(QUICK, steps=2), 300, degrade=degrade)
    low, high = float(stored.samples.min()), float(stored.samples.max())  # both levels of one bit
    assert len(seen) == 4  # own samples and partners of two batches
    assert all(low <= float(one.min()) and float(one.max()) <= high for one in seen)
    assert torch.equal(degraded(stored.samples), degraded(degraded(stored.samples)))


def test_every_epoch_has_views_of_its_own_and_labels_of_them() -> None:
    made = hybrid(make_set(IMAGES, 4), replace(EVERY_VIEW, temperature=2.0))
    index = torch.tensor([5, 1, 3])
    lessons = [made.lesson(index, epoch) for epoch in (0, 2, 70_000)]
    assert made.network is not None
    for lesson in lessons:
        assert torch.allclose(lesson.targets, made.network.probabilities(lesson.samples))
        assert bool(lesson.viewed.all()) and lesson.temperature.tolist() == [2.0] * 3
    assert not torch.equal(lessons[0].samples, lessons[1].samples)
    assert not torch.equal(lessons[1].samples, lessons[2].samples)
    again = container.decode(container.encode(made)).lesson(index, 70_000)
    assert torch.equal(again.samples, lessons[2].samples) and torch.equal(again.targets, lessons[2].targets)


def test_samples_and_their_views_are_learnt_in_turn() -> None:
    made = hybrid(make_set(IMAGES, 4), replace(EVERY_VIEW, temperature=2.0))
    index = torch.tensor([4, 1, 3])
    for epoch, viewed in ((0, [False, True, True]), (1, [True, False, False])):
        lesson = made.lesson(index, epoch)
        assert lesson.viewed.tolist() == viewed
        assert lesson.temperature.tolist() == [2.0 if one else 1.0 for one in viewed]
        plain = ~lesson.viewed
        assert torch.equal(lesson.samples[plain], made.samples[index[plain]])
        assert torch.equal(lesson.targets[plain].argmax(1), made.labels[index[plain]])
        assert bool((lesson.targets[plain].amax(1) == 1).all())
        own = made.lesson(index[lesson.viewed], epoch)  # a view does not hang on what else is in the batch
        assert torch.equal(lesson.samples[lesson.viewed], own.samples)
        assert torch.allclose(lesson.targets[lesson.viewed], own.targets)


def test_sets_with_and_without_networks_teach_together() -> None:
    plain, made = make_set(IMAGES, 2), hybrid(make_set(IMAGES, 4))
    lesson = Union(IMAGES.spec, [plain, made]).lesson(torch.tensor([0, len(plain) + 1]), 2)
    assert lesson.viewed.tolist() == [False, True]
    assert torch.equal(lesson.targets[1], made.lesson(torch.tensor([1]), 2).targets[0])
    assert lesson.targets[0].tolist() == [1, 0, 0]


def test_fewer_samples_keep_the_network() -> None:
    made = first(hybrid(make_set(IMAGES, 4)), [2, 0, 1])
    assert made.network is not None and len(made) == 3
    assert container.decode(container.encode(hybrid(make_set(IMAGES, 4))), classes=[1]).network is not None


def test_a_student_learns_from_views_that_a_network_labels() -> None:
    recipe = recipes.get("random", labels="network", labeller=replace(QUICK, steps=100), bits=2, factor=1)
    made = distill(SMALL, recipe, Budget.parse("400B"), seed=1)
    blob = container.encode(made)
    assert 0.93 * 400 <= len(blob) <= 400
    facts = container.inspect(blob)
    assert facts["labels"] == "network" and sum(facts["ledger"].values()) == 8 * len(blob)
    assert facts["ledger"]["labelling network"] > 0.3 * 8 * len(blob)
    protocol = evaluate.protocol("laptop", network="mlp", width=16, steps=60)
    assert evaluate.evaluate(container.decode(blob), SMALL, protocol, repeats=1).mean > 0.7


def test_without_a_budget_the_network_takes_its_share() -> None:
    recipe = recipes.get("random", labels="network", labeller=QUICK, ipc=20, bits=3, factor=1)
    blob = container.encode(distill(SMALL, recipe, None))
    share = container.ledger(blob).components["labelling network"] / (8 * len(blob))
    assert share == pytest.approx(QUICK.share, abs=0.05)


def test_a_network_alone() -> None:
    recipe = recipes.get("network", labeller=replace(QUICK, mix="none"))
    made = distill(FLAT, recipe, Budget.parse("200B/class"))
    blob = container.encode(made)
    assert 0.93 * 400 <= len(blob) <= 400
    received = container.decode(blob)
    assert len(received) == 0 and received.samples.shape == (0, 12)
    assert received.describe()["labels"] == "network"
    assert container.encode(received) == blob
    facts = container.inspect(blob)
    assert facts["samples"] == 0 and facts["storage"] == "none" and facts["network"]["kind"] == "mlp"
    assert sum(facts["ledger"].values()) == 8 * len(blob)
    with pytest.raises(DataError, match="nothing can be trained"):
        evaluate.evaluate(received, FLAT, evaluate.protocol("laptop", steps=1))


def test_a_budget_that_is_too_small_is_named_before_the_work() -> None:
    for recipe in (recipes.get("network"), recipes.get("random", labels="network")):
        with pytest.raises(BudgetError, match=r"[0-9]+ bytes") as caught:
            distill(IMAGES, recipe, Budget.parse("30B"))
        assert "give" in str(caught.value) or "smallest" in str(caught.value)
    with pytest.raises(BudgetError, match="give a budget"):
        distill(IMAGES, recipes.get("network"), None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 1.0}, "share"),
        ({"temperature": 0.01}, "temperature"),
        ({"width": 5000}, "width"),
        ({"bits": 0.5}, "bits"),
        ({"steps": -1}, "steps"),
        ({"batch": 0}, "batch"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"least_area": 0.3}, "least_area"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LabellerConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labeller": LabellerConfig()}, "labels = 'network'"),
        ({"storage": "none"}, "all there can be"),
        ({"storage": "none", "labels": "network", "ipc": 3}, "ipc"),
        ({"storage": "none", "labels": "network", "steps": 3}, "steps"),
    ],
)
def test_recipes_that_cannot_be(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipes.get("random", **settings)


def test_a_network_of_another_task_is_refused() -> None:
    made = make_set(IMAGES, 2)
    with pytest.raises(ValueError, match="another task"):
        made.labelled(network_labels(FLAT.spec))
    with pytest.raises(ConfigError, match="neither samples nor a network"):
        empty = alone(FLAT.spec)
        empty.network = None
        container.encode(empty)


def test_the_smallest_convnet_labels_a_single_view() -> None:
    """A batch may end in one view, of which the last layers of such a network see one number."""
    spec = make_spec((1, 2, 2), 2)
    network = network_labels(spec, NetworkForm("convnet", 1))
    found = network.probabilities(torch.randn(1, 1, 2, 2))
    assert found.shape == (1, 2) and bool(found.isfinite().all())
