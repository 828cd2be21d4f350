"""``fedbits data``: data sets that are made, not found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedbits.cli.common import (
    DataRootOption,
    JsonOption,
    SeedOption,
    check_output,
    guard,
    print_json,
    print_table,
    terminal_progress,
)

if TYPE_CHECKING:
    from fedbits.data.beams import Measurements, Selection

_BEAMS = """Examples:

  fedbits data beams --sites macro,canyon,plaza,offices

  fedbits data beams --sites canyon --samples 2000 --seed 3 --out canyon.npz --json

What is made is kept, and found again by --data beams, --data beams:canyon or, as in the last example, --data
'beams:canyon?samples=2000&seed=3'. The file of --out has measured powers in dBm; --data npz:canyon.npz reads
what networks see of them as samples of 64 numbers."""


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Make data sets: beams.")
    group.callback()(_group)
    group.command("beams", epilog=_BEAMS)(beams)
    app.add_typer(group, name="data")


def _group() -> None:
    """Keep ``beams`` a subcommand as long as it is the only one."""


@dataclass(frozen=True)
class _Making:
    """What is asked of ``fedbits data beams``."""

    sites: str
    samples: int | None
    seed: int
    out: Path | None
    data_root: Path | None


def beams(
    sites: Annotated[
        str, typer.Option(metavar="NAME[,NAME...]", help="Sites: macro, canyon, plaza, offices.")
    ] = "macro,canyon,plaza,offices",
    samples: Annotated[
        int | None,
        typer.Option(
            min=1, help="In all, shared evenly among sites [default: 7,446 of each].", show_default=False
        ),
    ] = None,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write all to this .npz file.", show_default=False)
    ] = None,
    data_root: DataRootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure beams at sites, in simulated 3GPP TR 38.901 channels, and print what came out."""
    with guard("sites that were finished are kept"):
        facts = _make(_Making(sites, samples, seed, out, data_root))
        if as_json:
            print_json(facts)
        else:
            print_table("Beams", _rows(facts))


def _make(making: _Making) -> dict[str, Any]:
    from fedbits.data.beams import Selection, measured
    from fedbits.data.beams.facts import describe
    from fedbits.data.search import Places

    names = tuple(name.strip() for name in making.sites.split(","))
    selection = Selection.of(names, making.samples, making.seed)
    if making.out is not None:
        check_output(making.out)
    with terminal_progress() as progress:
        made = measured(selection, Places(making.data_root), progress)
    if making.out is not None:
        _write(making.out, selection, made)
    return {"seed": making.seed, "out": making.out, **describe(made)}


def _write(path: Path, selection: Selection, made: dict[str, Measurements]) -> None:
    from fedbits.data.beams.export import to_npz
    from fedbits.files import write_atomic

    write_atomic(path, to_npz(selection, made))


def _rows(facts: dict[str, Any]) -> dict[str, str]:
    rows = {}
    for name, site in [*facts["sites"].items(), ("all", facts["pooled"])]:
        rows[name] = (
            f"{site['samples']:,} samples, {site['classes_present']} of {len(site['class_counts'])} classes, "
            f"{site['smallest_class']:,} to {site['largest_class']:,} each; "
            f"{site['line_of_sight']:.0%} line of sight, {site['indoor']:.0%} indoors, "
            f"{site['median_best_power_dbm']:.0f} dBm"
        )
    names = list(facts["sites"])
    for number, name in enumerate(names[:-1]):
        rows[f"{name} to"] = ", ".join(
            f"{other} {facts['total_variation'][name][other]:.2f}" for other in names[number + 1 :]
        )
    if len(names) > 1:
        rows[""] = "(total variation of the sites' histograms of classes)"
    if facts["out"] is not None:
        rows["file"] = str(facts["out"])
    return rows
