"""digits, MNIST, Fashion-MNIST and CIFAR: found where they may lie, read exactly, missed clearly."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from conftest import idx_bytes, write_idx_set
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedbits.data import NAMES, load
from fedbits.data.idx import read_idx
from fedbits.errors import DataError


def test_digits_follow_the_documented_rule() -> None:
    from sklearn.datasets import load_digits

    data = load("digits")
    original, labels = load_digits(return_X_y=True)
    assert data.spec.shape == (1, 8, 8)
    assert (len(data.train), len(data.test)) == (1438, 359)
    both = torch.cat([data.train.samples, data.test.samples]).flatten(1).int().tolist()
    assert sorted(both) == sorted(((original.astype(int) * 255 + 8) // 16).tolist())
    together = np.add(data.train.class_counts(), data.test.class_counts())
    assert together.tolist() == np.bincount(labels).tolist()
    assert all(abs(count / 359 - 0.1) < 0.01 for count in data.test.class_counts())
    samples = data.train.batch().samples
    assert abs(float(samples.mean())) < 0.01
    assert abs(float(samples.std()) - 1) < 0.01


def test_digits_are_the_same_every_time() -> None:
    first, second = load("digits"), load("digits")
    assert torch.equal(first.train.samples, second.train.samples)
    assert torch.equal(first.test.labels, second.test.labels)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mnist", "MNIST/raw"),
        ("mnist", "mnist"),
        ("fashion_mnist", "FashionMNIST/raw"),
        ("fashion_mnist", "fashion-mnist"),
    ],
)
def test_mnist_family_layouts(tmp_path: Path, name: str, folder: str, packed: bool) -> None:
    images = write_idx_set(tmp_path / "data" / folder, packed)
    data = load(name, root=tmp_path / "data")
    assert torch.equal(data.train.samples, torch.from_numpy(images).unsqueeze(1))
    assert data.train.labels.tolist() == [i % 10 for i in range(40)]
    assert (len(data.test), data.spec.name, data.spec.dtype) == (20, name, "uint8")
    assert len(data.spec.class_names) == 10


def test_search_order(tmp_path: Path, bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDBITS_DATA", str(tmp_path / "env"))
    steps = [
        (bare_machine, 11),
        (tmp_path / "home/.cache/fedbits", 12),
        (tmp_path / "env", 13),
        (tmp_path / "root", 14),
    ]
    for folder, count in steps:
        write_idx_set(folder / "fashion-mnist", train=count)
        assert len(load("fashion_mnist", root=tmp_path / "root").train) == count


def test_an_incomplete_folder_is_passed_over(tmp_path: Path, bare_machine: Path) -> None:
    write_idx_set(tmp_path / "fashion-mnist")
    (tmp_path / "fashion-mnist/t10k-labels-idx1-ubyte").unlink()
    write_idx_set(bare_machine / "fashion-mnist", train=17)
    assert len(load("fashion_mnist", root=tmp_path).train) == 17


def test_missing_says_what_was_looked_for_where_and_how_to_get_it(
    tmp_path: Path, bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDBITS_DATA", str(tmp_path / "env"))
    with pytest.raises(DataError) as caught:
        load("fashion_mnist", root=tmp_path / "root")
    message = str(caught.value)
    for part in (
        "train-images-idx3-ubyte[.gz]",
        "t10k-labels-idx1-ubyte[.gz]",
        "FashionMNIST/raw",
        f"{tmp_path / 'root'} (no such folder)",
        f"{tmp_path / 'env'}",
        f"{tmp_path / 'home/.cache/fedbits'}",
        f"{bare_machine}",
        "--download",
        "dataset-fashion-mnist",
    ):
        assert part in message
    assert "\n" not in message


def test_missing_names_the_one_file_that_lacks(tmp_path: Path) -> None:
    write_idx_set(tmp_path / "mnist")
    (tmp_path / "mnist/train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="mnist lacks train-labels-idx1-ubyte"):
        load("mnist", root=tmp_path)
    with pytest.raises(DataError, match=r"unpack the published cifar-10-python\.tar\.gz"):
        load("cifar10")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("fashion-mnist", "fashion_mnist"), ("MNIST", "mnist"), ("cifar-10", "cifar10"), ("digit", "digits")],
)
def test_unknown_name_has_a_hint(name: str, hint: str) -> None:
    with pytest.raises(DataError, match=f"did you mean '{hint}'"):
        load(name)


@pytest.mark.parametrize("name", ["imagenet21k", "", "zip:x", "folder"])
def test_unknown_name_lists_the_known(name: str) -> None:
    with pytest.raises(DataError) as caught:
        load(name)
    assert all(known in str(caught.value) for known in (*NAMES, "folder:PATH", "npz:PATH"))


@pytest.mark.parametrize("name", ["folder:", "npz:"])
def test_a_path_is_needed(name: str) -> None:
    with pytest.raises(DataError, match="lacks its path"):
        load(name)


def test_truncated_gz_is_named(tmp_path: Path) -> None:
    write_idx_set(tmp_path / "mnist", packed=True)
    victim = tmp_path / "mnist/train-images-idx3-ubyte.gz"
    victim.write_bytes(victim.read_bytes()[:5000])
    with pytest.raises(DataError, match=f"{victim} cannot be read"):
        load("mnist", root=tmp_path)


def test_labels_that_do_not_belong(tmp_path: Path) -> None:
    write_idx_set(tmp_path / "mnist")
    labels = tmp_path / "mnist/train-labels-idx1-ubyte"
    for wrong in (np.zeros(39, np.uint8), np.full(40, 10, np.uint8)):
        labels.write_bytes(idx_bytes(wrong))
        with pytest.raises(DataError, match=f"{labels} .* does not belong"):
            load("mnist", root=tmp_path)


@settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(where=st.floats(0, 1, exclude_max=True), packed=st.booleans(), flip=st.integers(0, 255))
def test_damaged_idx_is_an_error_or_still_whole(
    tmp_path: Path, where: float, packed: bool, flip: int
) -> None:
    """Cut (flip 0) or change one byte: never anything but a DataError, or a tensor of the right form."""
    whole = idx_bytes(np.arange(3 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(3, 28, 28))
    blob = bytearray(gzip.compress(whole, mtime=0) if packed else whole)
    at = int(where * len(blob))
    if flip:
        blob[at] ^= flip
    else:
        del blob[at:]
    path = tmp_path / f"images{'.gz' if packed else ''}"
    path.write_bytes(blob)
    try:
        tensor = read_idx(path, (28, 28))
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert flip
        assert tensor.shape == (3, 28, 28)
        assert tensor.dtype == torch.uint8


def test_a_header_cannot_ask_for_memory(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(
        bytes((0, 0, 8, 3)) + (2**32 - 1).to_bytes(4, "big") + (28).to_bytes(4, "big") * 2 + b"x"
    )
    with pytest.raises(DataError, match="is damaged"):
        read_idx(path, (28, 28))


def test_cifar10(tmp_path: Path, write_cifar) -> None:  # type: ignore[no-untyped-def]
    images = write_cifar(tmp_path, torchvision.datasets.CIFAR10)
    data = load("cifar10", root=tmp_path)
    assert data.train.samples.shape == (50, 3, 32, 32)
    assert torch.equal(data.test.samples, torch.from_numpy(images))
    assert torch.equal(data.train.samples[10:20], data.test.samples)
    assert data.train.class_counts() == [5] * 10
    assert data.spec.class_names[3] == "class 3"


def test_cifar100_has_the_fine_labels(tmp_path: Path, write_cifar) -> None:  # type: ignore[no-untyped-def]
    write_cifar(tmp_path, torchvision.datasets.CIFAR100, "fine_labels", 100)
    data = load("cifar100", root=tmp_path)
    assert data.spec.classes == 100
    assert data.train.labels.tolist() == list(range(100))


@pytest.mark.parametrize("victim", ["data_batch_3", "batches.meta"])
def test_damaged_cifar_is_named_and_never_unpickled(  # type: ignore[no-untyped-def]
    tmp_path: Path, write_cifar, victim: str
) -> None:
    write_cifar(tmp_path, torchvision.datasets.CIFAR10)
    path = tmp_path / "cifar-10-batches-py" / victim
    trap = tmp_path / "executed"
    path.write_bytes(b"cos\nmkdir\n(S'" + str(trap).encode() + b"'\ntR.")  # a pickle that would make a folder
    with pytest.raises(DataError, match=f"{victim} is damaged"):
        load("cifar10", root=tmp_path)
    assert not trap.exists()


def test_download_lands_whole_in_the_first_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, download_root: str, filename: str, md5: str) -> None:
        if not list(Path(download_root).glob("*")):
            write_idx_set(Path(download_root), train=23)

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fetch)
    assert len(load("mnist", root=tmp_path / "root", download=True).train) == 23
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["MNIST"]
    assert len(load("mnist", root=tmp_path / "root").train) == 23
    monkeypatch.setenv("FEDBITS_DATA", str(tmp_path / "env"))
    load("mnist", download=True)
    assert (tmp_path / "env/MNIST/raw").is_dir()


def test_nothing_is_fetched_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*arguments: object, **options: object) -> None:
        raise AssertionError("fetched")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fetch)
    write_idx_set(tmp_path / "mnist")
    load("mnist", root=tmp_path, download=True)


@pytest.mark.parametrize(
    "failure",
    [URLError("name not known"), RuntimeError("File not found\nor corrupted."), TimeoutError("slow")],
)
def test_failed_download_says_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fetch(*arguments: object, **options: object) -> None:
        raise failure

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fetch)
    with pytest.raises(DataError) as caught:
        load("fashion_mnist", root=tmp_path, download=True)
    message = str(caught.value)
    assert "fashion_mnist could not be downloaded" in message
    assert " ".join(str(failure).split()) in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_download_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("not a folder")
    with pytest.raises(DataError, match="could not be downloaded"):
        load("mnist", root=tmp_path / "root", download=True)


def test_import_is_light() -> None:
    """In a fresh process: what is heavy waits for the function that needs it."""
    heavy = "{'flwr', 'flwr_datasets', 'datasets', 'sklearn', 'torchvision'}"
    program = f"import sys, fedbits.data; print(sorted({heavy} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
