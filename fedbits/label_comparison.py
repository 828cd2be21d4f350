"""Codecs of labels side by side: what each takes, loses and teaches at equal real bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fedbits import data as data_sets
from fedbits import evaluate
from fedbits.data.tensors import TensorData
from fedbits.device import pick
from fedbits.distilled_set import DistilledSet
from fedbits.errors import BudgetError
from fedbits.labels import ViewLabels
from fedbits.labels.fitting import TaughtLabels, compress_to, divergence
from fedbits.progress import SILENT, Progress


@dataclass(frozen=True)
class Students:
    """Networks that learn from a set and labels of its views, and are tested."""

    distilled: DistilledSet
    test: TensorData
    protocol: evaluate.Protocol
    repeats: int
    seed: int
    device: torch.device

    @classmethod
    def of(
        cls,
        distilled: DistilledSet,
        data: str,
        data_root: Path | None,
        protocol: str,
        steps: int | None,
        repeats: int,
        seed: int,
        device: str,
    ) -> Students:
        """Raises :class:`MismatchError` where the set is not of ``data``."""
        test = data_sets.load(data, data_root, False).test
        evaluate.check_task(distilled, test)
        how = evaluate.settled(evaluate.protocol(protocol, steps=steps), distilled.spec)
        return cls(distilled, test, how, repeats, seed, pick(device))

    def learn(self, labels: ViewLabels, progress: Progress) -> evaluate.Evaluation:
        """Train students on the views and ``labels``."""
        return evaluate.evaluate(
            self.distilled.taught(labels),
            self.test,
            self.protocol,
            repeats=self.repeats,
            seed=self.seed,
            device=self.device,
            progress=progress,
        )


def compare_codecs(
    taught: TaughtLabels,
    names: Sequence[str],
    ratios: Sequence[float],
    seed: int = 0,
    students: Students | None = None,
    progress: Progress = SILENT,
) -> list[dict[str, Any]]:
    """JSON-able, a row for each codec at each ratio to float16; where none fits, ``error`` says so."""
    rows = []
    for ratio in ratios:
        for name in names:
            asked = int(taught.float16_bytes / ratio)
            row: dict[str, Any] = {"codec": name, "ratio_asked": ratio, "bytes_asked": asked}
            try:
                labels = compress_to(taught, name, asked, seed, progress)
            except BudgetError as error:
                rows.append({**row, "error": str(error)})
                continue
            row |= label_facts(taught, labels)
            if students is not None:
                learnt = students.learn(labels, progress)
                row |= {"accuracies": list(learnt.accuracies), "mean": learnt.mean, "std": learnt.std}
            rows.append(row)
    return rows


def label_facts(taught: TaughtLabels, labels: ViewLabels) -> dict[str, Any]:
    """JSON-able: what compressed labels take, and what is lost of ``taught``."""
    epochs = labels.config.epochs
    kept = taught.first(epochs).rows()
    rebuilt = torch.cat([labels.targets(epoch, torch.arange(len(labels))) for epoch in range(epochs)])
    codec = labels.codec
    return {
        "codec": codec.name,
        "width": codec.config.width,
        "segment": codec.config.segment,
        "levels": codec.config.levels,
        "epochs": epochs,
        "label_bytes": labels.size,
        "ratio": taught.float16_bytes / labels.size,
        "published_bytes": codec.published_bytes(codec.config, codec.classes, len(kept)),
        "divergence": divergence(kept, rebuilt),
        "agreement": float((kept.argmax(1) == rebuilt.argmax(1)).float().mean()),
    }
