"""Network weights as Flower arrays, and back into a network that knows what to expect."""

from __future__ import annotations

import io

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from torch import nn

from nodes.codes import Code
from nodes.messages import RefusedError

HEADER_BYTES = 4096  # more than NumPy writes before an array
NUMPY_STYPE = "numpy.ndarray"


def to_arrays(network: nn.Module) -> ArrayRecord:
    """All weights and buffers of ``network`` by name."""
    return ArrayRecord(
        {name: Array(value.detach().cpu().numpy()) for name, value in network.state_dict().items()}
    )


def load_arrays(network: nn.Module, record: ArrayRecord) -> None:
    """Put received weights into ``network``.

    Raises:
        RefusedError: (``bad_task``) a name, shape or type is not the network's, or a value is not finite.
    """
    state = network.state_dict()
    if set(record.keys()) != set(state):
        raise RefusedError(Code.BAD_TASK)
    network.load_state_dict({name: _tensor(record[name], value) for name, value in state.items()})


def _tensor(array: Array, expected: torch.Tensor) -> torch.Tensor:
    if (
        array.stype != NUMPY_STYPE
        or len(array.data) > expected.numel() * expected.element_size() + HEADER_BYTES
    ):
        raise RefusedError(Code.BAD_TASK)
    try:
        value = torch.from_numpy(np.load(io.BytesIO(array.data), allow_pickle=False))
    except Exception as error:  # NumPy raises anything from EOFError to SyntaxError on a bad header
        raise RefusedError(Code.BAD_TASK) from error
    if value.shape != expected.shape or value.dtype != expected.dtype:
        raise RefusedError(Code.BAD_TASK)
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise RefusedError(Code.BAD_TASK)
    return value


def array_bytes(record: ArrayRecord) -> int:
    """Serialised size of all arrays, as they travel."""
    return sum(len(array.data) for array in record.values())
