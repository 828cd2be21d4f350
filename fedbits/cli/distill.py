"""``fedbits distill``: a data set's training data into one blob within a budget."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedbits.cli.blobs import fact_rows, print_ledger, sha256
from fedbits.cli.common import (
    DataOption,
    DataRootOption,
    DeviceOption,
    DownloadOption,
    JsonOption,
    SeedOption,
    check_output,
    guard,
    print_json,
    print_table,
    say,
    size_text,
    terminal_progress,
)
from fedbits.errors import ConfigError

if TYPE_CHECKING:
    from fedbits.budget import Budget
    from fedbits.data import TensorData
    from fedbits.recipe import Recipe

AUTO = "auto"  # as a recipe: what does best in a trial
EXAMPLES = """Examples:

  fedbits distill --data fashion_mnist --budget 1KiB/class

  fedbits distill --data digits --budget 2KiB --recipe random --out random.fbits

  fedbits distill --data cifar10 --budget 64KiB --bits 3 --steps 500 --seed 1 --json

  fedbits distill --data digits --ipc 10 --bits 2 --quantizer apot    (as many bytes as it takes)

  fedbits distill --data digits --budget 2KiB --recipe random --labels network    (labels every view of them)

  fedbits distill --data digits --budget 1KiB --recipe my.toml    (begin with: fedbits recipe quadd > my.toml)

  fedbits distill --data fashion_mnist --budget 4KiB/class --recipe auto    (tries recipes, takes the best)

An interrupted run goes on where its last checkpoint is: the same command again, with --resume."""


@dataclasses.dataclass(frozen=True)
class _Output:
    """Where the blob goes, and beside it the checkpoint while it is being made."""

    path: Path
    resume: bool

    @property
    def checkpoint(self) -> Path:
        return self.path.with_name(f"{self.path.name}.checkpoint")

    def stamp(self) -> int | None:
        """When the checkpoint was last written, or None where there is none."""
        try:
            return self.checkpoint.stat().st_mtime_ns
        except OSError:
            return None

    def announce(self) -> None:
        """Say what happens to a checkpoint that is there and not asked for."""
        if not self.resume and self.stamp() is not None:
            say(f"note: starting over; {self.checkpoint} of an earlier run (--resume continues it) goes")

    def kept(self, before: int | None) -> str:
        """What an interruption leaves, given the checkpoint's stamp at the start."""
        now = self.stamp()
        if now is None or (now == before and not self.resume):
            return f"no checkpoint was reached yet, and {self.path} was not touched"
        return f"{self.checkpoint} is kept; the same command with --resume continues from it"


def register(app: typer.Typer) -> None:
    app.command("distill", epilog=EXAMPLES)(distill)


BudgetOption = Annotated[
    str | None,
    typer.Option(help="Limit of the blob: 1KiB/class, 10KiB, 4096bits/class, 0.5bpp.", show_default=False),
]
RecipeOption = Annotated[
    str,
    typer.Option(
        help="How to distil: a name that 'fedbits recipe' lists, a TOML file, or auto: what does best on "
        "held-out training data."
    ),
]
IpcOption = Annotated[
    int | None,
    typer.Option(help="Samples of each class; chosen for the budget when left out.", show_default=False),
]
BitsOption = Annotated[
    int | None,
    typer.Option(
        help="Bits a value, 1 to 8, or 32 for float32 numbers; chosen when left out.", show_default=False
    ),
]
QuantizerOption = Annotated[
    str | None,
    typer.Option(help="uniform, fsq, ddq, apot or post; the recipe's own when left out.", show_default=False),
]
FactorOption = Annotated[
    int | None,
    typer.Option(help="Store 1, 2, 4 or 8 times smaller a side; chosen when left out.", show_default=False),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        help="hard, soft, views or network: what is learnt of samples; the recipe's own when left out.",
        show_default=False,
    ),
]
ShareOption = Annotated[
    float | None,
    typer.Option(
        help="Of the bytes, for a network that labels: 0 (samples alone) to 1 (it alone); the recipe's own "
        "when left out.",
        show_default=False,
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(help="Optimisation steps; the recipe's own when left out.", show_default=False),
]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="File to write the blob to.")]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue from the checkpoint beside the output.")
]


def distill(
    data: DataOption,
    budget: BudgetOption = None,
    recipe: RecipeOption = "quadd",
    ipc: IpcOption = None,
    bits: BitsOption = None,
    quantizer: QuantizerOption = None,
    factor: FactorOption = None,
    labels: LabelsOption = None,
    share: ShareOption = None,
    steps: StepsOption = None,
    out: OutOption = Path("set.fbits"),
    resume: ResumeOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    data_root: DataRootOption = None,
    download: DownloadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Distil the training data into a synthetic set, and write it as one blob within the budget."""
    output = _Output(out, resume)
    before = output.stamp()
    with guard(lambda: output.kept(before)):
        from fedbits import data as data_sets
        from fedbits import recipe_toml, recipe_variants
        from fedbits.budget import Budget
        from fedbits.device import pick

        limit = Budget.parse(budget) if budget is not None else None
        given = {"ipc": ipc, "bits": bits, "factor": factor, "steps": steps, "labels": labels}
        if recipe == AUTO:
            _check_choice({**given, "quantizer": quantizer, "share": share}, limit)
        else:
            plan = recipe_variants.requantized(recipe_toml.get(recipe, **given), quantizer)
            plan = recipe_variants.shared(plan, share)
            if limit is None and plan.ipc is None:
                raise ConfigError("give a --budget such as 1KiB/class, or --ipc, the samples of each class")
        where = str(pick(device))
        check_output(out)
        train = data_sets.load(data, data_root, download).train
        output.announce()
        choice: dict[str, Any] = {}
        if limit is not None and recipe == AUTO:
            plan, choice = _chosen(train, limit, seed, where)
        facts = _distill(train, plan, limit, output, seed, where)
        facts = {"out": out, "data": data, "seed": seed, "device": where, **choice, **facts}
        print_json(facts) if as_json else _print(facts)


def _check_choice(given: dict[str, Any], limit: Budget | None) -> None:
    """Raise :class:`ConfigError` where something is given that a choice by trial makes by itself."""
    if limit is None:
        raise ConfigError("recipe 'auto' chooses for a budget: give one, such as --budget 1KiB/class")
    if limit.unit == "bpp":
        raise ConfigError("bpp hangs on the number of samples, which recipe 'auto' chooses: give bytes")
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"{name} is {value}, but recipe 'auto' chooses it: leave --{name} out")


def _chosen(train: TensorData, limit: Budget, seed: int, device: str) -> tuple[Recipe, dict[str, Any]]:
    """The recipe by trial, and what the trial found."""
    from fedbits.choice import choose

    with terminal_progress() as progress:
        choice = choose(train, limit, seed=seed, device=device, progress=progress)
    say(f"auto: {choice.reason}")
    return choice.recipe, {"choice": choice.document()}


def _distill(
    train: TensorData, recipe: Recipe, budget: Budget | None, output: _Output, seed: int, device: str
) -> dict[str, Any]:
    from fedbits import container
    from fedbits.distill import distill
    from fedbits.files import write_atomic

    started = time.monotonic()
    with terminal_progress() as progress:
        distilled = distill(
            train,
            recipe,
            budget,
            seed=seed,
            device=device,
            progress=progress,
            checkpoint=output.checkpoint,
            resume=output.resume,
        )
    blob = container.encode(distilled)
    write_atomic(output.path, blob)
    output.checkpoint.unlink(missing_ok=True)
    present = sum(count > 0 for count in train.class_counts())
    limit = budget.bytes(train.spec, present, len(distilled)) if budget else None
    return {
        **container.inspect(blob),
        "budget_bytes": limit,
        "fill": len(blob) / limit if limit else None,
        "sha256": sha256(blob),
        "seconds": round(time.monotonic() - started, 3),
    }


def _print(facts: dict[str, Any]) -> None:
    budget = "none was given"
    if facts["budget_bytes"]:
        budget = f"{size_text(facts['budget_bytes'])}, {100 * facts['fill']:.1f} % filled"
    print_table(
        str(facts["out"]),
        {
            **fact_rows(facts),
            "budget": budget,
            "SHA-256": facts["sha256"],
            "time": f"{facts['seconds']:.1f} s",
        },
    )
    print_ledger(facts["ledger"])
