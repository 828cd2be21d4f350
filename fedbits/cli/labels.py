"""``fedbits labels``: soft labels for every view of a set, compressed, compared and looked at."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedbits.cli import tokens
from fedbits.cli.blobs import decode_file, inspect_file, print_ledger, view_rows
from fedbits.cli.common import (
    BlobArgument,
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
    size_text,
    terminal_progress,
)
from fedbits.errors import ConfigError

if TYPE_CHECKING:
    from fedbits.distilled_set import DistilledSet
    from fedbits.labels.fitting import TaughtLabels
    from fedbits.progress import Progress

EXAMPLES = """Examples:

  fedbits labels make set.fbits --data fashion_mnist --epochs 100 --out labels.npz

  fedbits labels compress labels.npz set.fbits --codec vqae --ratio 40 --out taught.fbits

  fedbits labels compare labels.npz --codecs float16,top,pca,vq,vqae --ratios 10,20,40

  fedbits labels inspect taught.fbits"""
_MAKE = """Examples:

  fedbits labels make set.fbits --data fashion_mnist --epochs 100 --out labels.npz

  fedbits labels make set.fbits --data cifar10 --teacher resnet.pt --network torchvision:resnet18

A teacher that was trained is kept by --keep, and taken again by --teacher."""
_COMPRESS = """Examples:

  fedbits labels compress labels.npz set.fbits --codec vqae --ratio 40 --out taught.fbits

  fedbits labels compress labels.npz set.fbits --codec vqae-rd --budget 16KiB --out taught.fbits

  fedbits labels compress labels.npz set.fbits --codec top --bytes 4KiB --json"""
_COMPARE = """Examples:

  fedbits labels compare labels.npz --codecs float16,top,pca,vq,vqae --ratios 10,20,40,100

  fedbits labels compare labels.npz --set set.fbits --data fashion_mnist --repeats 3 --json

With --set and --data, students are trained on the labels as they come out, and tested."""
_INSPECT = """Example:

  fedbits labels inspect taught.fbits --json"""

TaughtArgument = Annotated[
    Path,
    typer.Argument(metavar="LABELS", help="File that 'fedbits labels make' wrote.", show_default=False),
]


def register(app: typer.Typer) -> None:
    labels = typer.Typer(
        no_args_is_help=True,
        epilog=EXAMPLES,
        help="Soft labels for every view of a set: make, compress, compare, inspect; of a text: tokens.",
    )
    labels.command("make", epilog=_MAKE)(make)
    labels.command("compress", epilog=_COMPRESS)(compress)
    labels.command("compare", epilog=_COMPARE)(compare)
    labels.command("inspect", epilog=_INSPECT)(inspect)
    tokens.register(labels)
    app.add_typer(labels, name="labels")


OutOption = Annotated[Path, typer.Option("--out", "-o", help="File of labels to write.")]
EpochsOption = Annotated[int, typer.Option(help="Views of each sample.")]
MixOption = Annotated[str, typer.Option(help="Views are mixed with others': none, mixup or cutmix.")]
LeastAreaOption = Annotated[float, typer.Option(help="Of a crop; a multiple of 1/64, 1 for none.")]
RotationOption = Annotated[int, typer.Option(help="Degrees by which views are turned at most.")]
MirrorOption = Annotated[bool, typer.Option("--mirror/--no-mirror", help="Mirror half of the views.")]
TemperatureOption = Annotated[float, typer.Option(help="Of the labels; a multiple of 1/16.")]
TeacherOption = Annotated[
    Path | None, typer.Option(help="File of the teacher's weights.", show_default=False)
]
NetworkOption = Annotated[
    str, typer.Option(help="The teacher: auto, convnet, resnet18, ..., or torchvision:NAME.")
]
WidthOption = Annotated[int, typer.Option(min=1, help="Of the teacher, a convnet or mlp.")]
TeacherStepsOption = Annotated[int, typer.Option(min=1, help="Batches to train the teacher on.")]
KeepOption = Annotated[
    Path | None, typer.Option(help="Where to keep the teacher's weights.", show_default=False)
]


def make(
    blob: BlobArgument,
    data: DataOption,
    out: OutOption = Path("labels.npz"),
    epochs: EpochsOption = 100,
    mix: MixOption = "cutmix",
    least_area: LeastAreaOption = 0.5,
    rotation: RotationOption = 15,
    mirror: MirrorOption = True,
    temperature: TemperatureOption = 1.0,
    teacher: TeacherOption = None,
    network: NetworkOption = "auto",
    width: WidthOption = 64,
    teacher_steps: TeacherStepsOption = 2000,
    keep: KeepOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    data_root: DataRootOption = None,
    download: DownloadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a teacher, or load one, and let it label every view of a set."""
    with guard():
        from fedbits import data as data_sets
        from fedbits import evaluate as evaluation
        from fedbits.device import pick
        from fedbits.labels import ViewsConfig
        from fedbits.labels.taught_file import write_taught
        from fedbits.labels.teaching import TeacherConfig
        from fedbits.labels.view_labels import check_temperature
        from fedbits.teach import make_teacher, save_weights, teach

        views = ViewsConfig(epochs, seed, least_area, rotation, mirror, mix)  # type: ignore[arg-type]
        check_temperature(temperature)
        config = TeacherConfig(network, width, teacher_steps, None if teacher is None else str(teacher))
        distilled = decode_file(blob)
        views = views.suited(distilled.spec)
        check_output(out, blob)
        real = data_sets.load(data, data_root, download)
        evaluation.check_task(distilled, real.test)
        with terminal_progress() as progress:
            made = make_teacher(real.train, config, views, seed=seed, device=pick(device), progress=progress)
            if keep is not None:
                save_weights(made, keep)
            taught = teach(distilled, made, views, temperature, progress)
        write_taught(out, taught, distilled.samples)
        facts = {
            "out": out,
            "samples": len(distilled),
            "epochs": epochs,
            "teacher_accuracy": evaluation.accuracy(made, real.test),
            "confidence": float(taught.probabilities.float().amax(2).mean()),
            "float16_bytes": taught.float16_bytes,
        }
        print_json(facts) if as_json else _print_made(facts)


CodecOption = Annotated[
    str, typer.Option(help="float16 (fewer epochs), scalar, top, pca, rpca, vq, vqae or vqae-rd.")
]
RatioOption = Annotated[
    float | None, typer.Option(help="Times smaller than float16 labels.", show_default=False)
]
SizeOption = Annotated[
    str | None, typer.Option("--bytes", help="That labels take: 4KiB.", show_default=False)
]
BudgetOption = Annotated[
    str | None, typer.Option(help="That the blob takes in all: 16KiB.", show_default=False)
]
CompressOutOption = Annotated[Path, typer.Option("--out", "-o", help="File to write the blob to.")]


def compress(
    labels: TaughtArgument,
    blob: BlobArgument,
    codec: CodecOption = "vqae",
    ratio: RatioOption = None,
    size: SizeOption = None,
    budget: BudgetOption = None,
    out: CompressOutOption = Path("taught.fbits"),
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Put labels of views, compressed, into a set's blob."""
    with guard():
        from fedbits import container
        from fedbits.files import write_atomic
        from fedbits.label_comparison import label_facts
        from fedbits.labels.codecs import codec_named
        from fedbits.labels.taught_file import check_samples, read_taught

        codec_named(codec)
        taught, digest = read_taught(labels)
        distilled = decode_file(blob)
        check_samples(labels, digest, distilled.samples)
        check_output(out, blob, labels)
        started = time.monotonic()
        limit = _Limit.of(taught, distilled, ratio, size, budget)
        with terminal_progress() as progress:
            found = limit.taught(distilled, taught, codec, seed, progress)
        compressed = found.view_labels
        assert compressed is not None
        written = container.encode(found)
        write_atomic(out, written)
        facts = {
            **label_facts(taught, compressed),
            **inspect_file(out),
            "out": out,
            "bytes_asked": limit.bytes,
            "seconds": round(time.monotonic() - started, 3),
        }
        print_json(facts) if as_json else _print_compressed(facts)


CodecsOption = Annotated[str, typer.Option(help="By commas.")]
RatiosOption = Annotated[str, typer.Option(help="Times smaller than float16, by commas.")]
SetOption = Annotated[
    Path | None, typer.Option("--set", help="The set, to train students on.", show_default=False)
]
TestDataOption = Annotated[
    str | None, typer.Option("--data", help="Data set to test on.", show_default=False)
]
ProtocolOption = Annotated[str, typer.Option(help="How students are trained; see evaluate.")]
StepsOption = Annotated[int | None, typer.Option(min=1, help="Batches.", show_default=False)]
RepeatsOption = Annotated[int, typer.Option(min=1, help="Students of each.")]


def compare(
    labels: TaughtArgument,
    codecs: CodecsOption = "float16,scalar,top,pca,rpca,vq,vqae,vqae-rd",
    ratios: RatiosOption = "10,20,40,100",
    blob: SetOption = None,
    data: TestDataOption = None,
    protocol: ProtocolOption = "laptop",
    steps: StepsOption = None,
    repeats: RepeatsOption = 1,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    data_root: DataRootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every codec at every ratio: real bytes, what the paper counts, what is lost, what students learn."""
    with guard():
        from fedbits.label_comparison import Students, compare_codecs
        from fedbits.labels.codecs import codec_named
        from fedbits.labels.taught_file import check_samples, read_taught

        if (blob is None) != (data is None):
            raise ConfigError("give both --set and --data to train students, or neither")
        names, times = codecs.split(","), [_ratio(text) for text in ratios.split(",")]
        for name in names:
            codec_named(name)
        taught, digest = read_taught(labels)
        students = None
        if blob is not None and data is not None:
            distilled = decode_file(blob)
            check_samples(labels, digest, distilled.samples)
            students = Students.of(distilled, data, data_root, protocol, steps, repeats, seed, device)
        with terminal_progress() as progress:
            rows = compare_codecs(taught, names, times, seed, students, progress)
        if as_json:
            print_json({"labels": labels, "float16_bytes": taught.float16_bytes, "codecs": rows})
        else:
            _print_compared(rows)


def inspect(blob: BlobArgument, as_json: JsonOption = False) -> None:
    """What the labels of a blob are, and what they take beside its samples."""
    with guard():
        facts = inspect_file(blob)
        if facts["labels"] != "views":
            raise ConfigError(f"{blob} has {facts['labels']} labels, not labels of views")
        views = facts["view_labels"]
        count = views["epochs"] * facts["samples"]
        bits = facts["ledger"]["labels"]
        if as_json:
            print_json({"file": str(blob), **views, "labels": count, "bits": bits, "ledger": facts["ledger"]})
            return
        print_table(str(blob), {**view_rows(views), "each": f"{bits / count:.2f} bits, of {count:,} labels"})
        print_ledger(facts["ledger"])


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = 0.0
    if not 0 < ratio < float("inf"):
        raise ConfigError(f"the ratio is {text!r}: expected a number above 0, such as 40")
    return ratio


@dataclass(frozen=True)
class _Limit:
    """Bytes that labels may take, or that the ``whole`` blob may."""

    bytes: int
    whole: bool

    @classmethod
    def of(
        cls,
        taught: TaughtLabels,
        distilled: DistilledSet,
        ratio: float | None,
        size: str | None,
        budget: str | None,
    ) -> _Limit:
        from fedbits.budget import Budget

        if sum(given is not None for given in (ratio, size, budget)) != 1:
            raise ConfigError("give one of --ratio, --bytes and --budget")
        if ratio is not None:
            return cls(int(taught.float16_bytes / _ratio(str(ratio))), False)
        present = sum(count > 0 for count in distilled.class_counts())
        asked = Budget.parse(size or budget or "")
        return cls(asked.bytes(distilled.spec, present, len(distilled)), budget is not None)

    def taught(
        self, distilled: DistilledSet, taught: TaughtLabels, codec: str, seed: int, progress: Progress
    ) -> DistilledSet:
        """The set with its labels compressed."""
        from fedbits.labels.fitting import compress_to
        from fedbits.teach import taught_within

        if self.whole:
            return taught_within(distilled, taught, codec, self.bytes, seed, progress)
        return distilled.taught(compress_to(taught, codec, self.bytes, seed, progress))


def _print_made(facts: dict[str, Any]) -> None:
    print_table(
        str(facts["out"]),
        {
            "labels": f"{facts['epochs']:,} views of {facts['samples']:,} samples",
            "as float16": size_text(facts["float16_bytes"]),
            "teacher": f"{100 * facts['teacher_accuracy']:.2f} % on the test data",
            "confidence": f"{100 * facts['confidence']:.1f} % on average, of the likeliest class",
        },
    )


def _print_compressed(facts: dict[str, Any]) -> None:
    rows = {
        **view_rows(facts["view_labels"]),
        "labels take": f"{size_text(facts['label_bytes'])}, {facts['ratio']:.1f} times less than float16",
        "lost": f"{facts['divergence']:.4f} nats a label; {100 * facts['agreement']:.1f} % name its class",
        "blob": size_text(facts["bytes"]),
    }
    print_table(str(facts["out"]), rows)
    print_ledger(facts["ledger"])


def _print_compared(rows: list[dict[str, Any]]) -> None:
    for ratio in dict.fromkeys(row["ratio_asked"] for row in rows):
        shown = {}
        for row in rows:
            if row["ratio_asked"] == ratio:
                shown[row["codec"]] = row.get("error") or _compared(row)
        print_table(f"{ratio:g} times less than float16", shown)


def _compared(row: dict[str, Any]) -> str:
    learnt = f", students {100 * row['mean']:.2f} ± {100 * row['std']:.2f} %" if "mean" in row else ""
    return (
        f"{row['label_bytes']:>9,} bytes ({row['published_bytes']:>11,.0f} as published), "
        f"{row['divergence']:.4f} nats, {100 * row['agreement']:.1f} % agree{learnt}"
    )
