"""Quantisers that join a run later."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from making import make_data, tiny_recipe
from stopping import StopAt
from torch import Tensor

from fedbits import optimise
from fedbits.budget import Budget
from fedbits.container import decode, encode
from fedbits.distill import distill
from fedbits.errors import ConfigError
from fedbits.matching import Setting
from fedbits.plan import Candidates, make_plan, start
from fedbits.progress import SILENT
from fedbits.quantization import Moment, PostTrainingQuantizer, QuantizerConfig, WarmedUpQuantizer, build
from fedbits.quantization.banded import BandedQuantizer

SAMPLES = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(0))
NAMES = ("uniform", "ddq", "apot")


def warmed_up(name: str, bits: int = 2, share: float = 0.5) -> WarmedUpQuantizer:
    config = QuantizerConfig(name, warmup=share, start="least_squares")  # type: ignore[arg-type]
    quantizer = build(config, bits, SAMPLES)
    assert isinstance(quantizer, WarmedUpQuantizer)
    return quantizer.train()


def at(step: int) -> Moment:
    return Moment(step, 10, 3)


@pytest.mark.parametrize("name", NAMES)
def test_values_are_free_for_the_first_share_of_the_steps(name: str) -> None:
    quantizer = warmed_up(name)
    for step in range(5):
        quantizer.begin(at(step), SAMPLES)
        assert not quantizer.in_loop and quantizer.priced
        assert torch.equal(quantizer(SAMPLES), SAMPLES)
        assert quantizer.penalty(SAMPLES) == 0
    quantizer.begin(at(5), SAMPLES)
    assert quantizer.in_loop
    assert not torch.equal(quantizer(SAMPLES), SAMPLES)


@pytest.mark.parametrize("name", NAMES)
def test_the_grid_is_laid_over_what_has_become_of_the_values(name: str) -> None:
    quantizer, moved = warmed_up(name), 3 * SAMPLES + 1
    parameters = list(quantizer.parameters())
    quantizer.begin(at(5), moved)
    fresh = build(QuantizerConfig(name, start="least_squares"), 2, moved)  # type: ignore[arg-type]
    assert torch.equal(quantizer.eval()(moved), fresh.eval()(moved))
    assert all(one is other for one, other in zip(quantizer.parameters(), parameters, strict=True))
    grid = quantizer.grid()
    quantizer.begin(at(6), SAMPLES)  # later steps leave what is learned
    if name != "apot":  # which looks up mean and deviation before every step
        assert grid.side_information() == quantizer.grid().side_information()


def test_what_free_values_would_take_is_told_by_a_grid_that_follows_them() -> None:
    quantizer, moved = warmed_up("uniform"), (3 * SAMPLES + 1).requires_grad_()
    quantizer.begin(at(0), moved.detach())
    fresh = build(QuantizerConfig(start="least_squares"), 2, moved.detach())
    assert torch.equal(quantizer.symbols(moved), fresh.symbols(moved))
    position = quantizer.position(moved)
    position.sum().backward()
    assert moved.grad is not None and bool(moved.grad.any())
    assert all(parameter.grad is None for parameter in quantizer.parameters())  # bits alone move no level
    quantizer.begin(at(1), SAMPLES)
    assert quantizer.grid().side_information() == fresh.grid().side_information()  # a step later, as it was
    quantizer.begin(at(5), SAMPLES)
    assert all(parameter.requires_grad for parameter in quantizer.parameters())


def test_bits_weigh_from_the_first_step() -> None:
    """A set that is free to grow is kept to its budget in the warm-up, too."""
    data = make_data((1, 6, 6), [12, 0, 12])
    recipe = tiny_recipe("quadd", quantizer=QuantizerConfig(warmup=0.9), bits=2, steps=10)
    candidates = Candidates(data, data.class_indices(), 0)
    distilled = start(candidates, make_plan(candidates, recipe, 130), recipe)
    run = optimise.Optimisation(distilled, data, recipe, 130, 0, Setting(0, torch.device("cpu"), 10))
    run.prepare(SILENT)
    before = distilled.parameterization.state_dict()["stored"].clone()
    _, bits = run.advance()
    assert bits is not None and bits > 0 and run.control is not None
    assert not torch.equal(before, distilled.parameterization.state_dict()["stored"])


def test_the_schedule_begins_with_the_quantiser() -> None:
    quantizer = warmed_up("ddq")
    quantizer.begin(at(5), SAMPLES)
    first = quantizer.inner.temperature
    quantizer.begin(at(9), SAMPLES)
    assert (first, quantizer.inner.temperature) == (2.0, 12.0)


@pytest.mark.parametrize("name", ["fsq", "post"])
def test_some_have_none(name: str) -> None:
    config = QuantizerConfig(name, warmup=0.5)  # type: ignore[arg-type]
    assert not isinstance(build(config, 2, SAMPLES), WarmedUpQuantizer)


def test_a_run_that_ends_within_it_is_quantised_afterwards() -> None:
    quantizer, moved = warmed_up("uniform"), 3 * SAMPLES + 1
    quantizer.begin(at(0), SAMPLES)
    quantizer.settle(moved)
    assert quantizer.in_loop
    after = PostTrainingQuantizer(2, moved, QuantizerConfig("post", start="least_squares"))
    assert torch.allclose(quantizer(moved), after.eval()(moved), atol=1e-5)


def test_bands_are_warmed_up_too() -> None:
    config = QuantizerConfig(warmup=0.5)
    quantizer = BandedQuantizer.covering(3, SAMPLES, config, 3).train()
    seen: list[Tensor] = []
    for step in (0, 5):
        quantizer.begin(at(step), SAMPLES)
        seen.append(quantizer(SAMPLES))
    assert torch.equal(seen[0], SAMPLES)
    assert not torch.equal(seen[1], SAMPLES)
    assert quantizer.in_loop


@pytest.mark.parametrize("step", [3, 6, 7, 9])
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimise, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr("fedbits.parameterization.pixel.REFRESH", 2)
    data, budget = make_data((1, 6, 6), [12, 0, 12]), Budget(130)
    recipe = tiny_recipe("quadd", quantizer=QuantizerConfig(warmup=0.5), bits=2, steps=13)
    whole = distill(data, recipe, budget, seed=3)
    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        distill(data, recipe, budget, seed=3, checkpoint=path, progress=StopAt(step))
    resumed = distill(data, recipe, budget, seed=3, checkpoint=path, resume=True)
    assert encode(resumed) == encode(whole)
    assert len(encode(whole)) <= 130
    assert torch.equal(decode(encode(whole)).samples, whole.samples)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_that_do_not_exist(share: float) -> None:
    with pytest.raises(ConfigError, match="warmup of the quantizer is"):
        QuantizerConfig(warmup=share)
