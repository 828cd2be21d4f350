"""A set with labels of views through the commands that take blobs."""

import json

import pytest
from making import make_data, make_set
from viewed import viewed

from fedbits import container
from fedbits.labels import ViewsConfig


@pytest.fixture(autouse=True)
def blob(fedbits, tmp_path):
    sent = viewed(make_set(make_data((1, 4, 4), [3, 2])), "top", views=ViewsConfig(3, 1), temperature=1.5)
    (tmp_path / "a.fbits").write_bytes(container.encode(sent))
    return container.encode(sent)


def test_every_command_takes_labels_of_views(fedbits, tmp_path, blob):
    facts = json.loads(fedbits("inspect", "a.fbits", "--json").out)
    assert facts["labels"] == "views" and sum(facts["ledger"].values()) == 8 * len(blob)
    told = facts["view_labels"]
    assert (told["epochs"], told["codec"], told["width"], told["temperature"]) == (3, "top", 2, 1.5)
    shown = " ".join(fedbits("inspect", "a.fbits").out.split())
    assert "views 3 of each sample, crops from 50%, cutmix" in shown
    assert "labels top (width 2, levels 3), temperature 1.5" in shown
    assert fedbits("show", "a.fbits").code == 0
    assert fedbits("decode", "a.fbits", "--classes", "1", "--out", "a.npz").code == 0
    assert fedbits("recode", "a.fbits", "--per-class", "--out", "p.fbits").code == 0
    assert fedbits("recode", "p.fbits", "--out", "q.fbits").code == 0
    assert (tmp_path / "q.fbits").read_bytes() == blob
