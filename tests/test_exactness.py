"""A short form of benchmarks/exactness.py: other processes decode the samples that the encoder had."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fedbits.coding import CODERS
from fedbits.coding.grid import OWN

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from exact_blobs import forms
from exact_epitomes import epitome_forms
from exactness import EPITOMES, Environment, compare, environments, mismatches, write_blobs

FRESH = 20


def test_all_environments_decode_the_same(tmp_path: Path) -> None:
    """In a process like this one, and in one with two threads and without recent instruction sets."""
    known = {environment.name: environment for environment in environments()}
    chosen = [known["as it is"], known["all of these off, two threads"]]
    expected = write_blobs(tmp_path, FRESH, seed=0)
    result = compare(tmp_path, expected, chosen)
    assert result["broken"] == 0, [row["broken"] for row in result["by environment"].values()]
    assert result["which"] == []
    assert result["mismatches"] == 0
    assert result["blobs"] == FRESH + int(EPITOMES * FRESH) + result["golden"]
    assert result["golden"] >= 5
    assert result["digests compared"] >= 4 * 2 * result["blobs"]


def test_what_differs_is_told() -> None:
    here = Environment("here")
    report = {"digests": {"a.fbits": {"whole": "1", "one by one": "2"}}}
    assert mismatches(here, report, {"a.fbits": "1"}) == ["here: a.fbits, one by one"]
    failed = {"digests": {"a.fbits": {"failed": "ValueError: what"}}}
    assert mismatches(here, failed, {"a.fbits": "1"}) == ["here: a.fbits, ValueError: what"]
    assert mismatches(here, {}, {"a.fbits": "1"}) == ["here: a.fbits, not decoded"]


def test_forms_are_the_same_every_time_and_of_every_kind() -> None:
    chosen = list(forms(400, seed=0))
    assert chosen == list(forms(400, seed=0))
    assert {form.coder for form in chosen} == set(CODERS)
    for number in CODERS:
        mine = [form for form in chosen if form.coder == number]
        assert {form.config.bits for form in mine} == set(range(1, 9))
        assert {form.config.factor for form in mine} >= {1, 2}
        assert {form.spec.is_grid for form in mine} == {True, False}
    assert {form.config.factor for form in chosen} == {1, 2, 4, 8}
    assert {form.per_class for form in chosen} == {True, False}
    assert {form.config.transform for form in chosen} == {"none", "dct"}
    assert {form.config.quantizer.name for form in chosen if form.config.transform == "dct"} == {
        "uniform",
        "apot",
    }
    assert {form.config.quantizer.scope for form in chosen} == {"channel", "tensor"}
    assert {form.spec.dtype for form in chosen} == {"uint8", "float32"}
    assert {form.spec.shape[0] for form in chosen if form.spec.is_grid} >= {1, 3}


def test_epitomes_are_the_same_every_time_and_of_every_form() -> None:
    chosen = list(epitome_forms(200, seed=0))
    assert chosen == list(epitome_forms(200, seed=0))
    assert {form.coder for form in chosen} == set(CODERS) - {OWN}
    assert {form.config.bits for form in chosen} == set(range(2, 9))
    assert {form.config.blocks for form in chosen} == {0, 1, 2}
    assert {form.config.heads for form in chosen} == {1, 2, 3}
    assert {form.per_class for form in chosen} == {form.spec.is_grid for form in chosen} == {True, False}


@pytest.mark.parametrize("threads", [1, 2])
def test_environments_set_their_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    variables = Environment("here", threads=threads).all_variables()
    assert variables["OMP_NUM_THREADS"] == str(threads)
    assert "ATEN_CPU_CAPABILITY" not in variables
