"""``fedbits distill``: within the budget, interrupted, resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest

from fedbits import choice, container, evaluate
from fedbits.cli import distill as command
from fedbits.labels.network import training
from fedbits.optimise import CHECKPOINT_EVERY
from fedbits.progress import SILENT, Progress, Task

STEPS = CHECKPOINT_EVERY + 20
RUN = ("distill", "--data", "digits", "--budget", "300B", "--bits", 2, "--steps", STEPS, "--device", "cpu")

pytestmark = pytest.mark.usefixtures("small_quadd")


class Interrupting:
    """Presses Ctrl-C when the distillation has done so many steps."""

    def __init__(self, at: int) -> None:
        self.at, self.done = at, 0

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Task]:
        if title == "distilling":
            yield self
        else:
            with SILENT.task(title, total, done) as silent:
                yield silent

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        if self.done == self.at:
            raise KeyboardInterrupt


@contextmanager
def interrupted(at: int) -> Iterator[None]:
    """Within it, Ctrl-C comes ``at`` that step."""

    @contextmanager
    def progress() -> Iterator[Progress]:
        yield Interrupting(at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "terminal_progress", progress)
        yield


def test_the_blob_keeps_to_the_budget_and_fills_it(fedbits, tmp_path):
    facts = json.loads(fedbits(*RUN, "--out", "new/a.fbits", "--json").out)
    blob = (tmp_path / "new" / "a.fbits").read_bytes()
    assert facts["bytes"] == len(blob) <= facts["budget_bytes"] == 300
    assert facts["fill"] == len(blob) / 300 >= 0.95
    assert sum(facts["ledger"].values()) == 8 * len(blob)
    assert container.decode(blob).recipe == "quadd"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.fbits"]


def test_the_table_shows_the_budget_and_the_ledger(fedbits):
    table = fedbits("distill", "--data", "digits", "--budget", "100B/class", "--recipe", "random").out
    assert "1,000 B" in table and "% filled" in table and "Ledger" in table and "SHA-256" in table


def test_a_resumed_run_ends_in_the_same_blob(fedbits, tmp_path):
    assert fedbits(*RUN, "--out", "whole.fbits").code == 0
    part, checkpoint = tmp_path / "part.fbits", tmp_path / "part.fbits.checkpoint"
    part.write_bytes(b"what was there before")
    with interrupted(CHECKPOINT_EVERY + 5):
        stopped = fedbits(*RUN, "--out", part)
    assert stopped.code == 130 and stopped.out == ""
    assert (
        stopped.err
        == f"interrupted: {checkpoint} is kept; the same command with --resume continues from it\n"
    )
    assert part.read_bytes() == b"what was there before"
    assert fedbits(*RUN, "--out", part, "--resume").code == 0
    assert part.read_bytes() == (tmp_path / "whole.fbits").read_bytes()
    assert not checkpoint.exists()


def test_an_early_interruption_says_that_nothing_was_kept(fedbits, tmp_path):
    with interrupted(CHECKPOINT_EVERY - 1):
        stopped = fedbits(*RUN)
    assert stopped.code == 130
    assert stopped.err == "interrupted: no checkpoint was reached yet, and set.fbits was not touched\n"
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_other_settings_is_refused(fedbits, tmp_path):
    with interrupted(CHECKPOINT_EVERY + 1):
        fedbits(*RUN)
    kept = (tmp_path / "set.fbits.checkpoint").read_bytes()
    assert fedbits(*RUN, "--resume", "--seed", 1).is_one_sentence()
    assert (tmp_path / "set.fbits.checkpoint").read_bytes() == kept


def test_starting_over_is_said_and_done(fedbits, tmp_path):
    (tmp_path / "set.fbits.checkpoint").write_bytes(b"of an earlier run")
    with interrupted(1):
        stopped = fedbits(*RUN)
    assert "starting over" in stopped.err and "no checkpoint was reached yet" in stopped.err
    assert (tmp_path / "set.fbits.checkpoint").read_bytes() == b"of an earlier run"
    assert fedbits(*RUN).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["set.fbits"]


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint"])
def test_a_checkpoint_that_cannot_be_read_is_one_sentence(fedbits, tmp_path, content):
    if content is not None:
        (tmp_path / "set.fbits.checkpoint").write_bytes(content)
    assert fedbits(*RUN, "--resume").is_one_sentence()


@pytest.mark.parametrize("out", ["folder", "file/set.fbits"])
def test_an_output_that_cannot_be_written_is_found_before_the_work(fedbits, tmp_path, monkeypatch, out):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(command, "_distill", None)
    outcome = fedbits(*RUN, "--out", out)
    assert outcome.is_one_sentence() and out in outcome.err


@pytest.mark.parametrize(
    ("settings", "bits"),
    [(("--bits", 2), 2), (("--bits", 32), 32), (("--bits", 2, "--budget", "3KiB", "--quantizer", "post"), 2)],
)
def test_a_number_of_samples_is_kept_to(fedbits, tmp_path, settings, bits):
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 6), np.uint8)
    np.savez(tmp_path / "few.npz", samples=images, labels=np.arange(20) % 2)
    run = ("distill", "--data", "npz:few.npz", "--recipe", "random", "--ipc", 3, *settings)
    facts = json.loads(fedbits(*run, "--json").out)
    assert (facts["samples"], facts["bits"]) == (6, bits)
    assert (facts["budget_bytes"] is None) == ("--budget" not in settings)


@pytest.mark.parametrize(
    ("settings", "named"),
    [(("--budget", "1KiB", "--quantizer", "unifrom"), "did you mean 'uniform'"), ((), "--budget")],
)
def test_wrong_settings_are_one_sentence(fedbits, settings, named):
    outcome = fedbits("distill", "--data", "digits", *settings)
    assert outcome.is_one_sentence() and named in outcome.err


def test_the_share_of_a_network_splits_the_bytes(fedbits, monkeypatch):
    monkeypatch.setattr(training, "WORK", 1.0)  # as few steps as there may be
    words = ("distill", "--data", "digits", "--budget", "1KiB", "--recipe", "random", "--device", "cpu")
    both = json.loads(fedbits(*words, "--share", 0.5, "--out", "both.fbits", "--json").out)
    samples = json.loads(fedbits(*words, "--share", 0, "--out", "samples.fbits", "--json").out)
    assert both["labels"] == "network" and samples["labels"] == "hard"
    assert 0 < both["samples"] < samples["samples"]
    assert both["bytes"] <= both["budget_bytes"] == 1024
    refused = fedbits(*words, "--share", 1.5)
    assert refused.code == 2 and "share is 1.5: expected 0 (samples alone) to 1" in refused.err


def test_auto_says_what_it_chose_and_leaves_a_blob_by_it(fedbits, monkeypatch, tmp_path):
    few = choice.ChoiceConfig(("random", "herding"), (), 2, protocol=evaluate.protocol("laptop", steps=5))
    monkeypatch.setattr(choice, "choose", partial(choice.choose, config=few))
    monkeypatch.setenv("FEDBITS_CACHE", str(tmp_path / "cache"))
    words = ("distill", "--data", "digits", "--budget", "500B", "--recipe", "auto", "--device", "cpu")
    outcome = fedbits(*words, "--json")
    facts = json.loads(outcome.out)
    assert facts["recipe"] == facts["choice"]["recipe"] in ("random", "herding")
    assert "of held-out training data, before" in facts["choice"]["reason"]
    assert facts["choice"]["reason"] in outcome.err
    assert len(facts["choice"]["tried"]) == 2 and facts["bytes"] <= 500


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--budget", "500B", "--bits", 2), "bits is 2, but recipe 'auto' chooses it: leave --bits out"),
        (("--ipc", 10), "recipe 'auto' chooses for a budget: give one"),
        (("--budget", "1bpp"), "which recipe 'auto' chooses: give bytes"),
    ],
)
def test_auto_chooses_everything(fedbits, words, message):
    outcome = fedbits("distill", "--data", "digits", "--recipe", "auto", *words)
    assert outcome.code == 2 and message in outcome.err
