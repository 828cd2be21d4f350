"""Beam measurements: reproducible, honest about what was not observed, and a data set like any other."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from making import make_data, make_spec
from torch import Tensor

import fedbits
from fedbits import container, data, evaluate, matching, recipes
from fedbits.augment import augment
from fedbits.data.beams import SITES, Measurements, Selection, Site, assembled, measured
from fedbits.data.beams import generate as making
from fedbits.data.beams.codebook import AZIMUTHS, BEAMS, ELEVATIONS, SIDE, codebook
from fedbits.data.beams.export import to_npz
from fedbits.data.beams.facts import describe, total_variation
from fedbits.data.beams.generate import generate
from fedbits.data.beams.measurements import FLOOR, OBSERVED, inputs, measure
from fedbits.data.beams.place import draw_places
from fedbits.data.beams.store import Request
from fedbits.data.search import ENVIRONMENT, Places
from fedbits.distill import distill
from fedbits.errors import ConfigError, DataError
from fedbits.matching.students import StudentsConfig
from fedbits.rng import torch_stream

pytest.importorskip("sionna.phy")
SMALL = 32  # terminals made at once; what holds for them holds for any number
NAME = "beams?samples=256"  # 64 of each site


@pytest.fixture(scope="module")
def small_batches() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "BATCH", SMALL)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, small_batches: None) -> Path:
    """A data folder in which the measurements of :data:`NAME` are."""
    folder = tmp_path_factory.mktemp("beams")
    measured(Selection.parse("?samples=256"), Places(folder))
    return folder


@pytest.fixture(scope="module")
def canyon(root: Path) -> Measurements:
    return measured(Selection.parse("canyon?samples=64"), Places(root))["canyon"]


def same(one: Measurements, other: Measurements) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parts(), other.parts(), strict=True))


# ---------------------------------------------------------------------------------------------- making them


def test_the_same_seed_gives_the_same_bits_and_more_samples_begin_alike(canyon: Measurements) -> None:
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    again = generate(SITES["canyon"], 40, 0)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads
    assert len(again) == 40
    assert same(again, canyon.first(40))
    assert not torch.equal(generate(SITES["canyon"], 40, 1).powers, again.powers)


def test_another_process_with_other_threads_makes_the_same_bits(canyon: Measurements) -> None:
    code = (
        "import hashlib, torch\n"
        "from fedbits.data.beams import SITES, generate\n"
        "from fedbits.data.beams import generate as making\n"
        f"making.BATCH = {SMALL}\n"
        "torch.rand(3)\n"
        "made = making.generate(SITES['canyon'], 32, 0)\n"
        "print(hashlib.sha256(b''.join(part.numpy().tobytes() for part in made.parts())).hexdigest())\n"
    )
    paths = {"PYTHONPATH": str(Path(fedbits.__file__).parents[1]), "OMP_NUM_THREADS": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **paths}, capture_output=True, text=True, check=True
    )
    ours = b"".join(part.numpy().tobytes() for part in canyon.first(32).parts())
    assert done.stdout.strip() == hashlib.sha256(ours).hexdigest()


def test_beams_look_where_they_say() -> None:
    """On a panel of half wavelengths, in any order of its elements."""
    y, z = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    positions = torch.stack([torch.zeros(BEAMS), y.flatten() / 2, z.flatten() / 2], 1)
    weights = codebook(positions)
    assert torch.allclose(weights.abs().square().sum(1), torch.ones(BEAMS))
    for row, column in ((0, 0), (3, 5), (7, 2)):
        phase = 2 * torch.pi * (positions[:, 1] * AZIMUTHS[column] + positions[:, 2] * ELEVATIONS[row])
        gains = (weights @ torch.polar(torch.ones(BEAMS), phase)).abs().square()
        assert int(gains.argmax()) == row * SIDE + column
        assert float(gains.max()) == pytest.approx(BEAMS, rel=1e-4)
    row_of_beams = weights[:SIDE]  # of one elevation: the DFT's own, orthogonal
    assert torch.allclose((row_of_beams @ row_of_beams.conj().T).abs(), torch.eye(SIDE), atol=1e-4)


def test_terminals_in_sight_are_best_served_by_a_beam_towards_them() -> None:
    """Which ties the codebook to the panel's axes, and these to the site's."""
    site = Site("clear", "UMi", 10.0, 0.0, 1.0, 20.0, 60.0, 50.0)
    made = generate(site, 64, 0)
    parts = [draw_places(site, SMALL, torch_stream(0, "beams", "clear", b, "places")) for b in (0, 1)]
    way = torch.cat([places.positions for places in parts]) - torch.tensor([0.0, 0.0, 10.0])
    way = way / way.norm(dim=1, keepdim=True)
    columns = torch.tensor(AZIMUTHS)[made.labels % SIDE]
    rows = torch.tensor(ELEVATIONS)[made.labels // SIDE]
    near = ((columns - way[:, 1]).abs() <= 0.2) & ((rows - way[:, 2]).abs() <= 0.2)
    assert float(near.float().mean()) > 0.8
    assert bool(made.line_of_sight.all())


def test_sites_differ_as_they_are_described() -> None:
    offices = draw_places(SITES["offices"], 4000, torch_stream(0, "offices"))
    plaza = draw_places(SITES["plaza"], 4000, torch_stream(0, "plaza"))
    assert not plaza.indoor.any()
    assert float(offices.indoor.float().mean()) == pytest.approx(SITES["offices"].indoor, abs=0.03)
    assert bool((offices.positions[~offices.indoor, 2] == 1.5).all())
    assert float(offices.positions[:, 2].max()) == 1.5 + 3 * (SITES["offices"].floors - 1)
    for name, places in (("offices", offices), ("plaza", plaza)):
        distance = places.positions[:, :2].norm(dim=1)
        assert float(distance.min()) >= SITES[name].nearest - 1e-3
        assert float(distance.max()) <= SITES[name].farthest + 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scenario": "RMa"}, "expected UMa or UMi"),
        ({"line_of_sight": 1.5}, "expected 0 to 1"),
        ({"nearest": 80.0}, "the second one larger"),
        ({"gathered": 0.5}, "it has none"),
    ],
)
def test_sites_that_cannot_be(change: dict[str, object], message: str) -> None:
    settings = {"height": 10.0, "tilt": 0.0, "line_of_sight": 1.0, "nearest": 20.0, "farthest": 60.0}
    with pytest.raises(ConfigError, match=message):
        Site(**{"name": "mine", "scenario": "UMi", **settings, **change})  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ what is observed


def test_half_is_observed_and_the_rest_leaves_no_trace(canyon: Measurements) -> None:
    seen = inputs(canyon)
    flat = seen.flatten(1)
    assert seen.shape == (64, 1, SIDE, SIDE)
    assert bool((canyon.observed.sum(1) == OBSERVED).all())
    assert bool((flat[~canyon.observed] == 0).all())
    assert float(flat[canyon.observed].min()) >= FLOOR
    assert bool((flat.amax(1) == 1).all())
    hidden = canyon.powers.masked_fill(~canyon.observed, 50.0)  # far above all that is observed
    assert torch.equal(inputs(Measurements(hidden, *canyon.parts()[1:])), seen)


def test_powers_have_errors_and_labels_have_none() -> None:
    powers = torch.linspace(-90, -40, BEAMS).repeat(500, 1)
    noisy, observed, labels = measure(powers, torch_stream(0, "measure"))
    assert bool((labels == BEAMS - 1).all())
    assert float((noisy - powers).std()) == pytest.approx(0.5, abs=0.02)
    assert float(observed.float().mean(0).min()) > 0.4
    assert not torch.equal(observed[0], observed[1])


def test_powers_are_in_dbm(canyon: Measurements) -> None:
    best = canyon.powers.amax(1)
    assert -130 < float(best.min()) < float(best.max()) < 0
    assert float(best.std()) > 1  # not relative to the best, which would all be 0


# --------------------------------------------------------------------------------------------- as a data set


def load(root: Path, name: str = NAME) -> data.DataSet:
    return data.load(name, root)


def test_sites_are_pooled_and_can_be_had_alone(root: Path) -> None:
    pooled, alone = load(root), load(root, "beams:canyon?samples=64")
    assert len(pooled.train) + len(pooled.test) == 256
    assert pooled.spec == alone.spec
    assert (pooled.spec.shape, pooled.spec.classes, pooled.spec.dtype) == ((1, 8, 8), 64, "float32")
    assert pooled.train.sites is not None and pooled.test.sites is not None
    assert sorted(pooled.train.sites.unique().tolist()) == [0, 1, 2, 3]
    of_canyon = list(SITES).index("canyon")
    for ours, whole in ((alone.train, pooled.train), (alone.test, pooled.test)):
        assert whole.sites is not None
        assert torch.equal(whole.samples[whole.sites == of_canyon], ours.samples)
        assert torch.equal(whole.labels[whole.sites == of_canyon], ours.labels)


def test_what_was_made_is_found_again_without_sionna(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("it was made again")

    monkeypatch.setattr(making, "generate", refuse)
    monkeypatch.setenv(ENVIRONMENT, str(root))
    assert len(data.load("beams:plaza,macro?samples=128").train) > 90


def test_without_sionna_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sionna.phy", None)
    with pytest.raises(ConfigError, match=r"pip install 'fedbits\[beams\]'"):
        data.load("beams:canyon?samples=20", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_damaged_files_are_refused(root: Path, tmp_path: Path, damage: str) -> None:
    request = Request("canyon", 64, 0)
    whole = (root / request.file()).read_bytes()
    other = (root / Request("plaza", 64, 0).file()).read_bytes()
    (tmp_path / "beams").mkdir()
    (tmp_path / request.file()).write_bytes(whole[:3000] if damage == "cut" else other)
    with pytest.raises(DataError, match="delete it, and it is made again"):
        load(tmp_path, "beams:canyon?samples=64")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("beams:", None),
        ("beams:forest", "site 'forest' is unknown: known are macro"),
        ("beams:canyon,canyon", "name each once"),
        ("beams?samples=40", "10 for each of 4 sites"),
        ("beams?sample=400", "option 'sample=400'"),
        ("beams?seed=1&seed=2", "option 'seed=2'"),
        ("beam", r"did you mean 'beams'\?"),
    ],
)
def test_names(name: str, message: str | None) -> None:
    if message is None:
        assert Selection.parse(name.removeprefix("beams:")) == Selection()
        assert 4 * Selection().each == 29_784
        return
    with pytest.raises(DataError, match=message):
        data.load(name)


def test_the_form_travels_in_a_blob_and_beams_are_never_moved(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> Tensor:
        raise AssertionError("a beam was moved")

    assert augment.__module__ == "fedbits.augment"
    for module in ("evaluate", "matching.pool", "matching.regression", "matching.students"):
        monkeypatch.setattr(f"fedbits.{module}.augment", refuse)
    beams = load(root)
    students = StudentsConfig(networks=1, steps=1, lifetime=2, batch=8)
    objective = matching.RegressionConfig(width=4, real_batch=1, students=students)
    recipe = recipes.get("quadd", steps=2, objective=objective, ipc=1, bits=2)
    small = distill(beams.train, recipe, None)  # a budget would take several encodings more
    received = container.decode(container.encode(small))
    assert received.spec == beams.spec
    assert not received.spec.pictures
    how = evaluate.protocol("laptop", steps=2, width=4, batch=16)
    assert 0 <= evaluate.evaluate(received, beams.test, how, repeats=1).mean <= 1


@pytest.mark.parametrize("name", ["regression", "trajectory", "gradient", "distribution"])
def test_no_part_of_an_objective_augments_what_is_no_picture(root: Path, name: str) -> None:
    config = matching.OBJECTIVES[name][0]()
    spec = load(root).spec
    assert "augmented=True" in repr(config)
    assert "augmented=True" not in repr(matching.suited(config, spec))
    assert matching.suited(config, make_spec((1, 8, 8))) == config


# ------------------------------------------------------------------------------------------- who has what


def test_each_node_has_a_site(root: Path) -> None:
    train = load(root).train
    assert train.sites is not None
    parts = data.partition(train, "site", 4, seed=0)
    assert [set(train.sites[part].tolist()) for part in parts] == [{0}, {1}, {2}, {3}]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(train)))


@pytest.mark.parametrize("nodes", [1, 3, 6, 9])
def test_more_nodes_share_sites_and_fewer_have_several(root: Path, nodes: int) -> None:
    train = load(root).train
    assert train.sites is not None
    parts = data.partition(train, "site", nodes, seed=1)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(train)))
    held = [len(train.sites[part].unique()) for part in parts]
    assert sum(held) == max(nodes, 4)
    if nodes > 4:
        assert max(held) == 1
        sizes = [len(part) for node, part in enumerate(parts) if node % 4 == 0]
        assert max(sizes) - min(sizes) <= 1
        other = data.partition(train, "site", nodes, seed=2)
        assert not all(torch.equal(a, b) for a, b in zip(parts, other, strict=True))


def test_only_data_with_sites_is_spread_by_them(root: Path) -> None:
    with pytest.raises(ConfigError, match="partition 'site' is for beams"):
        data.partition(make_data((1, 8, 8), [9, 9]), "site", 4, seed=0)
    train = load(root).train
    assert train.sites is not None
    two, six = ((train.sites == site).nonzero().flatten()[:count] for site, count in ((0, 2), (1, 6)))
    with pytest.raises(ConfigError, match="site 0 has 2 samples for 4 nodes: use fewer nodes"):
        data.partition(train.subset(torch.cat([two, six])), "site", 8, seed=0)


# ---------------------------------------------------------------------------------------- facts, other files


def test_facts(root: Path) -> None:
    made = measured(Selection.parse("canyon,plaza?samples=128"), Places(root))
    facts = describe(made)
    assert sum(facts["pooled"]["class_counts"]) == facts["pooled"]["samples"] == 128
    assert facts["total_variation"]["canyon"]["canyon"] == 0
    assert 0 < facts["total_variation"]["canyon"]["plaza"] == facts["total_variation"]["plaza"]["canyon"] <= 1
    powers, labels = made["canyon"].powers, made["canyon"].labels
    best, second = powers.sort(1, descending=True).values[:, :2].T
    site = facts["sites"]["canyon"]
    assert site["full_sweep_right"] == pytest.approx(
        float((powers.argmax(1) == labels).float().mean()), abs=1e-4
    )
    assert site["close_second"] == pytest.approx(float((best - second < 1).float().mean()), abs=1e-4)
    assert 0.5 < site["close_above"] <= 1  # elevations are half as far apart as azimuths
    ones = torch.tensor([0.5, 0.5, 0, 0]), torch.tensor([0, 0.5, 0.5, 0])
    assert total_variation(*ones) == pytest.approx(0.5)


def test_an_exported_file_can_be_loaded(root: Path, tmp_path: Path) -> None:
    selection = Selection.parse("canyon,plaza?samples=128")
    made = measured(selection, Places(root))
    path = tmp_path / "out.npz"
    path.write_bytes(to_npz(selection, made))
    loaded, ours = data.load(f"npz:{path}"), assembled(selection, made)
    assert torch.equal(loaded.train.samples, ours.train.samples.flatten(1))
    assert torch.equal(loaded.test.labels, ours.test.labels)
    with np.load(path) as archive:
        assert archive["powers_dbm"].shape == (128, 64)
        assert [archive["sites"][s] for s in np.unique(archive["site"])] == ["canyon", "plaza"]
