"""What a node owns: data sets by name, what a receiver must know of them, and who owns which samples."""

from fedbits.data.holdout import split
from fedbits.data.partition import partition
from fedbits.data.registry import NAMES, load
from fedbits.data.spec import DataSpec
from fedbits.data.tensors import Batch, DataSet, Labelled, TensorData, concatenate

__all__ = [
    "NAMES",
    "Batch",
    "DataSet",
    "DataSpec",
    "Labelled",
    "TensorData",
    "concatenate",
    "load",
    "partition",
    "split",
]
