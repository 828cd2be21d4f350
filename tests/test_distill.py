"""Distilling: one seed, one blob, however often it is interrupted."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from making import TINY_LATENT, TINY_TEACHING, make_data, tiny_recipe
from stopping import StopAt

from fedbits import networks
from fedbits import optimise as optimising
from fedbits.budget import Budget
from fedbits.container import decode, encode, ledger
from fedbits.data import TensorData
from fedbits.distill import distill
from fedbits.errors import ConfigError, DataError
from fedbits.evaluate import evaluate, protocol
from fedbits.parameterization import EpitomeConfig, LatentConfig
from fedbits.parameterization.epitome import stored
from fedbits.parameterization.latent import stored as latents
from fedbits.progress import SILENT
from fedbits.quantization import QUANTIZERS, QuantizerConfig
from fedbits.recipe import FLOAT_BITS, OptimizerConfig
from fedbits.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("quick_latents")
DATA = make_data((1, 8, 8), [30, 0, 30])
BUDGET = Budget(250)
FLOATS = Budget(1300)  # for recipes that store float32 samples: 256 bytes each
QUADD = tiny_recipe("quadd", steps=12)
OF_SAMPLES = [name for name, recipe in RECIPES.items() if recipe.storage != "none"]


def budget(name: str) -> Budget:
    """What the recipe ``name`` needs for a few samples."""
    return FLOATS if RECIPES[name].bits == FLOAT_BITS else BUDGET


@pytest.mark.parametrize("name", RECIPES)
def test_the_seed_decides_the_blob(name: str) -> None:
    recipe = tiny_recipe(name)
    blobs = [encode(distill(DATA, recipe, budget(name), seed=seed)) for seed in (1, 1, 2)]
    assert blobs[0] == blobs[1] != blobs[2]


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_a_class_without_samples_has_none_in_the_set(name: str) -> None:
    distilled = decode(encode(distill(DATA, tiny_recipe(name), budget(name))))
    counts = distilled.class_counts()
    assert counts[1] == 0 < min(counts[0], counts[2])
    assert distilled.recipe == name


def test_optimisation_moves_samples_and_selection_alone_does_not() -> None:
    recipe = tiny_recipe("quadd", ipc=2, bits=8, steps=5)
    moved = distill(DATA, recipe, None).samples
    kept = distill(DATA, replace(recipe, steps=0), None).samples
    assert 0.01 < (moved - kept).abs().mean().item() < 1
    real = DATA.batch().samples.flatten(1)
    assert torch.cdist(kept.flatten(1), real).min(1).values.max().item() < 0.2


@pytest.mark.parametrize("name", ["quadd", "quadd-cf", "dc"])
def test_the_teacher_of_labels_is_not_what_is_matched(name: str) -> None:
    recipe = tiny_recipe(name, ipc=2)
    taught = distill(DATA, replace(recipe, labels="views", teaching=TINY_TEACHING), None)
    assert taught.view_labels is not None
    assert torch.equal(taught.samples, distill(DATA, recipe, None).samples)


def test_the_loss_falls() -> None:
    recipe = tiny_recipe("quadd-cf", steps=60, ipc=2, bits=8)
    objective = replace(recipe.objective, width=16, real_batch=16, frequencies=128)
    listening = StopAt()
    distill(DATA, replace(recipe, objective=objective), None, progress=listening)
    assert len(listening.losses) == 60
    assert sum(listening.losses[-20:]) < sum(listening.losses[:20])


def test_herding_takes_what_is_nearest_to_the_mean_first() -> None:
    recipe = tiny_recipe("herding", ipc=1, bits=8)
    first = distill(DATA, recipe, None, seed=0)
    spread = distill(DATA, tiny_recipe("random", ipc=30, bits=8), None)
    network = networks.build("convnet", DATA.spec, 32, 9)

    def features(samples: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.nn.functional.normalize(network.features(samples), dim=1)  # type: ignore[operator]

    for label in (0, 2):
        everything = features(spread.samples[spread.labels == label])
        distances = (everything - everything.mean(0)).norm(dim=1)
        chosen = (features(first.samples[first.labels == label]) - everything.mean(0)).norm()
        assert chosen.item() < distances.median().item()


@pytest.mark.parametrize("budget", [BUDGET, None])
@pytest.mark.parametrize("name", ["quadd", "ptq"])
def test_resumed_is_as_never_interrupted(
    name: str, budget: Budget | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimising, "REFRESH", 2)
    monkeypatch.setattr("fedbits.parameterization.pixel.REFRESH", 2)
    monkeypatch.setattr("fedbits.parameterization.pixel.EXACT_EVERY", 2)
    monkeypatch.setattr(optimising, "CHECKPOINT_EVERY", 4)
    path = tmp_path / "checkpoint"
    recipe = tiny_recipe(name, steps=13)
    whole = encode(distill(DATA, recipe, budget, seed=3))
    with pytest.raises(KeyboardInterrupt):
        distill(DATA, recipe, budget, seed=3, checkpoint=path, progress=StopAt(6))
    assert path.is_file()
    with pytest.raises(KeyboardInterrupt):
        distill(DATA, recipe, budget, seed=3, checkpoint=path, resume=True, progress=StopAt(9))
    resumed = distill(DATA, recipe, budget, seed=3, checkpoint=path, resume=True)
    assert encode(resumed) == whole
    again = distill(DATA, recipe, budget, seed=3, checkpoint=path, resume=True)
    assert encode(again) == whole


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimising, "CHECKPOINT_EVERY", 4)
    path = tmp_path / "checkpoint"
    distill(DATA, QUADD, BUDGET, checkpoint=path)
    others = TensorData(DATA.spec, DATA.samples.flip(0), DATA.labels.flip(0))
    for data, recipe, limit, seed in (
        (others, QUADD, BUDGET, 0),
        (DATA, replace(QUADD, optimizer=OptimizerConfig(learning_rate=0.5)), BUDGET, 0),
        (DATA, QUADD, Budget(251), 0),
        (DATA, QUADD, BUDGET, 1),
    ):
        with pytest.raises(ConfigError, match="belongs to"):
            distill(data, recipe, limit, seed=seed, checkpoint=path, resume=True)


def test_checkpoints_that_are_missing_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    with pytest.raises(ConfigError, match="no checkpoint at"):
        distill(DATA, QUADD, BUDGET, checkpoint=path, resume=True)
    for content in (b"", b"something else", b"PK\3\4 not really"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="is damaged"):
            distill(DATA, QUADD, BUDGET, checkpoint=path, resume=True)
    torch.save([1, 2], path)
    with pytest.raises(ConfigError):
        distill(DATA, QUADD, BUDGET, checkpoint=path, resume=True)


def test_no_data() -> None:
    with pytest.raises(DataError, match="no samples of made to distil"):
        distill(DATA.subset(torch.arange(0)), QUADD, BUDGET)


def test_a_given_extractor_shapes_the_set_and_stays_as_it_was() -> None:
    extractor = networks.build("convnet", DATA.spec, 4, 7)
    before = [parameter.clone() for parameter in extractor.parameters()]
    given = encode(distill(DATA, QUADD, BUDGET, extractor=extractor))
    assert given != encode(distill(DATA, QUADD, BUDGET))
    assert all(torch.equal(a, b) for a, b in zip(before, extractor.parameters(), strict=True))


@pytest.mark.parametrize("name", ["quadd", "herding"])
def test_global_random_states_are_left_alone(name: str) -> None:
    def states() -> str:
        legacy = np.random.get_state()  # noqa: NPY002 - the state that must not move
        return hashlib.sha256(
            repr((torch.get_rng_state().tolist(), legacy[1].tolist(), legacy[2], random.getstate())).encode()  # type: ignore[index,union-attr]
        ).hexdigest()

    before = states()
    distilled = distill(DATA, tiny_recipe(name), BUDGET)
    evaluate(distilled, DATA, protocol("laptop", width=4, steps=3), repeats=1, progress=SILENT)
    assert states() == before
    torch.manual_seed(99)
    assert encode(distill(DATA, tiny_recipe(name), BUDGET)) == encode(distilled)


@pytest.mark.parametrize(
    ("name", "shape"), [*((name, (12,)) for name in OF_SAMPLES), ("quadd", (1, 1, 9)), ("quadd", (2, 4, 4))]
)
def test_tabular_and_small_grids_of_imbalanced_classes(name: str, shape: tuple[int, ...]) -> None:
    data = make_data(shape, [25, 2, 9], dtype="float32")
    limit = Budget(2500 if RECIPES[name].bits == FLOAT_BITS else 700)
    distilled = decode(encode(distill(data, tiny_recipe(name), limit)))
    counts = distilled.class_counts()
    assert 1 <= counts[1] <= 2
    assert max(counts) <= 25
    assert distilled.samples.shape[1:] == shape


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_every_quantizer_takes_flat_samples(quantizer: str) -> None:
    config = QuantizerConfig(quantizer, standardised=False)
    data = make_data((12,), [25, 2, 9], dtype="float32")
    blob = encode(distill(data, tiny_recipe("quadd", quantizer=config, bits=3), Budget(200)))
    assert 0.95 * 200 <= len(blob) <= 200


EPITOME = EpitomeConfig(tokens=4, width=4, heads=2, nonzeros=3, patch=4, fit_steps=10)


@pytest.mark.parametrize("shape", [(1, 8, 8), (12,)])
@pytest.mark.parametrize("name", ["dc", "dsa", "dm", "mtt", "datm", "bcdc-bilevel"])
def test_epitomes_under_every_objective(name: str, shape: tuple[int, ...]) -> None:
    data = make_data(shape, [20, 0, 20], dtype="uint8" if len(shape) > 1 else "float32")
    recipe = replace(tiny_recipe(name), storage="epitome", bits=None, epitome=EPITOME, penalty=1e-4)
    distilled = distill(data, recipe, Budget(500))
    blob = encode(distilled)
    received = decode(blob)
    assert len(blob) <= 500 and ledger(blob).total_bits == 8 * len(blob)
    assert torch.equal(received.raw(), distilled.raw())
    assert (received.soft_labels is not None) == (name == "datm")
    assert (received.learning_rate is not None) == (name in ("mtt", "datm"))


def test_a_resumed_epitome_is_as_never_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (optimising, stored):
        monkeypatch.setattr(module, "REFRESH", 2)
    monkeypatch.setattr(stored, "EXACT_EVERY", 2)
    monkeypatch.setattr(optimising, "CHECKPOINT_EVERY", 4)
    path = tmp_path / "checkpoint"
    recipe = tiny_recipe("speed", steps=11, epitome=EPITOME)
    whole = encode(distill(DATA, recipe, Budget(350), seed=3))
    for stop, resume in ((6, False), (9, True)):
        with pytest.raises(KeyboardInterrupt):
            distill(DATA, recipe, Budget(350), seed=3, checkpoint=path, resume=resume, progress=StopAt(stop))
    resumed = distill(DATA, recipe, Budget(350), seed=3, checkpoint=path, resume=True)
    assert encode(resumed) == whole


LATENT = LatentConfig(**{**TINY_LATENT, "scales": (2,)})


@pytest.mark.parametrize("shape", [(1, 8, 8), (12,)])
@pytest.mark.parametrize("name", ["dc", "dm", "mtt", "datm", "bcdc-bilevel"])
def test_latents_under_every_objective(name: str, shape: tuple[int, ...]) -> None:
    data = make_data(shape, [20, 0, 20], dtype="uint8" if len(shape) > 1 else "float32")
    recipe = replace(tiny_recipe(name), storage="latent", bits=None, latent=LATENT, penalty=1e-4)
    distilled = distill(data, recipe, Budget(500))
    blob = encode(distilled)
    received = decode(blob)
    assert len(blob) <= 500 and ledger(blob).total_bits == 8 * len(blob)
    assert torch.equal(received.raw(), distilled.raw())
    assert (received.soft_labels is not None) == (name == "datm")
    assert (received.learning_rate is not None) == (name in ("mtt", "datm"))


def test_resumed_latents_are_as_never_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (optimising, latents):
        monkeypatch.setattr(module, "REFRESH", 2)
    monkeypatch.setattr(latents, "EXACT_EVERY", 2)
    monkeypatch.setattr(latents.fitting, "_LATENT_STEPS", 10)
    monkeypatch.setattr(optimising, "CHECKPOINT_EVERY", 4)
    path = tmp_path / "checkpoint"
    recipe = tiny_recipe("ruo", steps=11, latent=LATENT)
    whole = encode(distill(DATA, recipe, Budget(250), seed=3))
    for stop, resume in ((6, False), (9, True)):
        with pytest.raises(KeyboardInterrupt):
            distill(DATA, recipe, Budget(250), seed=3, checkpoint=path, resume=resume, progress=StopAt(stop))
    resumed = distill(DATA, recipe, Budget(250), seed=3, checkpoint=path, resume=True)
    assert encode(resumed) == whole
