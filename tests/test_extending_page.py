"""docs/extending.md: its examples run as they stand, and do what the page says of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from making import make_data, tiny_recipe
from worked_examples import SECTIONS, run

from fedbits import recipe_toml
from fedbits.budget import Budget
from fedbits.container import decode, encode
from fedbits.distill import distill
from fedbits.distilled_set import DistilledSet
from fedbits.labels import CODECS, CodecConfig
from fedbits.matching import OBJECTIVES
from fedbits.matching.class_means import class_means
from fedbits.parameterization import PixelParameterization
from fedbits.plan import STORAGES
from fedbits.quantization import QUANTIZERS, Moment
from fedbits.recipe import Recipe

DATA = make_data((1, 8, 8), [20, 20])


def distilled(recipe: Recipe) -> DistilledSet:
    """What a receiver decodes; from the same seed it is the same."""
    blobs = [encode(distill(DATA, recipe, Budget(300), seed=3)) for _ in range(2)]
    assert blobs[0] == blobs[1] and len(blobs[0]) <= 300
    return decode(blobs[0])


def own(text: str) -> Recipe:
    """The recipe in ``text`` at the size of a test."""
    recipe = recipe_toml.loads(f"{text}\n", "mine")
    return replace(recipe, steps=3, ipc=2)


def test_the_page_has_an_example_of_each() -> None:
    assert list(SECTIONS) == ["quantiser", "objective", "parameterisation", "codec", "role"]


def test_a_quantiser(monkeypatch: pytest.MonkeyPatch) -> None:
    example = run("quantiser", monkeypatch, QUANTIZERS, "noisy")
    recipe = replace(tiny_recipe("quadd"), quantizer=replace(tiny_recipe("quadd").quantizer, name="noisy"))
    assert len(distilled(recipe)) > 0
    quantizer = QUANTIZERS["noisy"](2, torch.linspace(0, 3, 64).view(64, 1), recipe.quantizer)
    assert isinstance(quantizer, example.NoisyQuantizer)
    values = torch.full((64, 1), 1.4)
    quantizer.begin(Moment(0, 1, 0), values)
    assert len(quantizer.train()(values).unique()) > 32 and len(quantizer.eval()(values).unique()) == 1


def test_an_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    run("objective", monkeypatch, OBJECTIVES, "moments")
    recipe = own('[objective]\nkind = "moments"\nreal_batch = 4')
    real = class_means(DATA.batch().samples.flatten(1), DATA.labels, 2)

    def apart(steps: int) -> float:
        """Means of the classes, synthetic and real."""
        made = distilled(replace(recipe, steps=steps, bits=8))
        return float((class_means(made.samples.flatten(1), made.labels, 2) - real).norm())

    assert apart(60) < 0.5 * apart(0)


def test_a_parameterisation(monkeypatch: pytest.MonkeyPatch) -> None:
    example = run("parameterisation", monkeypatch, STORAGES, "smooth")
    recipe = replace(tiny_recipe("quadd"), storage="smooth")
    assert type(distilled(recipe).parameterization) is PixelParameterization
    samples = DATA.batch().samples[:2]
    stored = example.start_smooth(samples, DATA.labels[:2], DATA.spec, example.PixelConfig(8), 0)
    stored.stored.backward(
        torch.zeros_like(stored.stored).index_put((torch.tensor(0),) * 4, torch.tensor(1.0))
    )
    assert int((stored.stored.grad != 0).sum()) == 4  # a corner, and its neighbours


def test_a_label_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    example = run("codec", monkeypatch, CODECS, "even")
    labels = torch.rand(30, 5, generator=torch.Generator().manual_seed(0)).softmax(1)
    codec = CODECS["even"].fit(CodecConfig("even", levels=256), labels, 0)
    assert isinstance(codec, example.Even)
    assert float((codec.labels(codec.symbols(labels)) - labels).abs().max()) < 1e-2
