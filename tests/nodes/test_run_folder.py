from __future__ import annotations

from pathlib import Path

import pytest

from fedbits.errors import ConfigError
from nodes.run_folder import RunFolder


def test_a_default_name_counts_up(tmp_path: Path) -> None:
    names = [RunFolder.create(tmp_path / "runs", "", "digits-0").path.name for _ in range(3)]
    assert names == ["digits-0", "digits-0-2", "digits-0-3"]


def test_a_given_name_is_never_overwritten(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, "mine", "")
    with pytest.raises(ConfigError, match="mine is there already"):
        RunFolder.create(tmp_path, "mine", "")


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        RunFolder.create(tmp_path / "file", "run", "")
