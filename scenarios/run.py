"""A continual run: one experience after the other, each kept before the next begins."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedbits import checkpoint, data, evaluate, recipe_toml
from fedbits.budget import Budget
from fedbits.data import DataSet
from fedbits.errors import ConfigError, FedbitsError
from fedbits.files import write_atomic
from fedbits.progress import SILENT, Progress
from scenarios import config as usual
from scenarios import report
from scenarios.config import RunConfig
from scenarios.gdumb import GDumb
from scenarios.learner import Learner, Score
from scenarios.memory import MemoryConfig
from scenarios.online import make_memory
from scenarios.quiet import quiet
from scenarios.raw import RawMemory
from scenarios.stream import Stream, scenario

CHECKPOINT = "checkpoint.pt"


@dataclass
class Record:
    """What is known after each experience so far.

    Attributes:
        scores: of each experience, those on it and on every one before it.
        memory_bytes, memory_samples: of the replay memory, after each.
        seconds: that each took.
    """

    scores: list[list[Score]] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)
    memory_samples: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def done(self) -> int:
        return len(self.scores)

    def state(self) -> dict[str, Any]:
        return {**self.__dict__, "scores": [[tuple(score) for score in row] for row in self.scores]}

    @classmethod
    def of(cls, state: dict[str, Any]) -> Record:
        rows = [[Score(*score) for score in row] for row in state["scores"]]
        return cls(**{**state, "scores": rows})


def run(
    config: RunConfig,
    folder: Path,
    *,
    data_root: Path | None = None,
    download: bool = False,
    resume: bool = False,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Run ``config`` and return the report, which is also in ``folder``, with the memory's blobs.

    Args:
        resume: go on after the last experience that an earlier run into ``folder`` finished.

    Raises:
        FedbitsError: wrong settings, data that is not there, a memory that is too small, or Avalanche is not
            installed where a strategy of it is asked for.
    """
    task = scenario(config.scenario, config.experiences)
    loaded = data.load(task.data, data_root, download)
    stream = Stream.of(loaded, task.experiences, config.seed)
    capacity = Budget.parse(config.memory).bytes(loaded.spec, loaded.spec.classes)
    path, settings = folder / CHECKPOINT, fingerprint(config, loaded)
    record, state = Record(), None
    if resume:
        saved = checkpoint.load(path, settings)
        record, state = Record.of(saved["record"]), saved["learner"]
    else:
        for name in (CHECKPOINT, *report.NAMES):  # of an earlier run: nobody may take them for this one's
            (folder / name).unlink(missing_ok=True)
    learner = build(config, stream, capacity, folder / _logs(record.done), progress)
    if state is not None:
        learner.restore(state)
    with progress.task("experiences", task.experiences, record.done) as shown:
        for experience in range(record.done, task.experiences):
            started = time.monotonic()
            record.scores.append(learner.learn(experience, progress))
            record.memory_bytes.append(learner.memory_bytes)
            record.memory_samples.append(learner.memory_samples)
            record.seconds.append(time.monotonic() - started)
            keep_blobs(folder / "memory", learner.blobs())
            checkpoint.save(path, settings, {"record": record.state(), "learner": learner.state()})
            shown.advance(note=f"accuracy {report.accuracies(record.scores)[-1]:.1%}")
    return report.write(folder, config, stream, capacity, record, learner)


def build(config: RunConfig, stream: Stream, capacity: int, logs: Path, progress: Progress) -> Learner:
    """The learner that ``config`` asks for; ``logs`` is the folder of Avalanche's loggers.

    Raises:
        FedbitsError: as of :func:`run`.
    """
    protocol = evaluate.protocol(
        config.protocol or usual.USUAL_PROTOCOL, steps=config.training_steps, width=config.width
    )
    memory = memory_config(config, capacity, stream.data.spec.classes)
    if config.strategy == usual.GDUMB:
        spec = stream.data.spec
        raw = config.recipe == usual.RAW
        held = RawMemory(spec, capacity, spec.classes) if raw else make_memory(memory)
        return GDumb(stream, held, protocol, config.seed, config.device)
    try:
        with quiet():
            from scenarios.avalanche_learner import AvalancheLearner
            from scenarios.strategies import Setting, Training
    except ImportError as error:
        raise FedbitsError(
            f"the strategy {config.strategy!r} needs Avalanche ({error}): install it with "
            f"pip install 'fedbits[continual]'"
        ) from error
    training = Training(
        width=config.width or Training.width,
        epochs=config.epochs or usual.USUAL_EPOCHS,
        batch=config.batch or usual.USUAL_BATCH,
        learning_rate=config.learning_rate or usual.USUAL_RATE,
    )
    setting = Setting(stream, memory, training, config.seed, config.device, progress, logs)
    return AvalancheLearner(config.strategy, setting)


def memory_config(config: RunConfig, capacity: int, classes: int) -> MemoryConfig:
    """How a compressed memory is filled; the fixed policy has a quota for each of ``classes``.

    Raises:
        ConfigError: no such recipe, or a value out of range.
    """
    name = "random" if config.recipe == usual.RAW else config.recipe or usual.USUAL_RECIPE
    recipe = recipe_toml.get(name, **config.overrides)
    policy = config.policy or usual.USUAL_POLICY
    quotas = classes if policy == "fixed" else None
    return MemoryConfig(capacity, recipe, policy, quotas, config.device)  # type: ignore[arg-type]


def fingerprint(config: RunConfig, loaded: DataSet) -> str:
    """A digest of everything that shapes a run: resuming under another one is refused."""
    recipe = repr(memory_config(config, 1, 1).recipe) if config.compressed else ""
    return checkpoint.fingerprint(loaded.train, sorted(config.facts().items()), recipe)


def keep_blobs(folder: Path, blobs: list[bytes]) -> None:
    """Write the memory as it is now, oldest first, in place of what it was before."""
    for number, blob in enumerate(blobs):
        write_atomic(folder / f"{number:03}.fbits", blob)
    for path in folder.glob("*.fbits"):
        if int(path.stem) >= len(blobs):
            path.unlink()


def check_folder(folder: Path, resume: bool) -> bool:
    """Whether ``folder`` has an earlier run that is about to be replaced.

    Raises:
        ConfigError: there is nothing to resume.
    """
    there = (folder / CHECKPOINT).is_file()
    if resume and not there:
        raise ConfigError(f"no finished experience in {folder}: leave out --resume to start")
    return there and not resume


def _logs(done: int) -> str:
    """Each part of a run has logs of its own: Avalanche's loggers start files anew."""
    return f"logs-from-{done + 1}" if done else "logs"
