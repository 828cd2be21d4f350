"""Every quantiser in a whole run: within the budget, decoded exactly, and as its penalty has it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from making import make_data, tiny_recipe

from fedbits.budget import Budget
from fedbits.container import decode, encode
from fedbits.distill import distill
from fedbits.distilled_set import DistilledSet
from fedbits.parameterization import PixelConfig, PixelParameterization
from fedbits.quantization import QUANTIZERS, QuantizerConfig
from fedbits.recipe import OptimizerConfig

IMAGES = make_data((1, 6, 6), [12, 0, 12])
COLOURS = make_data((2, 6, 6), [3, 3, 2])
FLAT = make_data((12,), [20, 20, 15], dtype="float32")
LIMIT = 130  # bytes


def config(name: str, **settings: object) -> QuantizerConfig:
    return QuantizerConfig(name, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_budget_holds_and_samples_arrive_exactly(name: str) -> None:
    recipe = tiny_recipe("quadd", quantizer=config(name), bits=2, factor=1)
    distilled = distill(IMAGES, recipe, Budget(LIMIT))
    blob = encode(distilled)
    received = decode(blob)
    assert 0.95 * LIMIT <= len(blob) <= LIMIT
    assert torch.equal(received.samples, distilled.samples)
    assert torch.equal(received.labels, distilled.labels)


@pytest.mark.parametrize("scope", ["channel", "tensor"])
@pytest.mark.parametrize("name", QUANTIZERS)
def test_widths_arrive_exactly(name: str, scope: str) -> None:
    samples = COLOURS.batch(torch.argsort(COLOURS.labels, stable=True)).samples
    for bits in (1, 2, 5, 8):  # the others differ in their levels only, which the quantiser's own tests read
        form = PixelConfig(bits, 1, config(name, scope=scope))
        stored = PixelParameterization.from_samples(samples, COLOURS.spec, form)
        made = DistilledSet(COLOURS.spec, stored, [3, 3, 2], "quadd")
        received = decode(encode(made, quick=True))
        assert received.parameterization.describe()["bits"] == bits
        assert torch.equal(received.samples, made.samples)
        assert len(received.samples.unique()) > 1


@pytest.mark.parametrize("name", ["fsq", "apot"])
def test_flat_samples(name: str) -> None:
    recipe = tiny_recipe("quadd", quantizer=config(name, standardised=False), bits=4, ipc=2)
    distilled = distill(FLAT, recipe, None)
    assert torch.equal(decode(encode(distilled, quick=True)).samples, distilled.samples)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_the_seed_decides_the_samples(name: str) -> None:
    recipe = tiny_recipe("quadd", quantizer=config(name), bits=3, ipc=2, steps=6)
    first, again, other = (distill(COLOURS, recipe, None, seed=seed).samples for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", [name for name in QUANTIZERS if name != "post"])
def test_a_penalty_brings_what_is_trained_to_what_is_sent(name: str) -> None:
    """BCDC's λ; samples move by SGD, whose steps follow the size of gradients."""
    recipe = tiny_recipe(
        "quadd",
        quantizer=config(name, temperature=(2.0, 4.0)),
        optimizer=OptimizerConfig("sgd", 0.1),
        bits=2,
        ipc=2,
        steps=30,
    )
    free, bound = (
        distill(COLOURS, replace(recipe, penalty=weight), None).parameterization for weight in (0.0, 2.0)
    )
    with torch.no_grad():
        assert bound.eval().penalty().item() < 0.5 * free.eval().penalty().item()
