"""Recipes as TOML: printed, edited by a person, and read back.

Nothing here knows a recipe's fields: tables, keys and types follow from the dataclasses. A field that is None
is left out, or written as ``"none"`` where leaving it out would mean something else. A table of objective
settings has a key ``kind``, the objective's name in :data:`fedbits.matching.OBJECTIVES`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import tomli_w

from fedbits import recipes
from fedbits.errors import ConfigError, unknown
from fedbits.matching import OBJECTIVES
from fedbits.parameterization import EpitomeConfig
from fedbits.plan import STORAGES
from fedbits.recipe import Recipe

NONE = "none"
KIND, BASE = "kind", "base"
_LARGEST_FILE = 1 << 20  # bytes
_LONGEST_NAME = 64  # characters: it travels in every blob
_ABOUT = """\
A fedbits recipe: everything that shapes a distilled set. Save it as a file, change what you like, and run
fedbits distill --data DATA --budget 1KiB/class --recipe FILE.toml
What is left out keeps its default; ipc, bits and factor are then chosen for the budget. A file may also
begin with base = "quadd", or another recipe's name, and hold only what differs; "none" takes a value away."""
_ABOUT_STORAGE = {
    "epitome": """\
Samples are sparse codes over tokens that all share; bits, factor, transform and [quantizer] shape pixels, and
have no say here.""",
    "latent": """\
Samples are latents, of which a small network makes them; bits, factor, transform and [quantizer] shape
pixels, and have no say here.""",
}
_ABOUT_PLANNED = {
    "epitome": """\
There is no table [epitome]: its settings are chosen for the budget, and 'fedbits inspect' shows those of a
set. To choose them yourself, give at least these four (patch is a side, or numbers of a flat sample):
[epitome]
tokens = 32
width = 16
nonzeros = 6
patch = 28""",
    "latent": """\
There is no table [latent]: its settings are chosen for the budget, and 'fedbits inspect' shows those of a
set. To choose them yourself (scales are times that grids are smaller than samples; beta is the squared error
that a bit is worth), give any of these:
[latent]
numbers = 32
scales = [4, 2]
hidden = 8
beta = 1.0""",
}
# Settings that hang on the data and the budget: no default of theirs would do.
_NEEDED: dict[type, tuple[str, ...]] = {EpitomeConfig: ("tokens", "width", "nonzeros", "patch")}


# ---------------------------------------------------------------------------------------------- by reference


def is_path(reference: str) -> bool:
    """Whether ``reference`` names a recipe file (``*.toml``, or anything with a separator), not a recipe."""
    return reference.endswith(".toml") or "/" in reference or "\\" in reference


def get(reference: str, **overrides: object) -> Recipe:
    """The recipe of that name or in that file, the given fields replaced (those that are None stay).

    Raises:
        ConfigError: there is none, the file is wrong, or a value is out of range.
    """
    if not is_path(reference):
        return recipes.get(reference, **overrides)
    given = {name: value for name, value in overrides.items() if value is not None}
    return replace(load(Path(reference)), **given)  # type: ignore[arg-type]


def load(path: Path) -> Recipe:
    """The recipe in the file ``path``; its name is what the file says, or the file's own.

    Raises:
        ConfigError: the file is not there or cannot be read, or what :func:`loads` says, with the path.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read the recipe {path}: {error.strerror}; 'fedbits recipe NAME' prints one to start from"
        ) from error
    if len(raw) > _LARGEST_FILE:
        raise ConfigError(f"{path} has more than {_LARGEST_FILE:,} bytes: it is no recipe")
    try:
        return loads(raw.decode(), path.stem)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not TOML: it is not UTF-8 text (byte {error.start:,})") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


# ------------------------------------------------------------------------------------------------- writing


def dumps(recipe: Recipe, about: str = _ABOUT) -> str:
    """``recipe`` as TOML under the comment ``about``; :func:`loads` gives an equal one."""
    if recipe.storage in _ABOUT_STORAGE:
        planned = [_ABOUT_PLANNED[recipe.storage]] if getattr(recipe, recipe.storage) is None else []
        about = "\n".join([about, _ABOUT_STORAGE[recipe.storage], *planned])
    text = tomli_w.dumps(tree(recipe))
    # tomli-w puts each item on its own line; a newline inside a string is escaped, so this is an array
    short = re.sub(
        r"^(\w+ = )\[\n((?:    .*,\n)*)\]$",
        lambda found: f"{found[1]}[{', '.join(line.strip(' ,') for line in found[2].splitlines())}]",
        text,
        flags=re.MULTILINE,
    )
    return "".join(f"# {line}\n" for line in about.splitlines()) + "\n" + short


def tree(recipe: Recipe, nulls: bool = False) -> dict[str, Any]:
    """``recipe`` as nested dictionaries of what TOML knows; with ``nulls`` None stays None, as for JSON."""
    return _tree(recipe, None, nulls)


def _tree(value: Any, usual: Any, nulls: bool) -> dict[str, Any]:
    table: dict[str, Any] = {KIND: _kinds()[type(value)]} if type(value) in _kinds() else {}
    before = _values(type(value), usual)
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if dataclasses.is_dataclass(item):
            table[field.name] = _tree(item, before.get(field.name), nulls)
        elif item is not None:
            table[field.name] = list(item) if isinstance(item, tuple) else item
        elif nulls:
            table[field.name] = None
        elif before.get(field.name) is not None:
            table[field.name] = NONE
    return table


# ------------------------------------------------------------------------------------------------- reading


def loads(text: str, name: str = "recipe") -> Recipe:
    """The recipe in ``text``; ``name`` is its name where the text gives none.

    Raises:
        ConfigError: not TOML (with the line), an unknown key or name, a value of the wrong type or range.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError("not a recipe: its values are nested too deeply") from error
    start: Recipe | None = None
    if BASE in table:
        base = table.pop(BASE)
        if not isinstance(base, str):
            raise _wrong(BASE, base, f"one of {_quoted(recipes.RECIPES)}")
        start = recipes.get(base)
    table = {"name": name, **table}
    recipe = _read_table(Recipe, table, "", start)
    if recipe.storage not in (storages := [*STORAGES, "none"]):
        raise ConfigError(unknown("storage", recipe.storage, storages))
    if not 0 < len(recipe.name) <= _LONGEST_NAME or not recipe.name.isprintable():
        raise _wrong("name", recipe.name, f"1 to {_LONGEST_NAME} printable characters")
    return recipe


def _read_table(kind: type, table: Mapping[str, Any], where: str, start: Any) -> Any:
    """A dataclass ``kind`` with what ``table`` gives, and the rest from ``start`` or from its defaults."""
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind) if field.init]
    before, given = _values(kind, start), {}
    for key, value in table.items():
        place = f"{where}.{key}" if where else key
        if key not in names:
            extra = (BASE,) if kind is Recipe else (KIND,) if kind in _kinds() else ()
            raise ConfigError(unknown("key", key, [*names, *extra], place))
        given[key] = _read(hints[key], value, place, before.get(key))
    for name in _NEEDED.get(kind, ()) if start is None else ():
        if name not in given:
            needed = ", ".join(_NEEDED[kind])
            raise ConfigError(f"{where} lacks the key {name!r}: it needs {needed}, or leave out the table")
    for name in names:
        if name not in given and name not in before:
            raise ConfigError(f"{where or 'the recipe'} lacks the key {name!r}")
    try:
        return kind(**{**before, **given})
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where or 'the recipe'} cannot work: {error}") from error


def _read(hint: Any, value: Any, where: str, start: Any) -> Any:
    """``value`` as ``hint`` wants it; a table is laid over ``start``."""
    types = _Types.of(hint)
    if value == NONE and types.optional:
        return None
    if isinstance(value, dict) and types.tables:
        return _read_kind(types.tables, value, where, start)
    for plain in types.plain:
        read = _read_plain(plain, value, where)
        if read is not None:
            return read
    raise _wrong(where, value, types.expected())


def _read_kind(tables: tuple[type, ...], table: dict[str, Any], where: str, start: Any) -> Any:
    named = {kind: one for one, kind in _kinds().items() if one in tables}
    chosen = type(start) if start is not None else tables[0]
    if named and KIND in table:
        table = dict(table)
        wanted = table.pop(KIND)
        if not isinstance(wanted, str):
            raise _wrong(f"{where}.{KIND}", wanted, f"one of {_quoted(named)}")
        if wanted not in named:
            raise ConfigError(unknown(f"{where}.{KIND}", wanted, named))
        chosen = named[wanted]
    return _read_table(chosen, table, where, start if type(start) is chosen else None)


def _read_plain(hint: Any, value: Any, where: str) -> Any:
    """``value`` where it is of the plain type ``hint``, or None."""
    if get_origin(hint) is Literal:
        return value if any(value == one and type(value) is type(one) for one in get_args(hint)) else None
    if get_origin(hint) is tuple:
        return _read_tuple(get_args(hint), value, where)
    if isinstance(value, bool) or hint is bool:
        return value if isinstance(value, bool) and hint is bool else None
    if hint is float and isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return value if hint in (int, str) and isinstance(value, hint) else None


def _read_tuple(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...] | None:
    if not isinstance(value, list):
        return None
    if inner[-1] is Ellipsis:
        inner = (inner[0],) * len(value)
    if len(inner) != len(value):
        return None
    pairs = enumerate(zip(inner, value, strict=True), 1)
    return tuple(_read(hint, item, f"item {number} of {where}", None) for number, (hint, item) in pairs)


# --------------------------------------------------------------------------------------- types and sentences


def _kinds() -> dict[type, str]:
    """The name of each objective, by its settings."""
    return {settings: kind for kind, (settings, _) in OBJECTIVES.items()}


_NAMES: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "values true or false"),
    int: ("an integer", "integers"),
    float: ("a finite number", "finite numbers"),
    str: ("a string", "strings"),
}


@dataclass(frozen=True)
class _Types:
    """What an annotation allows: tables of dataclasses, plain types, and None."""

    tables: tuple[type, ...]
    plain: tuple[Any, ...]
    optional: bool

    @classmethod
    def of(cls, hint: Any) -> _Types:
        members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        classes = tuple(one for one in members if isinstance(one, type) and get_origin(one) is None)
        tables: list[type] = [one for one in classes if dataclasses.is_dataclass(one)]
        if classes:
            tables += [one for one in _kinds() if one not in tables and issubclass(one, classes)]
        plain = tuple(one for one in members if one not in tables and one is not NoneType)
        return cls(tuple(tables), plain, NoneType in members)

    def expected(self) -> str:
        words = [_expected(one) for one in self.plain]
        words += ["a table of settings"] if self.tables else []
        words += [f'"{NONE}"'] if self.optional else []
        return ", or ".join(words)


def _expected(hint: Any, many: bool = False) -> str:
    if get_origin(hint) is Literal:
        return f"{'values of' if many else 'one of'} {_quoted(get_args(hint))}"
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        count = "" if inner[-1] is Ellipsis else f"{len(inner)} "
        return f"a list of {count}{_expected(inner[0], many=True)}"
    return _NAMES[hint][many] if hint in _NAMES else str(hint)


def _values(kind: type, start: Any) -> dict[str, Any]:
    """By field, what holds where nothing is given: the values of ``start``, or the defaults of ``kind``."""
    values = {}
    for field in dataclasses.fields(kind):
        if type(start) is kind:
            values[field.name] = getattr(start, field.name)
        elif field.default is not dataclasses.MISSING:
            values[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            values[field.name] = field.default_factory()
    return {field.name: values[field.name] for field in dataclasses.fields(kind) if field.name in values}


def _wrong(where: str, value: Any, expected: str) -> ConfigError:
    shown = json.dumps(value, default=str, ensure_ascii=False)
    return ConfigError(f"{where} is {shown if len(shown) <= 60 else shown[:57] + '...'}: expected {expected}")


def _quoted(values: Iterable[Any]) -> str:
    return ", ".join(json.dumps(value) for value in values)
