"""``fedbits evaluate``: how well fresh networks learn from blobs, or from the whole data set."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedbits.cli.blobs import decode_file
from fedbits.cli.common import (
    DataOption,
    DataRootOption,
    DeviceOption,
    DownloadOption,
    JsonOption,
    SeedOption,
    guard,
    print_json,
    print_table,
    terminal_progress,
)
from fedbits.errors import ConfigError, MismatchError

if TYPE_CHECKING:
    from fedbits.data import DataSet, Labelled
    from fedbits.distilled_set import DistilledSet
    from fedbits.evaluate import Evaluation, Protocol

EXAMPLES = """Examples:

  fedbits evaluate set.fbits --data fashion_mnist

  fedbits evaluate node0.fbits node1.fbits --data digits --repeats 3 --json

  fedbits evaluate --whole --data fashion_mnist --protocol dsa"""


def register(app: typer.Typer) -> None:
    app.command("evaluate", epilog=EXAMPLES)(evaluate)


def evaluate(
    data: DataOption,
    blobs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[BLOB...]", help="Files to train on, all together.", show_default=False),
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Train on the whole training data instead.")] = False,
    protocol: Annotated[str, typer.Option(help="How to train: laptop, or dsa as published.")] = "laptop",
    network: Annotated[
        str | None, typer.Option(help="convnet or mlp; the protocol's own when left out.", show_default=False)
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Width instead of the protocol's.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Batches instead of the protocol's.", show_default=False)
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Networks to train, each from its own start.")] = 5,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    data_root: DataRootOption = None,
    download: DownloadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train fresh networks on blobs (several: their union) and print their accuracy on the test data."""
    with guard():
        if bool(blobs) == whole:
            raise ConfigError("give either blobs to train on or --whole, one of the two")
        from fedbits import data as data_sets
        from fedbits import evaluate as evaluation
        from fedbits import networks
        from fedbits.device import pick

        how = evaluation.protocol(protocol, network=network, width=width, steps=steps)
        where = pick(device)
        sets = [decode_file(path) for path in blobs or []]
        real = data_sets.load(data, data_root, download)
        chosen = real.train if whole else _union(real, blobs or [], sets)
        if how.network == "auto":
            how = dataclasses.replace(how, network=networks.default_network(real.spec))
        with terminal_progress() as progress:
            result = evaluation.evaluate(
                chosen, real.test, how, repeats=repeats, seed=seed, device=where, progress=progress
            )
        names = [str(path) for path in blobs or []]
        if as_json:
            facts = {"data": data, "blobs": names, "whole": whole, "samples": len(chosen), "seed": seed}
            print_json({**facts, **_result(how, result), "device": str(where)})
        else:
            source = f"all of {data}" if whole else " and ".join(names)
            _print(f"{len(chosen):,} samples, {source}", how, result)


def _union(real: DataSet, paths: list[Path], sets: list[DistilledSet]) -> Labelled:
    from fedbits.data.union import Union
    from fedbits.evaluate import check_task

    for path, part in zip(paths, sets, strict=True):
        try:
            check_task(part, real.test)
        except MismatchError as error:
            raise MismatchError(f"{path}: {error}") from error
    return sets[0] if len(sets) == 1 else Union(real.spec, sets)


def _result(protocol: Protocol, result: Evaluation) -> dict[str, object]:
    return {
        "protocol": dataclasses.asdict(protocol),
        "accuracies": list(result.accuracies),
        "mean": result.mean,
        "std": result.std,
        "seconds": round(result.seconds, 3),
    }


def _print(source: str, protocol: Protocol, result: Evaluation) -> None:
    each = "  ".join(f"{100 * accuracy:.2f}" for accuracy in result.accuracies)
    print_table(
        "Accuracy on the test data",
        {
            "trained on": source,
            "protocol": f"{protocol.name}, network {protocol.network}, width {protocol.width}",
            "accuracy": f"{100 * result.mean:.2f} ± {100 * result.std:.2f} %",
            "each": f"{each} %",
            "time": f"{result.seconds:.1f} s",
        },
    )
