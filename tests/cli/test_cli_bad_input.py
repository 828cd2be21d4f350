"""Wrong input: exit code 2 and one sentence that names the offending value."""

import numpy as np
import pytest

DISTILL = ("distill", "--recipe", "random")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((*DISTILL, "--data", "digitz", "--budget", "1KiB"), "digitz"),
        ((*DISTILL, "--data", "npz:none.npz", "--budget", "1KiB"), "none.npz"),
        ((*DISTILL, "--data", "folder:none", "--budget", "1KiB"), "none"),
        ((*DISTILL, "--data", "cifar10", "--budget", "1KiB"), "data_batch_1"),
        ((*DISTILL, "--data", "digits", "--budget", "lots"), "lots"),
        ((*DISTILL, "--data", "digits", "--budget", "0B"), "0B"),
        ((*DISTILL, "--data", "digits", "--budget", "20B"), "20 bytes"),
        ((*DISTILL, "--data", "digits"), "--budget"),
        ((*DISTILL, "--data", "digits", "--budget", "1KiB", "--bits", "9"), "9"),
        ((*DISTILL, "--data", "digits", "--budget", "1KiB", "--ipc", "0"), "0"),
        ((*DISTILL, "--data", "digits", "--budget", "1KiB", "--factor", "3"), "3"),
        ((*DISTILL, "--data", "digits", "--budget", "1KiB", "--seed", "-1"), "-1"),
        ((*DISTILL, "--data", "digits", "--budget", "1KiB", "--device", "tpu"), "tpu"),
        (("distill", "--recipe", "soup", "--data", "digits", "--budget", "1KiB"), "soup"),
        (("recipe", "soup"), "soup"),
        (("evaluate", "--data", "digits"), "--whole"),
        (("evaluate", "--whole", "--data", "digits", "--protocol", "feeling"), "feeling"),
        (("evaluate", "--whole", "--data", "digits", "--network", "telephone"), "telephone"),
        (("evaluate", "--whole", "--data", "digits", "--repeats", "0"), "repeats"),
    ],
)
def test_a_wrong_value_is_named(fedbits, arguments, named):
    outcome = fedbits(*arguments)
    assert outcome.is_one_sentence(), outcome
    assert named in outcome.err


READERS = [("inspect",), ("show",), ("decode",), ("recode", "--out", "new"), ("evaluate", "--data", "digits")]


@pytest.mark.parametrize("command", READERS)
def test_a_file_that_is_no_blob_is_named(fedbits, tmp_path, command):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_bytes(b"a letter to a friend")
    for name in ("missing", "folder", "empty", "text"):
        outcome = fedbits(*command, name)
        assert outcome.is_one_sentence(), outcome
        assert name in outcome.err
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "empty", "text"}


@pytest.mark.parametrize("command", READERS)
def test_a_damaged_blob_is_named(fedbits, tmp_path, digits_blob, command):
    for length in (3, 13, len(digits_blob) // 2, len(digits_blob) - 1):
        (tmp_path / "cut").write_bytes(digits_blob[:length])
        outcome = fedbits(*command, "cut")
        assert outcome.is_one_sentence() and "cut" in outcome.err, outcome
    for position in (0, 4, 5, 6, 10, 20, len(digits_blob) - 1):
        flipped = bytearray(digits_blob)
        flipped[position] ^= 0x10
        (tmp_path / "flipped").write_bytes(flipped)
        outcome = fedbits(*command, "flipped")
        assert outcome.is_one_sentence() and "flipped" in outcome.err, outcome


@pytest.mark.parametrize("classes", ["10", "-1", "3,12", "three", "3,", "", "99999999999999999999"])
def test_a_wrong_class_is_named(fedbits, tmp_path, blob, classes):
    outcome = fedbits("decode", blob, f"--classes={classes}")
    assert outcome.is_one_sentence(), outcome
    assert (classes.split(",")[-1] or repr(classes)) in outcome.err
    assert {path.name for path in tmp_path.iterdir()} == {blob.name}


def test_a_blob_of_another_data_set_is_refused(fedbits, tmp_path, blob):
    samples = np.linspace(0, 1, 30 * 4, dtype=np.float32).reshape(30, 4)
    np.savez(tmp_path / "other.npz", samples=samples, labels=np.arange(30) % 3)
    outcome = fedbits("evaluate", blob, "--data", "npz:other.npz")
    assert outcome.is_one_sentence()
    assert "digits" in outcome.err and "npz:other" in outcome.err and "set.fbits" in outcome.err


@pytest.mark.parametrize("command", ["show", "decode"])
def test_an_output_that_cannot_be_written_is_named(fedbits, tmp_path, blob, command):
    (tmp_path / "file").write_bytes(b"")
    for out in ("file/out", "."):
        outcome = fedbits(command, blob, "--out", out)
        assert outcome.is_one_sentence() and f"cannot write {out}" in outcome.err
