"""The commands on a real blob of digits."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from fedbits import container


def test_inspect_prints_one_object(fedbits, blob):
    outcome = fedbits("inspect", blob, "--json")
    facts = json.loads(outcome.out)
    assert outcome.code == 0 and outcome.err == ""
    assert facts["dataset"] == "digits" and facts["bytes"] == len(blob.read_bytes())
    assert sum(facts["ledger"].values()) == 8 * facts["bytes"]
    assert facts["sha256"] == hashlib.sha256(blob.read_bytes()).hexdigest()


def test_inspect_prints_a_table(fedbits, blob):
    table = fedbits("inspect", blob).out
    assert hashlib.sha256(blob.read_bytes()).hexdigest() in table
    assert "Ledger" in table and "total" in table


def test_show_writes_a_sheet(fedbits, blob):
    facts = json.loads(fedbits("show", blob, "--per-class", 3, "--json").out)
    with Image.open(blob.with_suffix(".png")) as sheet:
        assert sheet.size == (facts["width"], facts["height"])


def test_decode_writes_what_the_blob_holds(fedbits, blob):
    outcome = fedbits("decode", blob, "--out", "deep/set.npz", "--json")
    facts = json.loads(outcome.out)
    decoded = container.decode(blob.read_bytes())
    with np.load(blob.parent / "deep" / "set.npz", allow_pickle=False) as arrays:
        assert facts["shape"] == list(arrays["samples"].shape) and facts["dtype"] == "uint8"
        assert (arrays["samples"] == decoded.raw().numpy()).all()
        assert (arrays["labels"] == decoded.labels.numpy()).all()


@pytest.mark.parametrize("per_class", [False, True])
def test_decode_writes_some_classes(fedbits, blob, per_class):
    whole = container.decode(blob.read_bytes())
    blob.write_bytes(container.encode(whole, per_class=per_class))
    assert json.loads(fedbits("inspect", blob, "--json").out)["per_class"] is per_class
    assert ("each class by itself" in fedbits("inspect", blob).out) is per_class
    assert fedbits("decode", blob, "--classes", "5, 3").code == 0
    with np.load(blob.with_suffix(".npz"), allow_pickle=False) as arrays:
        wanted = (whole.labels == 3) | (whole.labels == 5)
        assert (arrays["labels"] == whole.labels[wanted].numpy()).all()
        assert (arrays["samples"] == whole.raw()[wanted].numpy()).all()


def test_recode_keeps_the_samples(fedbits, blob):
    facts = json.loads(fedbits("recode", blob, "--out", "single.fbits", "--per-class", "--json").out)
    single = blob.parent / "single.fbits"
    assert facts["bytes"] == single.stat().st_size >= facts["bytes_before"] == blob.stat().st_size
    assert json.loads(fedbits("inspect", single, "--json").out)["per_class"]
    assert fedbits("recode", single, "--out", "again.fbits").code == 0
    assert (blob.parent / "again.fbits").read_bytes() == blob.read_bytes()


@pytest.mark.parametrize("command", ["show", "decode", "recode"])
def test_the_input_is_never_written_over(fedbits, blob, command):
    before = blob.read_bytes()
    assert fedbits(command, blob, "--out", blob).is_one_sentence()
    assert blob.read_bytes() == before


def test_evaluate_trains_on_the_union_of_blobs(fedbits, blob):
    quick = ("--data", "digits", "--network", "mlp", "--width", 32, "--steps", 200, "--repeats", 2)
    outcome = fedbits("evaluate", blob, blob, *quick, "--json")
    facts = json.loads(outcome.out)
    assert facts["samples"] == 2 * len(container.decode(blob.read_bytes()))
    assert len(facts["accuracies"]) == 2
    assert facts["mean"] == pytest.approx(sum(facts["accuracies"]) / 2)
    assert facts["mean"] > 0.3
    assert json.loads(fedbits("evaluate", blob, blob, *quick, "--json").out)["mean"] == facts["mean"]


def test_evaluate_trains_by_batches_of_the_size_that_is_asked_for(fedbits, blob):
    quick = ("--data", "digits", "--network", "mlp", "--width", 32, "--steps", 60, "--repeats", 1, "--json")
    small = json.loads(fedbits("evaluate", blob, *quick, "--batch", 4).out)
    assert small["protocol"]["batch"] == 4
    assert small["accuracies"] != json.loads(fedbits("evaluate", blob, *quick).out)["accuracies"]


def test_evaluate_trains_on_the_whole_data_set(fedbits):
    quick = ("--network", "mlp", "--width", 32, "--steps", 30, "--repeats", 1)
    outcome = fedbits("evaluate", "--whole", "--data", "digits", *quick)
    assert outcome.code == 0
    assert "all of digits" in outcome.out and "± 0.00 %" in outcome.out


def test_evaluate_trains_several_networks_in_turn(fedbits, blob):
    quick = ("--data", "digits", "--width", 8, "--steps", 3, "--repeats", 1)
    outcome = fedbits("evaluate", blob, *quick, "--network", "convnet, mlp,convnet", "--json")
    found = json.loads(outcome.out)["networks"]
    assert list(found) == ["convnet", "mlp"]
    for name, facts in found.items():
        assert facts["protocol"]["network"] == name
        alone = json.loads(fedbits("evaluate", blob, *quick, "--network", name, "--json").out)
        assert alone["accuracies"] == facts["accuracies"]
    table = fedbits("evaluate", blob, *quick, "--network", "convnet,mlp").out
    assert "2 networks" in table and "network mlp, width 8" in table


def test_evaluate_refuses_networks_before_training_any(fedbits, blob):
    outcome = fedbits("evaluate", blob, "--data", "digits", "--network", "convnet,resnet")
    assert outcome.is_one_sentence()
    assert "unknown network 'resnet' (did you mean 'resnet18'?)" in outcome.err


def test_recipes_are_listed_and_printed(fedbits):
    assert {"quadd", "ptq", "random", "herding"} <= set(
        json.loads(fedbits("recipe", "--json").out)["recipes"]
    )
    assert json.loads(fedbits("recipe", "herding", "--json").out)["selection"] == "herding"
    assert "chosen for the budget" in fedbits("recipe", "quadd").out
