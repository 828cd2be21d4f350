"""Chunks compute what the whole would."""

from __future__ import annotations

import pytest
import torch

from fedbits.acceleration import Acceleration, in_chunks
from fedbits.memory import keep_freed_memory

CPU = torch.device("cpu")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9])
@pytest.mark.parametrize("largest", [None, 1, 2, 3, 8])
def test_chunks_give_what_the_whole_gives(count: int, largest: int | None) -> None:
    samples = torch.arange(count * 2.0).view(count, 2).requires_grad_()
    shapes = set()

    def function(chunk: torch.Tensor) -> torch.Tensor:
        shapes.add(chunk.shape)
        return chunk * chunk

    result = in_chunks(function, samples, largest)
    assert torch.equal(result, samples * samples)
    result.sum().backward()
    assert torch.equal(samples.grad, 2 * samples.detach())  # type: ignore[arg-type]
    assert len(shapes) == 1  # compiled functions would be compiled again for a second
    assert next(iter(shapes))[0] <= (largest or count)


def test_chunks_bound_the_memory_of_the_largest_tensor() -> None:
    activations = 128 * 28 * 28
    whole, half = Acceleration(CPU).chunk(activations), Acceleration(CPU, bfloat16=True).chunk(activations)
    assert whole is not None
    assert half is not None
    assert whole * activations * 4 < 1 << 25 > half * activations * 2
    assert Acceleration(CPU).chunk(1 << 40) == 1
    assert Acceleration(torch.device("cuda")).chunk(activations) is None


def test_keeping_memory_can_be_asked_for_twice() -> None:
    assert keep_freed_memory() == keep_freed_memory()
