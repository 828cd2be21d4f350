"""The pool of extractors: trained once, and the same wherever it comes from."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from making import make_data
from torch import Tensor, nn

from fedbits import networks
from fedbits.acceleration import Acceleration
from fedbits.augment import augment, draw
from fedbits.data import TensorData
from fedbits.errors import ConfigError
from fedbits.matching.pool import ExtractorPool, PoolConfig, pool_key
from fedbits.networks import NETWORKS
from fedbits.progress import Task
from fedbits.rng import derive_seed, torch_stream

HOW = Acceleration(torch.device("cpu"))
DATA = make_data((1, 8, 8), [9, 0, 10])
CONFIG = PoolConfig(networks=3, stages=(0, 2, 5), batch=8)
WHOLE = 3 * 5  # steps
State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test starts with nothing."""
    monkeypatch.setenv("FEDBITS_CACHE", str(tmp_path))
    return tmp_path / "pools"


class Counting:
    """Progress that counts steps, and is interrupted after ``stop`` of them."""

    def __init__(self, stop: int = 10**9) -> None:
        self.steps, self.totals, self._stop = 0, [], stop

    def task(self, title: str, total: int, done: int = 0) -> AbstractContextManager[Task]:
        self.totals.append(total)
        return self  # type: ignore[return-value]

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.steps += steps
        if self.steps > self._stop:
            raise KeyboardInterrupt

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, *failure: object) -> None:
        pass


def extractor(width: int = 4) -> nn.Module:
    return networks.build("convnet", DATA.spec, width)


def snapshots(progress: Counting | None = None, data: TensorData = DATA) -> list[State]:
    """Every state of a prepared pool, in its order, and what the shared network was left with."""
    network = extractor()
    pool = ExtractorPool(CONFIG, network, 7)
    pool.prepare(data, HOW, progress or Counting())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    return [*pool._snapshots, {name: value.clone() for name, value in network.state_dict().items()}]


def assert_same(first: list[State], second: list[State]) -> None:
    assert len(first) == len(second) == 3 * len(CONFIG.stages) + 1
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def without_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[State]:
    """As where nothing can be written, nor read."""
    with monkeypatch.context() as patch:
        patch.setattr("fedbits.matching.pool.cache_folder", lambda kind: Path(__file__) / kind)
        return snapshots()


def files(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/*.f32"))


def test_a_snapshot_is_a_network_trained_by_sgd(cache: Path) -> None:
    found = snapshots()
    for number in range(CONFIG.networks):
        seed = derive_seed(7, number)
        network = extractor()
        networks.initialise(network, seed)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
        for step in range(6):
            if step in CONFIG.stages:
                kept = found[number * 3 + CONFIG.stages.index(step)]
                assert all(torch.equal(kept[name], value) for name, value in network.state_dict().items())
            stream = torch_stream(derive_seed(seed, step), "batch")
            index = torch.randint(len(DATA), (8,), generator=stream)
            samples, labels = DATA.batch(index)
            loss = F.cross_entropy(network(augment(samples, draw(8, stream))), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert_same([*found[:-1], found[-2]], found)  # the shared network is left at the last snapshot
    assert not torch.equal(found[0]["classifier.weight"], found[2]["classifier.weight"])


def test_what_is_cached_is_not_trained_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Counting(), Counting()
    trained = snapshots(first)
    assert first.steps == first.totals[0] == WHOLE
    assert len(files(cache)) == 3
    assert_same(snapshots(second), trained)
    assert second.totals == []
    assert_same(without_cache(cache, monkeypatch), trained)


def test_steps_load_the_same_snapshots(cache: Path) -> None:
    states = []
    for _ in range(2):
        network = extractor()
        pool = ExtractorPool(CONFIG, network, 7)
        pool.prepare(DATA, HOW, Counting())
        loaded = []
        for step in range(20):
            pool.load(step)
            loaded.append(network.state_dict()["classifier.weight"].clone())
        states.append(torch.stack(loaded))
    assert torch.equal(*states)
    assert len(states[0].unique(dim=0)) > 4


@pytest.mark.parametrize("stop", [3, 5, 12])
def test_an_interrupted_training_goes_on_after_the_last_whole_network(
    stop: int, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        snapshots(Counting(stop))
    assert len(files(cache)) == stop // 5
    rest = Counting()
    assert_same(snapshots(rest), without_cache(cache, monkeypatch))
    assert rest.steps == rest.totals[0] == WHOLE - stop // 5 * 5


@pytest.mark.parametrize("damage", ["short", "long", "flipped", "empty", "digest", "gone"])
def test_a_damaged_file_is_trained_anew(damage: str, cache: Path) -> None:
    whole = snapshots()
    file = files(cache)[1]
    stored = bytearray(file.read_bytes())
    if damage in ("flipped", "digest"):
        stored[1000 if damage == "flipped" else 0] ^= 1
    contents = {"short": stored[:-4], "long": stored + bytes(4), "empty": b""}
    file.write_bytes(contents.get(damage, stored))
    if damage == "gone":
        file.unlink()
    progress, again = Counting(), Counting()
    assert_same(snapshots(progress), whole)
    assert progress.steps == progress.totals[0] == 5
    assert_same(snapshots(again), whole)
    assert again.totals == []


def test_a_folder_that_cannot_be_written_to(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.write_text("in the way")
    with caplog.at_level(logging.WARNING):
        first = snapshots()
    assert len(caplog.records) == 1
    assert "extractors are not kept for the next run" in caplog.text
    cache.unlink()
    assert_same(snapshots(), first)


def test_all_that_shapes_a_pool_changes_its_key() -> None:
    others: dict[str, Any] = {"networks": 4, "stages": (0, 2, 6), "batch": 9, "learning_rate": 0.03}
    assert set(others) == set(PoolConfig.__dataclass_fields__)
    network = extractor()
    flipped = TensorData(DATA.spec, DATA.samples.flip(0), DATA.labels.flip(0))
    keys = [
        pool_key(DATA, replace(CONFIG, **{name: value}), network, 7, HOW) for name, value in others.items()
    ]
    keys += [
        pool_key(DATA, CONFIG, network, 7, HOW),
        pool_key(DATA, CONFIG, network, 8, HOW),
        pool_key(flipped, CONFIG, network, 7, HOW),
        pool_key(DATA, CONFIG, extractor(5), 7, HOW),
        *(pool_key(DATA, CONFIG, networks.build(name, DATA.spec, 4), 7, HOW) for name in ("mlp", "vgg11")),
        pool_key(DATA, CONFIG, network, 7, Acceleration(torch.device("cpu"), bfloat16=True)),
        pool_key(DATA, CONFIG, network, 7, Acceleration(torch.device("cpu"), compiled=True)),
        pool_key(DATA, CONFIG, network, 7, Acceleration(torch.device("cuda"))),
    ]
    assert len(set(keys)) == len(keys)
    networks.initialise(network, 3)  # what it holds before it is trained shapes nothing
    assert pool_key(DATA, CONFIG, network, 7, HOW) == keys[4]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_hold_nothing_that_float32_would_not(name: str) -> None:
    network = networks.build(name, DATA.spec, 4)
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": 0}, "has 0 networks"),
        ({"batch": 0}, "batches of 0"),
        ({"stages": ()}, r"stages of the pool are \[\]"),
        ({"stages": (3, -1)}, "expected steps of 0 or more"),
        ({"learning_rate": 0.0}, "learning_rate of the pool is 0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **settings)
