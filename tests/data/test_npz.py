"""A user's own arrays: what their axes mean, and one sentence for each thing that is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedbits.data import DataSet, load
from fedbits.errors import DataError

LABELS = np.arange(20) % 4


def saved(path: Path, **arrays: object) -> DataSet:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return load(f"npz:{path}")


def values(*shape: int, dtype: type = np.float64, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype is np.uint8:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.normal(2, 3, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((7,), (7,)),
        ((1,), (1,)),
        ((5, 6), (1, 5, 6)),
        ((5, 6, 3), (3, 5, 6)),
        ((5, 6, 1), (1, 5, 6)),
        ((3, 5, 6), (3, 5, 6)),
        ((2, 5, 6), (2, 5, 6)),
        ((3, 5, 4), (3, 5, 4)),
        ((1, 1, 64), (1, 1, 64)),
    ],
)
def test_axes(tmp_path: Path, dtype: type, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    samples = values(20, *shape, dtype=dtype)
    data = saved(tmp_path / "beams.npz", x_train=samples, y_train=LABELS, x_test=samples, y_test=LABELS)
    assert data.spec.shape == expected
    assert data.spec.name == "npz:beams"
    assert (data.spec.classes, data.spec.dtype) == (4, "uint8" if dtype is np.uint8 else "float32")
    moved = np.moveaxis(samples, -1, 1) if shape[-1] == expected[0] and len(shape) == 3 else samples
    wanted = torch.from_numpy(moved.astype(samples.dtype if dtype is np.uint8 else np.float32))
    assert torch.equal(data.test.samples, wanted.reshape(20, *expected))
    batch = data.train.batch().samples.transpose(0, 1).flatten(1)
    # Constants that a blob carries in two bytes: means to an eighth of a deviation, these to a sixteenth.
    assert torch.allclose(batch.mean(1), torch.zeros(expected[0]), atol=0.07)
    assert torch.allclose(batch.std(1, correction=0), torch.ones(expected[0]), atol=0.07)


@pytest.mark.parametrize("keys", [("samples", "labels"), ("x", "y")])
def test_hold_out_of_a_whole(tmp_path: Path, keys: tuple[str, str]) -> None:
    samples = values(20, 3)
    data = saved(tmp_path / "set.npz", **dict(zip(keys, (samples, LABELS[:, None]), strict=True)))
    assert (data.train.class_counts(), data.test.class_counts()) == ([4] * 4, [1] * 4)
    both = torch.cat([data.train.samples, data.test.samples]).tolist()
    assert sorted(both) == sorted(samples.astype(np.float32).tolist())


def test_labels_as_floats_and_missing_classes(tmp_path: Path) -> None:
    data = saved(tmp_path / "set.npz", x=values(6, 2), y=np.array([0.0, 0, 0, 5, 5, 5]))
    assert data.spec.classes == 6
    assert set(data.train.labels.tolist()) == {0, 5}


def test_constant_features_are_normalised_to_about_zero(tmp_path: Path) -> None:
    for dtype, constant in ((np.float64, 300.1), (np.float32, 0), (np.float64, 60000.0), (np.uint8, 255)):
        samples = values(20, 2, dtype=dtype)
        samples[:, 1] = constant
        data = saved(tmp_path / "set.npz", samples=samples, labels=LABELS)
        assert float(data.train.batch().samples[:, 1].abs().max()) < 0.1


@pytest.mark.parametrize(
    ("scale", "shift"),
    [(1e6, 0), (1e-7, 0), (1e-3, 300.1), (10.0, 1e6)],
    ids=["big", "tiny", "far", "farther"],
)
def test_a_scale_that_float16_cannot_hold(tmp_path: Path, scale: float, shift: float) -> None:
    with pytest.raises(
        DataError, match=r"npz:set: feature or channel 0 has mean .* bring the data to a scale"
    ):
        saved(tmp_path / "set.npz", samples=values(20, 2) * scale + shift, labels=LABELS)


def nan_at(value: float) -> np.ndarray:
    samples = values(20, 3)
    samples[4, 1] = value
    return samples


@pytest.mark.parametrize(
    ("samples", "labels", "message"),
    [
        (nan_at(np.nan), LABELS, "samples has values that are NaN or infinite"),
        (nan_at(np.inf), LABELS, "samples has values that are NaN or infinite"),
        (nan_at(1e300), LABELS, "samples has values that are NaN or infinite"),
        (values(20), LABELS, r"samples has the shape \(20,\)"),
        (values(20, 1, 1, 1, 1), LABELS, "samples has the shape"),
        (values(0, 3), LABELS[:0], "of no length 0"),
        (values(20, 0), LABELS, "of no length 0"),
        (np.ones((20, 3), np.int64), LABELS, "samples is of int64: uint8"),
        (np.ones((20, 3), np.complex64), LABELS, "samples is of complex64"),
        (np.full((20, 3), "a"), LABELS, "samples is of <U1"),
        (np.full((20, 3), None), LABELS, "cannot be read as arrays of numbers"),
        (values(20, 3), LABELS[:-1], "20 samples, labels has 19 labels"),
        (values(20, 3), LABELS - 1, "label -1 at position 0"),
        (values(20, 3), LABELS + 0.5, r"label 0\.5 at position 0"),
        (values(20, 3), LABELS * np.nan, "label nan at position 0"),
        (values(20, 3), LABELS.astype(np.uint64) + 2**63, "at position 0"),
        (values(20, 3), LABELS * 10**6, "label 1000000 at position 1"),
        (values(20, 3), LABELS.astype(str), "integers of shape"),
        (values(20, 3), np.eye(20), "integers of shape"),
        (values(20, 3), LABELS * 0, "every label is 0"),
        (values(4, 3), np.arange(4), "nothing can be held out"),
    ],
)
def test_wrong_arrays(tmp_path: Path, samples: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        saved(tmp_path / "set.npz", samples=samples, labels=labels)
    assert "\n" not in str(caught.value)


def test_parts_that_differ(tmp_path: Path) -> None:
    for test in (values(20, 4), values(20, 3, dtype=np.uint8), values(20, 3, 1)):
        with pytest.raises(DataError, match="must be alike"):
            saved(tmp_path / "a.npz", x_train=values(20, 3), y_train=LABELS, x_test=test, y_test=LABELS)


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.npz does not exist"):
        load(f"npz:{tmp_path / 'none.npz'}")
    with pytest.raises(DataError, match="has the keys a, y: it needs x_train"):
        saved(tmp_path / "set.npz", a=values(20, 3), y=LABELS)
    np.save(tmp_path / "bare.npy", values(20, 3))
    with pytest.raises(DataError, match="holds one bare array"):
        load(f"npz:{tmp_path / 'bare.npy'}")
    with pytest.raises(DataError, match="cannot be read"):
        load(f"npz:{tmp_path}")


@settings(
    derandomize=True,
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(0, 255), compressed=st.booleans())
def test_damaged_files(tmp_path: Path, where: float, flip: int, compressed: bool) -> None:
    """Cut (flip 0) or change one byte: never anything but a DataError or a data set."""
    path = tmp_path / "set.npz"
    (np.savez_compressed if compressed else np.savez)(path, samples=values(20, 3), labels=LABELS)
    blob = bytearray(path.read_bytes())
    at = int(where * len(blob))
    if flip:
        blob[at] ^= flip
    else:
        del blob[at:]
    path.write_bytes(blob)
    try:
        data = load(f"npz:{path}")
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert len(data.train) + len(data.test) == 20
