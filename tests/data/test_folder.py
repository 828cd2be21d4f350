"""A user's own images in class folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fedbits.data import load
from fedbits.errors import DataError


def fill(folder: Path, names: tuple[str, ...] = ("cat", "dog"), each: int = 5, **options: object) -> None:
    for index, name in enumerate(names):
        for number in range(each):
            write_image(folder / name / f"{number}.png", value=10 * index + number, **options)  # type: ignore[arg-type]


def test_train_and_test(tmp_path: Path) -> None:
    fill(tmp_path / "pets/train")
    fill(tmp_path / "pets/test", ("dog",), 2)
    data = load(f"folder:{tmp_path / 'pets'}")
    assert (data.spec.name, data.spec.shape, data.spec.dtype) == ("folder:pets", (1, 6, 5), "uint8")
    assert data.spec.class_names == ("cat", "dog")
    assert data.train.samples[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    assert data.train.labels.tolist() == [0] * 5 + [1] * 5
    assert data.test.labels.tolist() == [1, 1]
    assert data.spec.mean[0] == pytest.approx(7 / 255, abs=data.spec.std[0] / 16)


def test_hold_out(tmp_path: Path) -> None:
    fill(tmp_path, ("a", "b", "c"))
    data = load(f"folder:{tmp_path}")
    assert (data.train.class_counts(), data.test.class_counts()) == ([4] * 3, [1] * 3)
    assert torch.equal(load(f"folder:{tmp_path}").test.samples, data.test.samples)


def test_numbered_classes_are_in_order(tmp_path: Path) -> None:
    fill(tmp_path, ("10", "9", "0"))
    assert load(f"folder:{tmp_path}").spec.class_names == ("0", "9", "10")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    fill(tmp_path, ("car", "train"))
    assert load(f"folder:{tmp_path}").spec.class_names == ("car", "train")


def test_what_is_left_alone(tmp_path: Path) -> None:
    fill(tmp_path)
    for name in ("notes.txt", "cat/labels.csv", "cat/.hidden.png", ".cache/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("not an image")
    write_image(tmp_path / "dog/more/5.PNG")
    data = load(f"folder:{tmp_path}")
    assert len(data.train) + len(data.test) == 11


def test_colour_makes_all_rgb(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "test")
    write_image(tmp_path / "test/cat/9.png", value=(1, 2, 3, 128))
    data = load(f"folder:{tmp_path}")
    assert data.spec.shape == (3, 6, 5)
    assert data.test.samples[5, :, 0, 0].tolist() == [1, 2, 3]
    assert data.train.samples[0].unique().tolist() == [0]


def test_pixels_are_exact_and_turned_as_the_camera_was(tmp_path: Path) -> None:
    fill(tmp_path / "train", size=(2, 3))
    fill(tmp_path / "test", size=(2, 3))
    pixels = np.arange(6, dtype=np.uint8).reshape(3, 2)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    image.save(tmp_path / "test/cat/0.png", exif=exif)
    data = load(f"folder:{tmp_path}")
    assert data.test.samples[0, 0].tolist() == np.rot90(pixels, -1).tolist()


def test_sizes_that_differ_are_named(tmp_path: Path) -> None:
    fill(tmp_path)
    write_image(tmp_path / "dog/3.png", (7, 5))
    with pytest.raises(DataError) as caught:
        load(f"folder:{tmp_path}")
    message = str(caught.value)
    assert f"{tmp_path / 'cat/0.png'} is 6x5" in message
    assert f"{tmp_path / 'dog/3.png'} is 7x5" in message
    assert "?size=32" in message


@pytest.mark.parametrize(("option", "size"), [("size=4", (4, 4)), ("size=8x3", (8, 3))])
def test_resizing(tmp_path: Path, option: str, size: tuple[int, int]) -> None:
    fill(tmp_path / "a.b")
    write_image(tmp_path / "a.b/dog/3.png", (17, 30), 13)
    data = load(f"folder:{tmp_path / 'a.b'}?{option}")
    assert data.spec.shape == (1, *size)
    assert data.spec.name == "folder:a.b"
    both = torch.cat([data.train.samples, data.test.samples])
    assert sorted(both.flatten(1).float().mean(1).tolist()) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]


@pytest.mark.parametrize("option", ["size=0", "size=5000", "size=", "size=3x", "size=-1", "sizes=3", ""])
def test_wrong_options(tmp_path: Path, option: str) -> None:
    fill(tmp_path)
    with pytest.raises(DataError, match=r"write \?size=32"):
        load(f"folder:{tmp_path}?{option}")


def test_a_folder_whose_name_has_a_question_mark(tmp_path: Path) -> None:
    fill(tmp_path / "what?")
    assert load(f"folder:{tmp_path / 'what?'}").spec.name == "folder:what?"


def test_wrong_layouts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none is not a folder"):
        load(f"folder:{tmp_path / 'none'}")
    with pytest.raises(DataError, match="has 0 class folders"):
        load(f"folder:{tmp_path}")
    fill(tmp_path / "half/train")
    with pytest.raises(DataError, match="has train/ but no test/"):
        load(f"folder:{tmp_path / 'half'}")
    fill(tmp_path / "half/test", ("cat", "bird"))
    with pytest.raises(DataError, match="has the class 'bird', which the training part lacks"):
        load(f"folder:{tmp_path / 'half'}")
    fill(tmp_path / "empty")
    (tmp_path / "empty/ant").mkdir()
    with pytest.raises(DataError, match="class folder 'ant' has no images"):
        load(f"folder:{tmp_path / 'empty'}")
    fill(tmp_path / "few", each=1)
    with pytest.raises(DataError, match="nothing can be held out"):
        load(f"folder:{tmp_path / 'few'}")


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    fill(tmp_path)
    victim = tmp_path / "dog/2.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 5), dtype=np.uint8)).save(victim)
    whole = victim.read_bytes()
    for damaged in (b"", b"no image", whole[:20], whole[:60], whole[:40] + b"\xff" * 8 + whole[48:]):
        victim.write_bytes(damaged)
        with pytest.raises(DataError, match=f"{victim} cannot be read as an image"):
            load(f"folder:{tmp_path}")


def test_more_than_eight_bits_are_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    Image.fromarray(np.full((6, 5), 4000, dtype=np.uint16)).save(tmp_path / "dog/2.png")
    with pytest.raises(DataError, match=r"dog/2\.png has more than 8 bits"):
        load(f"folder:{tmp_path}")


@pytest.mark.filterwarnings("ignore")  # what Pillow says of a damaged TIFF
@settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    suffix=st.sampled_from([".png", ".jpg", ".gif", ".bmp", ".tif", ".webp"]),
    where=st.floats(0, 1, exclude_max=True),
    flip=st.integers(0, 255),
)
def test_damaged_images(tmp_path: Path, suffix: str, where: float, flip: int) -> None:
    """Cut (flip 0) or change one byte: never anything but a DataError or a data set."""
    fill(tmp_path, each=2)
    victim = tmp_path / f"dog/1{suffix}"
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5), dtype=np.uint8)
    Image.fromarray(pixels).save(victim)
    blob = bytearray(victim.read_bytes())
    at = int(where * len(blob))
    if flip:
        blob[at] ^= flip
    else:
        del blob[at:]
    victim.write_bytes(blob)
    try:
        data = load(f"folder:{tmp_path}?size=6x5")
    except DataError as error:
        assert str(victim) in str(error)
        assert "\n" not in str(error)
    else:
        assert data.spec.shape[1:] == (6, 5)
    finally:
        victim.unlink()
