"""What the subcommands share: option types, one-sentence errors, a progress bar, JSON, and careful files."""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import click
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.progress import Task as RichTask
from rich.progress import TaskID as RichTaskID
from rich.table import Table
from rich.text import Text

from fedbits.errors import ConfigError, FedbitsError
from fedbits.progress import Progress, Task

FAILED = 1
USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_PERIOD = 3600.0  # seconds over which a bar's rate is measured: a step may take many minutes

DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        help="Data set: digits, mnist, fashion_mnist, cifar10, cifar100, beams, beams:SITE, folder:PATH "
        "or npz:PATH.",
        show_default=False,
    ),
]
DataRootOption = Annotated[
    Path | None,
    typer.Option("--data-root", help="Folder to look for the data set in first.", show_default=False),
]
DownloadOption = Annotated[
    bool, typer.Option("--download", help="Download the data set if it is not on this machine.")
]
SeedOption = Annotated[
    int,
    typer.Option("--seed", min=0, help="Seed of every random draw; the same seed gives the same result."),
]
DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option("--device", help="Where to compute; auto takes the GPU if there is one."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output instead of a table.")
]
BlobArgument = Annotated[
    Path, typer.Argument(metavar="BLOB", help="File that 'fedbits distill' wrote.", show_default=False)
]


def say(text: str) -> None:
    """One line for the person at the terminal, on standard error."""
    typer.echo(text, err=True)


def fail(error: Exception | str) -> None:
    """Report ``error`` as one line on standard error."""
    say(f"error: {' '.join(str(error).split())}")


@contextmanager
def guard(kept: str | Callable[[], str] = "nothing was written") -> Iterator[None]:
    """End the command as it should end, whatever happens inside.

    A :class:`FedbitsError` becomes one sentence and exit code 2. Ctrl-C becomes one line that says what was
    kept and how to go on (``kept``, or what calling it returns at that moment) and exit code 130.
    """
    try:
        yield
    except FedbitsError as error:
        fail(error)
        raise typer.Exit(USAGE) from error
    except KeyboardInterrupt as error:
        say(f"interrupted: {kept() if callable(kept) else kept}")
        raise typer.Exit(INTERRUPTED) from error


class OneSentenceGroup(typer.core.TyperGroup):
    """The command group with every remaining way to fail reported as one sentence, too."""

    def invoke(self, ctx: click.Context) -> Any:
        with guard():
            return super().invoke(ctx)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        def run() -> Any:
            names = (args, prog_name, complete_var)
            return super(OneSentenceGroup, self).main(*names, False, windows_expand_args, **extra)

        code = _exit_code(run)
        if standalone_mode:
            sys.exit(code)
        return code


def _exit_code(run: Callable[[], Any]) -> int:
    try:
        code = run()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError:
        return USAGE  # making the error has printed the help
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "fedbits"
        message = error.format_message().rstrip(".")
        fail(f"{message[:1].lower()}{message[1:]}; see '{command} --help'")
        return USAGE
    except click.ClickException as error:
        fail(error.format_message())
        return USAGE
    except OSError as error:  # a full disk, say: not the user's wording, but one sentence all the same
        fail(f"{error.filename or 'the system'}: {error.strerror or error}")
        return FAILED


def print_json(document: Mapping[str, Any]) -> None:
    """The one object on standard output; numbers that JSON does not know (NaN, infinity) become null."""
    typer.echo(json.dumps(_finite(document), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def print_table(title: str, rows: Mapping[str, str]) -> None:
    """Two columns, a name and its value, on standard output; never cut off, whatever the terminal's width."""
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text(value))
    Console(file=sys.stdout).print(table)


# ----------------------------------------------------------------------------------------------- progress


@contextmanager
def terminal_progress(stream: TextIO | None = None) -> Iterator[Progress]:
    """Progress on standard error: bars in a terminal, a plain line now and then anywhere else."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield LineProgress(stream)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    console = Console(file=stream)
    with RichProgress(*columns, console=console, transient=True, speed_estimate_period=_PERIOD) as bars:
        yield _BarProgress(bars)


def rate_text(speed: float | None) -> str:
    """Steps per second, or seconds per step when they are slow."""
    if not speed:
        return ""
    return f"{speed:.1f} it/s" if speed >= 1 else f"{1 / speed:.1f} s/it"


class _RateColumn(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        return Text(rate_text(task.finished_speed or task.speed), style="cyan")


class _BarProgress:
    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Task]:
        number = self._bars.add_task(title, total=total, completed=done, note="")
        try:
            yield _Bar(self._bars, number)
        finally:
            self._bars.refresh()  # its last state, before it makes room for the next
            self._bars.remove_task(number)


class _Bar:
    def __init__(self, bars: RichProgress, number: RichTaskID) -> None:
        self._bars, self._number = bars, number

    def advance(self, steps: int = 1, note: str = "") -> None:
        if note:
            self._bars.update(self._number, advance=steps, note=note)
        else:
            self._bars.update(self._number, advance=steps)


class LineProgress:
    """A line every ``interval`` seconds, for logs and pipes; short tasks pass without a word."""

    def __init__(
        self, stream: TextIO, interval: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.stream, self.interval, self.clock = stream, interval, clock

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Task]:
        yield _Lines(self, title, total, done)


class _Lines:
    def __init__(self, progress: LineProgress, title: str, total: int, done: int) -> None:
        self._progress, self._title, self._total = progress, title, total
        self._done = self._first = done
        self._started = self._spoken = progress.clock()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        now = self._progress.clock()
        if now - self._spoken < self._progress.interval:
            return
        self._spoken = now
        speed = (self._done - self._first) / (now - self._started)
        left = (self._total - self._done) / speed if speed > 0 else 0.0
        parts = [
            f"{self._title}: {self._done}/{self._total}",
            rate_text(speed),
            f"{clock_text(left)} left",
            note,
        ]
        print(", ".join(part for part in parts if part), file=self._progress.stream, flush=True)


def clock_text(seconds: float) -> str:
    """A duration as ``m:ss`` or ``h:mm:ss``."""
    minutes, second = divmod(round(max(seconds, 0)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


# -------------------------------------------------------------------------------------------------- files


def read_file(path: Path, limit: int) -> bytes:
    """The bytes of a file that must be there, hold something, and be at most ``limit`` bytes long.

    Raises:
        ConfigError: it is not there, not a file, empty, too long, or cannot be read.
    """
    try:
        if path.is_dir():
            raise ConfigError(f"{path} is a folder: give the file that 'fedbits distill' wrote")
        if not path.exists():
            raise ConfigError(f"{path} does not exist: give the file that 'fedbits distill' wrote")
        if not path.is_file():
            raise ConfigError(f"{path} is not a regular file: give the file that 'fedbits distill' wrote")
        size = path.stat().st_size
        if size == 0:
            raise ConfigError(f"{path} is empty: give the file that 'fedbits distill' wrote")
        if size > limit:
            raise ConfigError(f"{path} has {size:,} bytes, and a blob may have at most {limit:,}")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def check_output(path: Path, *inputs: Path) -> None:
    """Find out before the long work, not after it, that ``path`` cannot be written; nothing is created.

    Raises:
        ConfigError: ``path`` is one of ``inputs`` or a folder, or its folder cannot be made or written to.
    """
    for source in inputs:
        if path.resolve() == source.resolve():
            raise ConfigError(f"cannot write {path}: it is the input; give another name with --out")
    if path.is_dir():
        raise ConfigError(f"cannot write {path}: it is a folder; give the name of a file in it")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}; give a path that can be written"
        ) from error


def size_text(count: int) -> str:
    """A number of bytes for people."""
    return f"{count:,} B" if count < 10_000 else f"{count:,} B ({count / 1024:.1f} KiB)"
