"""``fedbits bench``: the project's measurements, suite by suite."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fedbits.cli.common import FAILED, JsonOption, guard, print_json, print_table, say

if TYPE_CHECKING:
    from fedbits.suites import Suite

EXAMPLES = """Examples:

  fedbits bench --list

  fedbits bench rate-utility --minutes 25

  fedbits bench --figures

In a checkout. What was measured is kept in runs/ and benchmarks/results/: a run that was stopped goes on."""


def register(app: typer.Typer) -> None:
    app.command("bench", epilog=EXAMPLES)(bench)


def bench(
    suites: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SUITE]...", help="All when left out.", show_default=False),
    ] = None,
    scale: Annotated[
        Literal["laptop", "paper"],
        typer.Option(
            "--scale", help="laptop: for two cores; paper: the papers' settings, for one large GPU."
        ),
    ] = "laptop",
    figures: Annotated[bool, typer.Option("--figures", help="Only draw, from what was measured.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="Say what each suite runs; run nothing.")] = False,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0, help="No command begins after so many.", show_default=False),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Run commands again that have ended well before.")
    ] = False,
    benchmarks: Annotated[
        Path, typer.Option("--benchmarks", help="Folder of the benchmarks.", show_default=True)
    ] = Path("benchmarks"),
    folder: Annotated[
        Path, typer.Option("--folder", help="Where is noted what has ended well.", show_default=True)
    ] = Path("runs/bench"),
    as_json: JsonOption = False,
) -> None:
    """Measure: run the benchmarks of some suites, or of all, and go on where an earlier run stopped."""
    from fedbits import suites as house

    kind = house.FIGURES if figures else scale
    with guard("what has ended stays; run it again to go on"):
        wanted = house.chosen(house.read_suites(benchmarks), suites or [])
        if listed:
            _list(wanted, kind, as_json)
            return
        runs = house.Runs(benchmarks, folder)
        outcomes = []
        for outcome in runs(
            wanted, kind, again or figures, minutes, lambda command: say(f"running {command}")
        ):
            outcomes.append(outcome)
            took = f" in {outcome.seconds:.0f} s" if outcome.seconds else ""
            say(f"{outcome.suite}: {outcome.state}{took}: {outcome.command}")
        if as_json:
            print_json({"kind": kind, "commands": [asdict(outcome) for outcome in outcomes]})
        if any(outcome.state == "failed" for outcome in outcomes):
            raise typer.Exit(FAILED)


def _list(suites: list[Suite], kind: str, as_json: bool) -> None:
    """What ``suites`` would run of ``kind``."""
    if as_json:
        listed = {suite.name: {"about": suite.about, "commands": suite.commands} for suite in suites}
        print_json({"suites": listed})
        return
    for suite in suites:
        rows = {str(number): text for number, text in enumerate(suite.commands.get(kind, ()), 1)}
        print_table(f"{suite.name}: {suite.about}", rows)
