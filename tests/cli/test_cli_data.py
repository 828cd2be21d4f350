"""``fedbits data beams``: what it prints, what it keeps, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedbits.data.beams import generate as making

pytest.importorskip("sionna.phy")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "BATCH", 32)


def test_beams_are_made_once_and_described(fedbits, tmp_path: Path) -> None:
    asked = ("data", "beams", "--sites", "canyon,plaza", "--samples", 64, "--data-root", tmp_path / "root")
    first = fedbits(*asked, "--out", "both.npz", "--json")
    assert first.code == 0, first.err
    facts = json.loads(first.out)
    assert facts["pooled"]["samples"] == 64
    assert list(facts["sites"]) == ["canyon", "plaza"]
    assert Path("both.npz").is_file()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "root" / "beams").iterdir()}
    again = fedbits(*asked)
    assert again.code == 0
    assert "canyon to" in again.out and "line of sight" in again.out
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "root" / "beams").iterdir()}


@pytest.mark.parametrize("wrong", [("--sites", "forest"), ("--samples", "12"), ("--out", "/")])
def test_wrong_input(fedbits, wrong: tuple[str, str]) -> None:
    assert fedbits("data", "beams", *wrong).is_one_sentence()
