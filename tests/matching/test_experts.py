"""Expert trajectories: the same however they are trained, and trained once."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from making import make_data

from fedbits import acceleration
from fedbits.acceleration import Acceleration
from fedbits.augment import augment, draw
from fedbits.data import TensorData
from fedbits.errors import ConfigError
from fedbits.files import cache_folder
from fedbits.matching import experts as training
from fedbits.matching.experts import ExpertConfig, Experts, build_network, experts_key, train_experts
from fedbits.progress import Task
from fedbits.rng import derive_seed, torch_stream

CPU = torch.device("cpu")
DATA = make_data((1, 8, 8), [9, 0, 10])
CONFIG = ExpertConfig(experts=3, epochs=4, batch=8, learning_rate=0.05, width=4)
STEPS = 3  # of an epoch: 19 samples in batches of 8


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "_has_bfloat16", lambda device: False)


class Counting:
    """Progress that counts steps, and is interrupted after ``stop`` of them."""

    def __init__(self, stop: int = 10**9) -> None:
        self.steps, self.totals, self._stop = 0, [], stop

    def task(self, title: str, total: int, done: int = 0) -> AbstractContextManager[Task]:
        self.totals.append(total)
        return self  # type: ignore[return-value]

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.steps += 0 if note == "resumed" else steps
        if self.steps > self._stop:
            raise KeyboardInterrupt

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, *failure: object) -> None:
        pass


def trained(
    cache: Path | None = None, progress: Counting | None = None, data: TensorData = DATA, **settings: Any
) -> Experts:
    return train_experts(data, replace(CONFIG, **settings), 7, CPU, progress or Counting(), cache)


def thetas(experts: Experts) -> torch.Tensor:
    """``[experts, epochs + 1, p]``"""
    rows = [[experts.theta(i, e) for e in range(experts.epochs + 1)] for i in range(len(experts))]
    return torch.stack([torch.stack(row) for row in rows])


def files(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/*.f32"))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_an_expert_is_a_network_trained_by_sgd(momentum: float) -> None:
    experts = trained(momentum=momentum, experts=1)
    network = build_network(DATA, CONFIG, derive_seed(7, "expert", 0))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=momentum)
    for epoch in range(CONFIG.epochs):
        stream = torch_stream(7, "expert", 0, "epoch", epoch)
        for index in torch.randperm(len(DATA), generator=stream).split(CONFIG.batch):
            samples, labels = DATA.batch(index)
            loss = F.cross_entropy(network(augment(samples, draw(len(index), stream))), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        weights = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
        assert torch.allclose(experts.theta(0, epoch + 1), weights, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 8, 8), (12,)])
@pytest.mark.parametrize("together", [2, 3])
def test_together_is_as_one_by_one(shape: tuple[int, ...], together: int) -> None:
    data = make_data(shape, [9, 0, 10])
    alone = thetas(trained(data=data, momentum=0.5))
    assert torch.allclose(thetas(trained(data=data, momentum=0.5, together=together)), alone, atol=2e-4)
    assert (alone[0] - alone[1]).abs().max() > 0.1
    assert (alone[0, 0] - alone[0, -1]).abs().max() > 0.01


def test_what_is_cached_is_not_trained_again(tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    whole = thetas(trained(tmp_path, first))
    assert first.steps == first.totals[0] == 3 * CONFIG.epochs * STEPS
    again = trained(tmp_path, second, together=2)
    assert second.totals == []
    assert torch.equal(thetas(again), whole)
    assert torch.equal(thetas(trained()), whole)
    assert isinstance(again._trajectories[0].base, np.memmap)


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("stop", [2 * STEPS, 17, 30])
def test_an_interrupted_training_goes_on(
    together: int, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_KEEP_EVERY", 0.0)
    whole = thetas(trained(momentum=0.9, together=together))
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, Counting(stop), momentum=0.9, together=together)
    rest = Counting()
    resumed = trained(tmp_path, rest, momentum=0.9, together=together)
    assert torch.equal(thetas(resumed), whole)
    lost = together * STEPS  # at most the epoch that was under way
    assert rest.steps <= 3 * CONFIG.epochs * STEPS - stop + lost
    assert len(files(tmp_path)) == 3
    assert not list(tmp_path.glob("*/*.partial"))


@pytest.mark.parametrize("damage", ["short", "long", "flipped", "empty", "digest", "gone"])
def test_a_damaged_file_is_trained_anew(damage: str, tmp_path: Path) -> None:
    whole = thetas(trained(tmp_path))
    file = files(tmp_path)[1]
    stored = bytearray(file.read_bytes())
    if damage == "flipped":
        stored[1000] ^= 1
    elif damage == "digest":
        stored[0] ^= 1
    contents = {"short": stored[:-4], "long": stored + bytes(4), "empty": b""}
    file.write_bytes(contents.get(damage, stored))
    if damage == "gone":
        file.unlink()
    progress = Counting()
    assert torch.equal(thetas(trained(tmp_path, progress)), whole)
    assert progress.steps == CONFIG.epochs * STEPS
    assert torch.equal(thetas(trained(tmp_path)), whole)


@pytest.mark.parametrize("cut", [0, 1, 40, 100])
def test_a_damaged_partial_file_is_not_gone_on_from(
    cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_KEEP_EVERY", 0.0)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, Counting(8))
    (partial,) = tmp_path.glob("*/*.partial")
    partial.write_bytes(partial.read_bytes()[:cut])
    progress = Counting()
    assert torch.equal(thetas(trained(tmp_path, progress)), thetas(trained()))
    assert progress.steps == 3 * CONFIG.epochs * STEPS


def test_every_setting_but_company_changes_the_key() -> None:
    how = Acceleration(CPU)
    others = {
        "experts": 4,
        "epochs": 5,
        "batch": 9,
        "learning_rate": 0.06,
        "momentum": 0.1,
        "augmented": False,
        "network": "mlp",
        "width": 5,
    }
    assert set(others) | {"together"} == set(ExpertConfig.__dataclass_fields__)
    keys = [experts_key(DATA, replace(CONFIG, **{name: value}), 7, how) for name, value in others.items()]  # type: ignore[arg-type]
    flipped = TensorData(DATA.spec, DATA.samples.flip(0), DATA.labels.flip(0))
    keys += [
        experts_key(DATA, CONFIG, 7, how),
        experts_key(DATA, CONFIG, 8, how),
        experts_key(flipped, CONFIG, 7, how),
        experts_key(DATA, CONFIG, 7, Acceleration(CPU, bfloat16=True)),
        experts_key(DATA, CONFIG, 7, Acceleration(torch.device("cuda"))),
    ]
    assert len(set(keys)) == len(keys)
    assert experts_key(DATA, replace(CONFIG, together=2), 7, how) == experts_key(DATA, CONFIG, 7, how)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        experts = trained(tmp_path / "file")
    assert torch.equal(thetas(experts), thetas(trained()))
    assert len(caplog.records) == 1
    assert "not kept for the next run" in caplog.text


def test_where_experts_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDBITS_CACHE", str(tmp_path))
    assert cache_folder("experts") == tmp_path / "experts"
    monkeypatch.delenv("FEDBITS_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder("experts") == Path("/home/someone/.cache/fedbits/experts")


def test_an_expert_that_diverges() -> None:
    with pytest.raises(ConfigError, match="diverged in epoch 1"):
        trained(network="mlp", learning_rate=1e30)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"experts": 0}, "experts of experts is 0"),
        ({"epochs": 0}, "epochs of experts is 0"),
        ({"together": 0}, "together is 0"),
        ({"momentum": 1.0}, "momentum 1.0"),
        ({"learning_rate": 0.0}, "learning rate is 0.0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **settings)
