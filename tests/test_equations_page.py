"""docs/equations.md names what exists: a page of pointers is worth what its pointers are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "equations.md").read_text()
POINTERS = sorted(set(re.findall(r"`([\w/]+\.py)` `([\w.]+)`", PAGE)))


def names(body: list[ast.stmt], prefix: str = "") -> set[str]:
    """Of classes, functions and methods."""
    found = set()
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            found |= names(node.body, f"{prefix}{node.name}.")
    return found


@pytest.mark.parametrize(("path", "name"), POINTERS, ids=lambda value: value)
def test_what_the_page_names_is_there(path: str, name: str) -> None:
    assert name in names(ast.parse((ROOT / path).read_text()).body)


def test_the_page_covers_all_five_papers() -> None:
    sections = re.findall(r"^## (\w+):", PAGE, re.MULTILINE)
    assert sections == ["QuADD", "BCDC", "SPEED", "RUO", "VQAE"]
