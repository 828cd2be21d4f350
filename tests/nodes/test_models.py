from __future__ import annotations

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord
from torch import nn

from nodes.codes import Code
from nodes.messages import RefusedError
from nodes.models import array_bytes, load_arrays, to_arrays


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_weights_and_buffers_survive() -> None:
    sent, received = network(), network()
    sent[1].num_batches_tracked += 5
    load_arrays(received, to_arrays(sent))
    for name, value in sent.state_dict().items():
        assert torch.equal(received.state_dict()[name], value)


def test_bytes_are_those_that_travel() -> None:
    record = to_arrays(nn.Linear(3, 2))
    assert array_bytes(record) == sum(len(array.data) for array in record.values()) > 4 * 8


def replaced(name: str, array: Array) -> ArrayRecord:
    record = to_arrays(network())
    record[name] = array
    return record


@pytest.mark.parametrize(
    "record",
    [
        ArrayRecord(),
        replaced("0.bias", Array(np.zeros(3, np.float32))),
        replaced("0.bias", Array(np.zeros(2, np.float64))),
        replaced("0.bias", Array(np.array([1.0, np.nan], np.float32))),
        replaced("0.bias", Array("float32", (2,), "numpy.ndarray", b"not an array")),
        replaced(
            "0.bias", Array("float32", (2,), "numpy.ndarray", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4'")
        ),
        replaced("0.bias", Array("float32", (2,), "numpy.ndarray", b"x" * 100_000)),
        replaced("0.bias", Array("float32", (2,), "torch", Array(np.zeros(2, np.float32)).data)),
        replaced("extra", Array(np.zeros(2, np.float32))),
    ],
)
def test_strange_weights_are_refused_and_change_nothing(record: ArrayRecord) -> None:
    target = network()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(RefusedError) as refused:
        load_arrays(target, record)
    assert refused.value.code is Code.BAD_TASK
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_an_array_that_declares_gigabytes_is_refused() -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with pytest.raises(RefusedError):
        load_arrays(network(), replaced("0.bias", Array("float32", (2,), "numpy.ndarray", data)))
