"""Streams as Avalanche's benchmarks."""

from __future__ import annotations

from typing import Any

from avalanche.benchmarks import nc_benchmark

from scenarios.datasets import StoredSamples
from scenarios.stream import Stream


def benchmark(stream: Stream) -> Any:
    """The split benchmark (``NCScenario``) of ``stream``: classes keep their numbers, all heads are one.

    Samples are uint8 as loaded, and normalised one by one.
    """
    return nc_benchmark(
        StoredSamples(stream.data.train),
        StoredSamples(stream.data.test),
        n_experiences=stream.experiences,
        task_labels=False,
        shuffle=False,
        fixed_class_order=list(stream.order),
    )
