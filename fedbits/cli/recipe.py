"""``fedbits recipe``: the named recipes, and what each is made of."""

from __future__ import annotations

from typing import Annotated

import typer

from fedbits.cli.common import JsonOption, guard, print_json, print_table

EXAMPLES = """Examples:

  fedbits recipe

  fedbits recipe quadd > my.toml

  fedbits recipe quadd --json

What is printed is TOML that 'fedbits distill --recipe my.toml' takes; edit it as you like. A file of your own
may also begin with base = "quadd" and hold only what differs; this command then prints the whole of it."""


def register(app: typer.Typer) -> None:
    app.command("recipe", epilog=EXAMPLES)(recipe)


def recipe(
    name: Annotated[
        str | None,
        typer.Argument(help="Recipe to print, by name or as a TOML file; all are listed when left out."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the recipes, or print one with all its settings, as TOML."""
    with guard():
        from fedbits import recipe_toml, recipes

        if name is None:
            summaries = {known: recipe.summary for known, recipe in recipes.RECIPES.items()}
            print_json({"recipes": summaries}) if as_json else print_table("Recipes", summaries)
            return
        found = recipe_toml.get(name)
        if as_json:
            print_json(recipe_toml.tree(found, nulls=True))
        else:
            typer.echo(recipe_toml.dumps(found), nl=False)
