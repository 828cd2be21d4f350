"""The command run in this process, its two streams apart, and a blob to run it on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fedbits import container, data, recipes
from fedbits.budget import Budget
from fedbits.cli import app
from fedbits.distill import distill
from fedbits.matching.students import StudentsConfig


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    def is_one_sentence(self) -> bool:
        """Whether a wrong input was answered as it should be."""
        lines = self.err.splitlines()
        return self.code == 2 and not self.out and len(lines) == 1 and lines[0].startswith("error: ")


Fedbits = Callable[..., Outcome]


@pytest.fixture
def fedbits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fedbits:
    """``fedbits(*arguments)``, run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("FEDBITS_DATA", raising=False)

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            app([str(argument) for argument in arguments], prog_name="fedbits")
        captured = capsys.readouterr()
        return Outcome(int(end.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def digits_blob() -> bytes:
    """A blob of random real digits within 1 KiB."""
    digits = data.load("digits")
    return container.encode(distill(digits.train, recipes.get("random"), Budget.parse("1KiB")))


@pytest.fixture
def blob(digits_blob: bytes, tmp_path: Path) -> Path:
    """That blob as the file ``set.fbits`` in the folder in which ``fedbits`` runs."""
    path = tmp_path / "set.fbits"
    path.write_bytes(digits_blob)
    return path


@pytest.fixture
def small_quadd(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe ``quadd`` with networks so small that a step takes milliseconds."""
    quadd = recipes.RECIPES["quadd"]
    students = StudentsConfig(networks=2, lifetime=4, steps=1, batch=16)
    objective = replace(quadd.objective, width=8, real_batch=8, students=students)
    monkeypatch.setitem(recipes.RECIPES, "quadd", replace(quadd, objective=objective))
