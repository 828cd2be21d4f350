from __future__ import annotations

from typing import Any

import pytest

from fedbits.data import DataSpec
from fedbits.errors import BudgetError, ConfigError, FedbitsError
from nodes.config import RunConfig


def test_survives_flowers_flat_run_config() -> None:
    config = RunConfig(
        nodes=4,
        budget="1KiB/class,2=5KiB",
        overrides={"steps": 10, "bits": 3},
        protocol_overrides={"width": 8, "augmented": False},
        timeout=12.5,
        yardstick="fedavg",
    )
    flat = config.to_flat()
    assert all(isinstance(value, bool | int | float | str) for value in flat.values())
    assert flat["recipe.steps"] == 10 and flat["yardstick-rounds"] == 50
    assert RunConfig.from_flat(flat) == config
    assert RunConfig.from_flat({"timeout": 60}).timeout == 60.0


@pytest.mark.parametrize(
    ("flat", "words"),
    [
        ({"nodez": 3}, "nodez"),
        ({"nodes": "three"}, "not of type int"),
        ({"download": 1}, "not of type bool"),
        ({"nodes": True}, "not of type int"),
    ],
)
def test_flat_settings_must_exist_and_fit(flat: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RunConfig.from_flat(flat)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"nodes": 0}, ConfigError, "nodes 0"),
        ({"rounds": 0}, ConfigError, "rounds 0"),
        ({"repeats": 0}, ConfigError, "repeats 0"),
        ({"seed": -1}, ConfigError, "seed -1"),
        ({"timeout": 0.0}, ConfigError, "timeout"),
        ({"timeout": float("nan")}, ConfigError, "timeout"),
        ({"yardstick": "sgd"}, ConfigError, "'sgd'"),
        ({"name": "../elsewhere"}, ConfigError, "plain folder name"),
        ({"budget": "ten"}, BudgetError, "'ten'"),
        ({"budget": "1KiB,2KiB"}, ConfigError, "3=2KiB"),
        ({"budget": "1KiB,7=2KiB"}, ConfigError, "beyond 0 .. 4"),
        ({"budget": "1KiB,0=lots"}, BudgetError, "'lots'"),
    ],
)
def test_wrong_values_are_named(changes: dict[str, Any], kind: type[FedbitsError], words: str) -> None:
    with pytest.raises(kind, match=words):
        RunConfig(**changes)


def test_budgets_by_node() -> None:
    config = RunConfig(nodes=3, budget="4KiB, 1=100 B, 2=1KiB/class")
    spec = DataSpec("x", (1, 2, 2), 10, (0.5,), (0.5,))
    assert [config.node_budget(n).bytes(spec, 10) for n in range(3)] == [4096, 100, 10240]
