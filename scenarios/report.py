"""The report of a continual run: ``report.json``, and ``report.html`` for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from fedbits import container, page, svg
from fedbits.files import write_atomic
from fedbits.machine import machine, versions
from scenarios.config import RunConfig
from scenarios.learner import Learner, Score
from scenarios.stream import Stream

if TYPE_CHECKING:
    from scenarios.run import Record

NAMES = ("report.json", "report.html")
SAMPLES_PER_CLASS = 16
_PACKAGES = ("fedbits", "torch", "avalanche-lib", "numpy", "constriction")


def accuracies(scores: Sequence[Sequence[Score]]) -> list[float]:
    """Accuracy on all classes seen so far, after each experience, in [0, 1]."""
    return [sum(score.correct for score in row) / sum(score.total for score in row) for row in scores]


def forgetting(scores: Sequence[Sequence[Score]]) -> float:
    """Mean over all experiences but the last of (best accuracy on it before the last) − (that at the end).

    As of Chaudhry et al., ECCV 2018; 0 of a single experience.
    """
    if len(scores) < 2:
        return 0.0
    shares = [[score.correct / score.total for score in row] for row in scores]
    lost = [max(row[j] for row in shares[j:-1]) - shares[-1][j] for j in range(len(shares) - 1)]
    return sum(lost) / len(lost)


def describe(
    folder: Path, config: RunConfig, stream: Stream, capacity: int, record: Record, blobs: Sequence[bytes]
) -> dict[str, Any]:
    """All facts as JSON-able values; accuracies are in [0, 1], sizes in bytes, times in seconds."""
    accuracy, spec = accuracies(record.scores), stream.data.spec
    return {
        "folder": str(folder),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": config.facts(),
        "accuracy": accuracy,
        "average_incremental_accuracy": sum(accuracy) / len(accuracy),
        "forgetting": forgetting(record.scores),
        "memory_bytes": record.memory_bytes,
        "memory_samples": record.memory_samples,
        "capacity": capacity,
        "accuracy_by_experience": [[score.correct / score.total for score in row] for row in record.scores],
        "classes": [list(stream.classes(k)) for k in range(stream.experiences)],
        "seconds": [round(seconds, 3) for seconds in record.seconds],
        "blobs": [container.inspect(blob) for blob in blobs],
        "data": {
            "name": spec.name,
            "shape": list(spec.shape),
            "classes": spec.classes,
            "class_names": list(spec.class_names),
            "train_samples": len(stream.data.train),
            "test_samples": len(stream.data.test),
        },
        "versions": versions(*_PACKAGES),
        "machine": machine(),
    }


def write(
    folder: Path, config: RunConfig, stream: Stream, capacity: int, record: Record, learner: Learner
) -> dict[str, Any]:
    """Write both forms into ``folder`` and return the facts."""
    facts = describe(folder, config, stream, capacity, record, learner.blobs())
    held = learner.memory()
    picture = page.sheet_png(held, SAMPLES_PER_CLASS) if held is not None else None
    for name, text in zip(
        NAMES, (json.dumps(facts, indent=2, allow_nan=False) + "\n", render(facts, picture)), strict=True
    ):
        write_atomic(folder / name, text)
    return facts


def render(facts: dict[str, Any], picture: bytes | None) -> str:
    """The page; ``picture`` (PNG) shows the memory."""
    settings = facts["settings"]
    fields = {
        "tiles": _tiles(facts),
        "plot": _plot(facts),
        "experiences": _table(facts),
        "memory": _memory(facts, picture),
        "facts": _facts(facts),
    }
    template = resources.files("scenarios").joinpath("report.html").read_text()
    title = f"{settings['scenario']}: {settings['strategy']}"
    return page.document(title, _subtitle(facts), Template(template).substitute(fields))


def _subtitle(facts: dict[str, Any]) -> str:
    settings = facts["settings"]
    finished = facts["finished"].replace("T", " ").removesuffix("+00:00")
    what = f"recipe {settings['recipe']}" if "recipe" in settings else "raw samples"
    return (
        f"{settings['experiences']} experiences · memory of {facts['capacity']:,} bytes · {what} · "
        f"seed {settings['seed']} · {finished} UTC"
    )


def _tiles(facts: dict[str, Any]) -> str:
    last = len(facts["accuracy"]) - 1
    many = facts["memory_samples"][last]
    return "".join(
        [
            page.tile(
                "accuracy at the end",
                f"{100 * facts['accuracy'][last]:.1f} %",
                f"on the test samples of all classes, after {last + 1} experiences",
                main=True,
            ),
            page.tile(
                "average incremental accuracy",
                f"{100 * facts['average_incremental_accuracy']:.1f} %",
                "mean over experiences of the accuracy on the classes seen by then",
            ),
            page.tile(
                "forgetting",
                f"{100 * facts['forgetting']:.1f}",
                "points lost, on average, on an experience since it was known best",
            ),
            page.tile(
                "memory",
                svg.bytes_text(facts["memory_bytes"][last]),
                f"{facts['memory_bytes'][last]:,} of {facts['capacity']:,} bytes hold {many:,} samples",
            ),
        ]
    )


def _plot(facts: dict[str, Any]) -> str:
    """Accuracy after each experience: on all classes seen, and on those of each experience."""
    with svg.style():
        figure = svg.figure()
        axes = figure.add_subplot()
        rows = facts["accuracy_by_experience"]
        for one in range(len(rows)):
            later = [100 * row[one] for row in rows[one:]]
            axes.plot(
                range(one + 1, len(rows) + 1),
                later,
                color=svg.GOAL,
                linewidth=0.9,
                marker="o",
                markersize=3,
                alpha=0.55,
            )
        percent = [100 * accuracy for accuracy in facts["accuracy"]]
        steps = list(range(1, len(rows) + 1))
        axes.plot(steps, percent, color=svg.OURS, linewidth=2.2, marker="o", markersize=8, zorder=3)
        axes.set_xticks(steps)
        axes.set_xlabel("experiences learned")
        axes.set_ylabel("test accuracy")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        axes.margins(y=0.12)
        svg.dress(axes)
        return svg.element(figure)


def _table(facts: dict[str, Any]) -> str:
    heads = ["experience", "classes", "accuracy so far", "memory", "samples", "time"]
    right = {"experience", "accuracy so far", "memory", "samples", "time"}
    head = "".join(f'<th class="number">{h}</th>' if h in right else f"<th>{h}</th>" for h in heads)
    names = facts["data"]["class_names"]
    body = ""
    for number, classes in enumerate(facts["classes"]):
        text = ", ".join(names[label] if label < len(names) else str(label) for label in classes)
        body += (
            "<tr>"
            + page.number(number + 1)
            + f'<td style="white-space: normal">{escape(text)}</td>'
            + page.number(f"{100 * facts['accuracy'][number]:.1f} %")
            + page.number(f"{facts['memory_bytes'][number]:,} B")
            + page.number(f"{facts['memory_samples'][number]:,}")
            + page.number(page.duration(facts["seconds"][number]))
            + "</tr>"
        )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _memory(facts: dict[str, Any], picture: bytes | None) -> str:
    if picture is None:
        return ""
    text = f"{facts['memory_samples'][-1]:,} samples in {facts['memory_bytes'][-1]:,} bytes"
    card = page.picture("memory", text, picture)
    return (
        "<h2>The memory</h2><p>Samples as they are replayed after the last experience, classes in rows (the "
        f'first few of each class).</p><section class="sheets">{card}</section>'
    )


def _facts(facts: dict[str, Any]) -> str:
    data = facts["data"]
    about = {
        "data": data["name"],
        "sample": f" {page.TIMES} ".join(map(str, data["shape"])),
        "classes": data["classes"],
        "training samples": f"{data['train_samples']:,}",
        "test samples": f"{data['test_samples']:,}",
        "time": page.duration(sum(facts["seconds"])),
    }
    return (
        page.definitions("settings", facts["settings"].items())
        + page.definitions("data and time", about.items())
        + page.definitions("versions and machine", (facts["versions"] | facts["machine"]).items())
    )
