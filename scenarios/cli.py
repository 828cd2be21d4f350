"""``fedbits continual``: learn classes one experience after the other, with a memory counted in bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedbits.cli import common

EPILOG = """Examples:

  fedbits continual --scenario split_fashion_mnist --strategy gdumb --recipe quadd --memory 10KiB

  fedbits continual --scenario split_cifar100 --experiences 5 --recipe herding --memory 600B/class

  fedbits continual --scenario split_digits --strategy er --policy progressive --memory 2KiB --epochs 5

  fedbits continual --scenario split_digits --strategy stock-der --memory 2KiB --epochs 5 --json

An interrupted run goes on after its last finished experience: the same command again, with --resume. The
folder keeps report.html, report.json, the memory's blobs, and logs for TensorBoard and as CSV where a
strategy of Avalanche (any but gdumb) runs."""


def register(app: typer.Typer) -> None:
    """Add ``continual`` to the ``fedbits`` command."""
    app.command("continual", epilog=EPILOG)(continual)


ScenarioOption = Annotated[
    str,
    typer.Option(
        help="split_DATA: split_digits, split_fashion_mnist, split_cifar10, split_cifar100, split_npz:PATH.",
        show_default=False,
    ),
]
StrategyOption = Annotated[
    str,
    typer.Option(
        help="gdumb (DM's protocol), er, der or avalanche-gdumb with compressed memory; with raw samples "
        "at equal bytes stock-gdumb, stock-replay, stock-reservoir, stock-der, stock-icarl, stock-er-ace."
    ),
]
MemoryOption = Annotated[str, typer.Option(help="Capacity of the replay memory: 10KiB, 600B/class.")]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        help="How the memory is filled: a name that 'fedbits recipe' lists, or a TOML file; raw for "
        "samples as they are  [default: quadd]",
        show_default=False,
    ),
]
PolicyOption = Annotated[
    str | None,
    typer.Option(
        help="How its bytes are shared: fixed (a quota for each class), progressive (older sets are "
        "cut), redistil (all again, from the decoded memory) or online (real samples, taken in a "
        "single pass)  [default: fixed]",
        show_default=False,
    ),
]
ExperiencesOption = Annotated[
    int | None,
    typer.Option(help="Parts that the classes arrive in; 5, of CIFAR-100 10.", show_default=False),
]
StepsOption = Annotated[
    int | None,
    typer.Option(min=0, help="Distillation steps; the recipe's own when left out.", show_default=False),
]
IpcOption = Annotated[
    int | None,
    typer.Option(min=1, help="Samples of each class; from the bytes when left out.", show_default=False),
]
BitsOption = Annotated[
    int | None, typer.Option(help="Bits a value; from the bytes when left out.", show_default=False)
]
FactorOption = Annotated[
    int | None,
    typer.Option(help="Times smaller a side is stored; from the bytes.", show_default=False),
]
ProtocolOption = Annotated[
    str | None,
    typer.Option(
        help="How gdumb's networks train: laptop, dsa or mtt  [default: laptop]", show_default=False
    ),
]
TrainingStepsOption = Annotated[
    int | None, typer.Option(help="Batches instead of the protocol's.", show_default=False)
]
WidthOption = Annotated[
    int | None, typer.Option(help="Of the networks, instead of the protocol's.", show_default=False)
]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        help="Of Avalanche's strategies, passes over an experience  [default: 1]", show_default=False
    ),
]
BatchOption = Annotated[
    int | None, typer.Option(help="Of these, the batch size  [default: 32]", show_default=False)
]
LearningRateOption = Annotated[
    float | None,
    typer.Option(help="Of these, of plain SGD  [default: 0.03]", show_default=False),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder of the run; runs/NAME when left out.", show_default=False),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on after the last finished experience in the folder.")
]


def continual(
    scenario: ScenarioOption,
    strategy: StrategyOption = "gdumb",
    memory: MemoryOption = "10KiB",
    recipe: RecipeOption = None,
    policy: PolicyOption = None,
    experiences: ExperiencesOption = None,
    steps: StepsOption = None,
    ipc: IpcOption = None,
    bits: BitsOption = None,
    factor: FactorOption = None,
    protocol: ProtocolOption = None,
    training_steps: TrainingStepsOption = None,
    width: WidthOption = None,
    epochs: EpochsOption = None,
    batch: BatchOption = None,
    learning_rate: LearningRateOption = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    seed: common.SeedOption = 0,
    device: common.DeviceOption = "auto",
    data_root: common.DataRootOption = None,
    download: common.DownloadOption = False,
    as_json: common.JsonOption = False,
) -> None:
    """Learn a data set's classes one experience after the other; what is remembered is counted in bytes."""
    with common.guard("finished experiences are kept; the same command with --resume goes on after them"):
        from fedbits.device import pick
        from scenarios.config import RunConfig

        given = {"steps": steps, "ipc": ipc, "bits": bits, "factor": factor}
        config = RunConfig(
            scenario=scenario,
            strategy=strategy,
            memory=memory,
            experiences=experiences,
            recipe=recipe,
            overrides={name: value for name, value in given.items() if value is not None},
            policy=policy,
            protocol=protocol,
            training_steps=training_steps,
            width=width,
            epochs=epochs,
            batch=batch,
            learning_rate=learning_rate,
            seed=seed,
            device=str(pick(device)),
        )
        folder = out or Path("runs") / config.default_name
        from scenarios.run import check_folder, run

        common.check_output(folder / "report.json")
        if check_folder(folder, resume):
            common.say(f"note: starting over; the run in {folder} (--resume continues it) is replaced")
        with common.terminal_progress() as progress:
            report = run(
                config, folder, data_root=data_root, download=download, resume=resume, progress=progress
            )
        common.print_json(report) if as_json else common.print_table(str(folder), _rows(report))


def _rows(report: dict[str, Any]) -> dict[str, str]:
    steps = " ".join(f"{accuracy:.1%}" for accuracy in report["accuracy"])
    held = f"{report['memory_samples'][-1]:,} samples in {common.size_text(report['memory_bytes'][-1])}"
    return {
        "accuracy after each experience": steps,
        "average incremental accuracy": f"{report['average_incremental_accuracy']:.2%}",
        "forgetting": f"{100 * report['forgetting']:.2f} points",
        "memory": f"{held}, of {common.size_text(report['capacity'])}",
        "time": common.clock_text(sum(report["seconds"])),
        "report": f"{report['folder']}/report.html",
    }
