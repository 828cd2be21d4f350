"""``fedbits recipe``: the named recipes, and what each is made of."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from fedbits.cli.common import JsonOption, guard, print_json, print_table

EXAMPLES = """Examples:

  fedbits recipe

  fedbits recipe quadd --json"""


def register(app: typer.Typer) -> None:
    app.command("recipe", epilog=EXAMPLES)(recipe)


def recipe(
    name: Annotated[str | None, typer.Argument(help="Recipe to print; all are listed when left out.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the recipes, or print one with all its settings."""
    with guard():
        from fedbits import recipes

        if name is None:
            summaries = {known: recipe.summary for known, recipe in recipes.RECIPES.items()}
            print_json({"recipes": summaries}) if as_json else print_table("Recipes", summaries)
            return
        settings = dataclasses.asdict(recipes.get(name))
        print_json(settings) if as_json else print_table(name, _flat(settings))


def _flat(settings: dict[str, object], prefix: str = "") -> dict[str, str]:
    rows: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            rows |= _flat(value, f"{prefix}{name}.")
        else:
            rows[f"{prefix}{name}"] = "chosen for the budget" if value is None else str(value)
    return rows
