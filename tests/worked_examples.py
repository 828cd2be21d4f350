"""The worked examples of docs/extending.md, and how tests run them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
SECTIONS = dict(re.findall(r"^## An? (?:node |label )?(\w+)\n.*?```python\n(.*?)```", PAGE, re.M | re.S))


def run(section: str, monkeypatch: pytest.MonkeyPatch, table: dict[str, Any], name: str) -> ModuleType:
    """The example of ``section``, as the module ``example_SECTION``; ``table`` forgets ``name`` then."""
    module = ModuleType(f"example_{section}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(table, name, module.__name__)
    exec(compile(SECTIONS[section], f"docs/extending.md, {section}", "exec"), module.__dict__)
    return module
