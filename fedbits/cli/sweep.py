"""``fedbits sweep``: which bits, sizes, quantisers and recipes are worth their bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from fedbits.cli.common import (
    DataOption,
    DataRootOption,
    DeviceOption,
    DownloadOption,
    JsonOption,
    SeedOption,
    guard,
    print_json,
    say,
    terminal_progress,
)
from fedbits.errors import ConfigError

if TYPE_CHECKING:
    from fedbits.sweep import Sweep

EXAMPLES = """Examples:

  fedbits sweep --data fashion_mnist --budget 1KiB/class --bits 1,2,3,4 --factors 1,2 --recipes quadd,random

  fedbits sweep --data digits --budgets 512B,1KiB,4KiB --bits 2,3 --quantizers uniform,apot --steps 100

  fedbits sweep --data digits --ipc 10,20,50 --bits 1,2,4,8,32    (the same images, whatever bytes they take)

  fedbits sweep --data digits --budget 1KiB --recipes quadd,my.toml --protocol dsa --repeats 3 --json

  fedbits sweep --data fashion_mnist --budget 1KiB/class --recipes quadd,random --bits auto --factors auto
  --shares 0,0.25,0.5,0.75,1    (samples or a network that labels them? split.png shows it)

Points are judged on a part of the training data that is not distilled; the test data is never looked at.
An interrupted sweep goes on with the same command; a larger grid with the same --out adds to it."""

PLANNED = "auto"
T = TypeVar("T")


def register(app: typer.Typer) -> None:
    app.command("sweep", epilog=EXAMPLES)(sweep)


BudgetsOption = Annotated[
    str | None,
    typer.Option(
        "--budgets", "--budget", help="Limits of a blob, by commas: 1KiB/class,4KiB.", show_default=False
    ),
]
RecipesOption = Annotated[str, typer.Option(help="Recipes by name or as TOML files, by commas.")]
QuantizersOption = Annotated[
    str | None,
    typer.Option(
        help="uniform, fsq, ddq, apot, post, by commas; each recipe's own when left out.",
        show_default=False,
    ),
]
BitsOption = Annotated[
    str,
    typer.Option(help="Bits a value, by commas: 1 to 8, or 32 for floats; only of pixels. Or auto: planned."),
]
FactorsOption = Annotated[
    str, typer.Option(help="Times smaller a side is stored, by commas: 1,2,4,8. Or auto: planned.")
]
SharesOption = Annotated[
    str | None,
    typer.Option(
        help="Shares of the bytes for a network that labels, by commas: 0 (samples alone) to 1 (it alone); "
        "as the recipes have it when left out.",
        show_default=False,
    ),
]
IpcOption = Annotated[
    str | None,
    typer.Option(
        help="Samples of each class, by commas; as many as the budget allows when left out.",
        show_default=False,
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(help="Optimisation steps; the recipes' own when left out.", show_default=False),
]
ValidationOption = Annotated[float, typer.Option(help="Share of the training data held out to judge by.")]
ProtocolOption = Annotated[str, typer.Option(help="How networks that judge are trained; see evaluate.")]
EvaluationStepsOption = Annotated[
    int | None, typer.Option(min=1, help="Batches instead of the protocol's.", show_default=False)
]
RepeatsOption = Annotated[int, typer.Option(min=1, help="Networks that judge each point.")]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder of results; runs/sweep-DATA when left out.", show_default=False),
]
JobsOption = Annotated[int, typer.Option(min=1, help="Points measured at the same time.")]
PlotsOption = Annotated[bool, typer.Option("--plots/--no-plots", help="Draw the plots at the end.")]


def sweep(
    data: DataOption,
    budgets: BudgetsOption = None,
    recipes: RecipesOption = "quadd",
    quantizers: QuantizersOption = None,
    bits: BitsOption = "1,2,3,4",
    factors: FactorsOption = "1",
    shares: SharesOption = None,
    ipc: IpcOption = None,
    steps: StepsOption = None,
    validation: ValidationOption = 0.1,
    protocol: ProtocolOption = "laptop",
    evaluation_steps: EvaluationStepsOption = None,
    repeats: RepeatsOption = 1,
    out: OutOption = None,
    jobs: JobsOption = 1,
    plots: PlotsOption = True,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    data_root: DataRootOption = None,
    download: DownloadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Distil at every point of a grid, judge each on held-out training data, and name the best."""
    folder = out or Path("runs") / f"sweep-{re.sub('[^A-Za-z0-9.]+', '_', data)}"
    with guard(lambda: f"what is done is kept in {folder}; the same command goes on from it"):
        from fedbits import data as data_sets
        from fedbits import evaluate, recipe_toml
        from fedbits.budget import Budget
        from fedbits.device import pick
        from fedbits.sweep import SweepConfig, run
        from fedbits.sweep import plots as drawing

        if plots:
            drawing.check_available()
        config = SweepConfig(
            recipes=_list("--recipes", recipes, recipe_toml.get),
            quantizers=_list("--quantizers", quantizers, str),
            bits=_list("--bits", None if bits == PLANNED else bits, int),
            factors=_list("--factors", None if factors == PLANNED else factors, int),
            shares=_list("--shares", shares, float),
            ipcs=_list("--ipc", ipc, int),
            budgets=_list("--budgets", budgets, Budget.parse),
            steps=steps,
            validation=validation,
            repeats=repeats,
            protocol=evaluate.protocol(protocol, steps=evaluation_steps),
            seed=seed,
            device=str(pick(device)),
        )
        train = data_sets.load(data, data_root, download).train
        with terminal_progress() as progress:
            result = run(train, config, folder, jobs=jobs, progress=progress)
        _report(result, folder, data, plots, as_json)


def _list(option: str, text: str | None, read: Callable[[str], T]) -> tuple[T, ...]:
    """The items between commas, each once."""
    if text is None:
        return ()
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise ConfigError(f"{option} {text!r} lacks an item: write it like 'one,two'")
    try:
        return tuple(dict.fromkeys(read(item) for item in items))
    except ValueError as error:
        wanted = "numbers: write it like 0,0.5,1" if read is float else "whole numbers: write it like 1,2,4"
        raise ConfigError(f"{option} {text!r} is not a list of {wanted}") from error


def _report(result: Sweep, folder: Path, data: str, plots: bool, as_json: bool) -> None:
    from fedbits.sweep import plots as drawing
    from fedbits.sweep import report

    paths = report.write(result, folder, data)
    if plots:
        paths += drawing.write(result.results, folder, data)
    if as_json:
        print_json({"out": folder, **report.document(result, data), "files": [str(path) for path in paths]})
        return
    _print_table(report.table(result.results, result.best), result)
    if result.winner is None:
        typer.echo("no point of the grid can work; the table says why")
        return
    for group, best in result.best.items():
        accuracy = f"{100 * best.accuracy:.2f} %"
        typer.echo(f"sweet spot at {group}: {best.spot} ({best.point.series}), {accuracy} held-out accuracy")
    typer.echo(f"to distil by the best: {report.command(result.winner, data, folder / 'best.toml')}")
    say(f"written: {', '.join(str(path) for path in paths)}")


def _print_table(rows: list[list[str]], result: Sweep) -> None:
    import sys

    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"Held-out accuracy: {result.held_out:,} of the training samples judge, * is the best",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    numbers = ("network", "bits", "size", "samples", "bytes")
    for name in ("budget", "recipe", "quantiser", *numbers, "accuracy"):
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(file=sys.stdout).print(table)
