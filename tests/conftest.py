"""What holds for every test: one thread, and property tests that try the same examples every time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import settings

from fedbits.parameterization.latent import fitting as latent_fitting
from fedbits.plan import epitome as epitome_planner
from fedbits.plan import latent as latent_planner

for helper in ("documented", "hostile"):
    pytest.register_assert_rewrite(helper)
settings.register_profile("fedbits", derandomize=True, deadline=None, database=None)
settings.load_profile("fedbits")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Experts and pools are not kept among those of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDBITS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def quick_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latents are fitted to samples in no time, in the settings that the planner chooses."""
    monkeypatch.setattr(latent_planner, "_FIT_STEPS", 10)
    monkeypatch.setattr(latent_planner, "_PROBE_STEPS", 10)
    monkeypatch.setattr(latent_fitting, "_LATENT_STEPS", 20)


@pytest.fixture
def quick_epitomes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epitomes are fitted to samples in no time, in the settings that the planner chooses."""
    hurried = tuple(replace(one, fit_steps=15) for one in epitome_planner._SETTINGS)
    monkeypatch.setattr(epitome_planner, "_SETTINGS", hurried)
