"""``fedbits evaluate``: how well fresh networks learn from blobs, or from the whole data set."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedbits.cli.blobs import decode_file, refuse_alone
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
from fedbits.errors import ConfigError, MismatchError, unknown

if TYPE_CHECKING:
    import torch

    from fedbits.data import DataSet, Labelled
    from fedbits.distilled_set import DistilledSet
    from fedbits.evaluate import Evaluation, Protocol

EXAMPLES = """Examples:

  fedbits evaluate set.fbits --data fashion_mnist

  fedbits evaluate node0.fbits node1.fbits --data digits --repeats 3 --json

  fedbits evaluate both0.fbits both1.fbits --data digits --pooled

  fedbits evaluate net0.fbits net1.fbits --data digits

  fedbits evaluate --whole --data fashion_mnist --protocol dsa

  fedbits evaluate set.fbits --data cifar10 --network convnet,alexnet,vgg11,resnet18,vit"""


def register(app: typer.Typer) -> None:
    app.command("evaluate", epilog=EXAMPLES)(evaluate)


BlobsArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[BLOB...]", help="Files to train on, all together.", show_default=False),
]
WholeOption = Annotated[bool, typer.Option("--whole", help="Train on the whole training data instead.")]
ProtocolOption = Annotated[
    str, typer.Option(help="How to train: laptop; dsa as published; mtt, at the set's own learning rate.")
]
NetworkOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[,NAME...]",
        help="convnet, alexnet, vgg11, resnet18, vit, beamcnn or mlp, or several by commas; the "
        "protocol's own when left out.",
        show_default=False,
    ),
]
WidthOption = Annotated[
    int | None,
    typer.Option(min=1, help="Of convnet, beamcnn, mlp; not the protocol's.", show_default=False),
]
StepsOption = Annotated[
    int | None, typer.Option(min=1, help="Batches instead of the protocol's.", show_default=False)
]
BatchOption = Annotated[
    int | None, typer.Option(min=1, help="Samples of a batch, not the protocol's.", show_default=False)
]
PooledOption = Annotated[
    bool,
    typer.Option(
        "--pooled",
        help="Let the networks of all blobs label each other's views, as far as they know the classes.",
    ),
]
RepeatsOption = Annotated[int, typer.Option(min=1, help="Networks to train, each from its own start.")]


def evaluate(
    data: DataOption,
    blobs: BlobsArgument = None,
    whole: WholeOption = False,
    protocol: ProtocolOption = "laptop",
    network: NetworkOption = None,
    width: WidthOption = None,
    steps: StepsOption = None,
    batch: BatchOption = None,
    repeats: RepeatsOption = 5,
    pooled: PooledOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    data_root: DataRootOption = None,
    download: DownloadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train fresh networks on blobs (several: their union) and print their accuracy on the test data.

    Blobs that hold networks and no samples are tested themselves: several are asked together.
    """
    with guard():
        if bool(blobs) == whole:
            raise ConfigError("give either blobs to train on or --whole, one of the two")
        if pooled and whole:
            raise ConfigError("--pooled is about the networks of blobs: leave it out with --whole")
        from fedbits import data as data_sets
        from fedbits import evaluate as evaluation
        from fedbits.device import pick

        hows = _protocols(evaluation.protocol(protocol, width=width, steps=steps, batch=batch), network)
        where = pick(device)
        sets = [decode_file(path) for path in blobs or []]
        real = data_sets.load(data, data_root, download)
        if sets and not any(len(one) for one in sets):
            _evaluate_networks(blobs or [], sets, real, data, where, as_json)
            return
        chosen = real.train if whole else _union(real, blobs or [], sets, pooled)
        hows = [evaluation.settled(how, real.spec) for how in hows]
        with terminal_progress() as progress:
            results = {
                how.network: evaluation.evaluate(
                    chosen, real.test, how, repeats=repeats, seed=seed, device=where, progress=progress
                )
                for how in hows
            }
        names = [str(path) for path in blobs or []]
        if as_json:
            facts = {"data": data, "blobs": names, "whole": whole, "samples": len(chosen), "seed": seed}
            print_json({**facts, **_results(hows, results), "device": str(where)})
        else:
            source = f"all of {data}" if whole else " and ".join(names)
            _print(f"{len(chosen):,} samples, {source}", hows, results)


def _evaluate_networks(
    paths: list[Path],
    sets: list[DistilledSet],
    real: DataSet,
    data: str,
    device: torch.device,
    as_json: bool,
) -> None:
    """The accuracy of networks that are all that blobs hold; of several, what they know together."""
    from fedbits.evaluate import accuracy

    _check_tasks(real, paths, sets)
    networks = [one.network for one in sets if one.network is not None]
    each = [accuracy(network.on(device), real.test) for network in networks]
    together = _together(sets, real, device) if len(sets) > 1 else {}
    if as_json:
        facts = {"data": data, "blobs": [str(path) for path in paths], "samples": 0, "device": str(device)}
        if together:
            print_json({**facts, "network_accuracies": each, "ensembles": together})
        else:
            print_json({**facts, "network_accuracy": each[0], "parameters": networks[0].parameters})
        return
    if together:
        rows = {"networks": f"{len(each)}, by themselves {100 * min(each):.2f} to {100 * max(each):.2f} %"}
        rows |= {f"together, {rule}": f"{100 * value:.2f} %" for rule, value in together.items()}
    else:
        form, weights = networks[0].form, f"{networks[0].parameters:,} weights, from {paths[0]}"
        rows = {
            "network": f"{form.kind} of width {form.width}, {weights}",
            "accuracy": f"{100 * each[0]:.2f} %",
        }
    print_table("Accuracy on the test data (nothing was trained)", rows)


def _together(sets: list[DistilledSet], real: DataSet, device: torch.device) -> dict[str, float]:
    from fedbits.evaluate import accuracy
    from fedbits.pooling import ensembles

    return {rule: accuracy(network.to(device), real.test) for rule, network in ensembles(sets).items()}


def _protocols(protocol: Protocol, listed: str | None) -> list[Protocol]:
    """``protocol`` for each of the networks that ``listed`` names, or for its own."""
    from fedbits.networks import NETWORKS

    if listed is None:
        return [protocol]
    names = list(dict.fromkeys(name.strip() for name in listed.split(",")))
    for name in names:
        if name not in NETWORKS:
            raise ConfigError(unknown("network", name, NETWORKS))
    return [dataclasses.replace(protocol, network=name) for name in names]


def _union(real: DataSet, paths: list[Path], sets: list[DistilledSet], pooled: bool) -> Labelled:
    from fedbits.data.union import Union
    from fedbits.pooling import with_pooled_labels

    _check_tasks(real, paths, sets)
    if pooled and not any(one.network is not None and len(one) for one in sets):
        raise ConfigError("--pooled is about networks beside samples, and none of the blobs holds both")
    if not pooled:
        for path, part in zip(paths, sets, strict=True):
            refuse_alone(path, part, "nothing can be trained on it; evaluate it by itself, or with --pooled")
    parts = with_pooled_labels(sets) if pooled else sets
    return parts[0] if len(parts) == 1 else Union(real.spec, parts)


def _check_tasks(real: DataSet, paths: list[Path], sets: list[DistilledSet]) -> None:
    """Raise :class:`MismatchError`, which names the file, unless all are of the task of ``real``."""
    from fedbits.evaluate import check_task

    for path, part in zip(paths, sets, strict=True):
        try:
            check_task(part, real.test)
        except MismatchError as error:
            raise MismatchError(f"{path}: {error}") from error


def _results(hows: list[Protocol], results: dict[str, Evaluation]) -> dict[str, object]:
    """The facts of the only network, or those of several by their names."""
    found = {how.network: _result(how, results[how.network]) for how in hows}
    return {"networks": found} if len(found) > 1 else found[hows[0].network]


def _result(protocol: Protocol, result: Evaluation) -> dict[str, object]:
    return {
        "protocol": dataclasses.asdict(protocol),
        "accuracies": list(result.accuracies),
        "mean": result.mean,
        "std": result.std,
        "seconds": round(result.seconds, 3),
    }


def _print(source: str, hows: list[Protocol], results: dict[str, Evaluation]) -> None:
    if len(hows) == 1:
        result = results[hows[0].network]
        each = "  ".join(f"{100 * accuracy:.2f}" for accuracy in result.accuracies)
        network = _name(hows[0])
        rows = {"accuracy": _accuracy(result), "each": f"{each} %", "time": f"{result.seconds:.1f} s"}
    else:
        network = f"{len(hows)} networks"
        rows = {_name(how): _accuracy(results[how.network]) for how in hows}
        rows["time"] = f"{sum(result.seconds for result in results.values()):.1f} s"
    how = {"trained on": source, "protocol": f"{hows[0].name}, {network}"}
    print_table("Accuracy on the test data", {**how, **rows})


def _name(protocol: Protocol) -> str:
    """The network, and its width if it has a choice of widths."""
    from fedbits.networks import has_width

    width = f", width {protocol.width}" if has_width(protocol.network) else ""
    return f"network {protocol.network}{width}"


def _accuracy(result: Evaluation) -> str:
    return f"{100 * result.mean:.2f} ± {100 * result.std:.2f} %"
