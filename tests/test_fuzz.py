"""A short run of the fuzzers: nothing but a FormatError escapes a reader, and all readers agree.

The long run is ``benchmarks/fuzz.py``.
"""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
import random
import subprocess
import sys
import tracemalloc
from math import inf
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from fuzz import campaign, tally, target, worker
from fuzz.fields import HEADER
from fuzz.journal import Journal
from fuzz.make_corpus import changed, described, seeds, tiny_blob
from fuzz.memory import Peak
from fuzz.mutate import LARGEST, mutate, varint
from fuzz.strategies import messages, mutated
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_spec, packed

from fedbits.coding import CODERS
from fedbits.container import DecodeLimits, decode, inspect
from fedbits.distilled_set import DistilledSet
from fedbits.errors import CorruptError, FormatError, LimitError
from fedbits.wire import distilled_set_pb2 as pb

PATHS = sorted(target.CORPUS.iterdir())


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_corpus(path: Path) -> None:
    target.check(path.read_bytes())


def test_the_corpus_is_small_and_has_every_form() -> None:
    """After a change of the format, run ``python tests/fuzz/make_corpus.py``."""
    assert sum(path.stat().st_size for path in PATHS) < 100_000
    assert {f"{name}.fbits" for name in seeds()} <= {path.name for path in PATHS}
    readings = [target.read(path.read_bytes()) for path in PATHS]
    outcomes = {reading.outcome for reading in readings}
    assert outcomes == {"decoded", *(error.__name__ for error in FormatError.__subclasses__())}
    read = [reading.facts["coder"] for reading in readings if isinstance(reading.decoded, DistilledSet)]
    assert {name for name, _ in CODERS.values()} <= set(read)


def test_mutated_blobs() -> None:
    """As the long run does it: what went a new way is mutated further."""
    rng, counted = random.Random(0), tally.Tally(most_seconds=inf)
    pool = [path.read_bytes() for path in PATHS if path.name.startswith("valid")]
    for _ in range(400):
        data = mutate(rng.choice(pool), rng)
        assert len(data) <= LARGEST
        if counted.check(data):
            pool.append(data)
    assert counted.outcomes["decoded"] > 150, "mutations hardly reach the coders"
    assert {"CorruptError", "LimitError"} <= set(counted.outcomes)
    assert counted.inputs + counted.repeats == 400 == counted.outcomes.total() + counted.repeats


@settings(max_examples=100)
@given(blob=mutated())
def test_damaged_blobs(blob: bytes) -> None:
    target.check(blob)


@settings(max_examples=80)
@given(message=messages(), tail=st.binary(max_size=6))
def test_messages_of_any_values(message: pb.DistilledSet, tail: bytes) -> None:
    target.check(packed(message.SerializeToString() + tail))


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs the extra 'fuzz'")
def test_the_guided_fuzzer(tmp_path: Path) -> None:
    script = Path(target.__file__).with_name("guided.py")
    flags = ("-runs=300", "-seed=1", f"-artifact_prefix={tmp_path}/", str(tmp_path))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), *flags], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done 300 runs" in done.stderr
    assert list(tmp_path.iterdir()), "no input reached anything new: is fedbits instrumented?"


def _another_error(*_: object) -> None:
    raise ValueError


def _other_samples(blob: bytes, *limits: Any) -> DistilledSet:
    decoded = decode(blob, *limits)
    decoded.__dict__["samples"] = decoded.samples * float("nan")
    return decoded


@pytest.mark.parametrize("broken", [_another_error, _other_samples])
def test_the_check_sees_what_is_wrong(broken: Any) -> None:
    target.check(tiny_blob())
    with mock.patch("fuzz.target.decode", broken), pytest.raises((ValueError, AssertionError)):
        target.check(tiny_blob())


def test_a_tally_stops_at_slow_and_at_large_inputs() -> None:
    counted = tally.Tally(most_seconds=inf)
    assert counted.check(tiny_blob()) and not counted.check(tiny_blob())
    assert counted.report()["outcomes"] == {"decoded": 1} and counted.repeats == 1
    with pytest.raises(AssertionError, match="takes longer"):
        tally.Tally(most_seconds=0.0).check(tiny_blob())
    with mock.patch("fuzz.tally.MEGABYTES", -1.0), pytest.raises(AssertionError, match="memory"):
        counted.check(tiny_blob())


def test_a_campaign_keeps_what_breaks_something_and_goes_on(tmp_path: Path) -> None:
    counted, path = tally.Tally(tmp_path / "found", inf), tmp_path / "tally.json"
    with mock.patch("fuzz.target.decode", _another_error):
        for data in (b"", b"FBIT", tiny_blob()):
            counted.check(data)
    assert counted.inputs == 3 and len(list((tmp_path / "found").iterdir())) == 3
    assert tiny_blob() in [found.read_bytes() for found in (tmp_path / "found").iterdir()]
    counted.save(path)
    again = tally.Tally.load(path)
    assert again.report() == counted.report()
    again.most_seconds = inf
    again.check(b"")
    assert (again.inputs, again.repeats) == (3, 1), "what was tried before an interruption is not new"
    (finding,) = again.findings.values()
    assert finding["count"] == 3 and tally.merged([again, counted]).report()["inputs"] == 6


@pytest.mark.skipif(sys.platform != "linux", reason="only there, the peak can begin again")
def test_the_memory_of_each_input_is_seen() -> None:
    peak = Peak()
    for megabytes in (64, 32):
        peak.start()
        np.frombuffer(mmap.mmap(-1, megabytes << 20), np.uint8)[:] = 1  # pages that nothing else had
        assert 0.9 * megabytes < peak.grown() < 1.5 * megabytes


@pytest.mark.parametrize("kind", sorted(worker.KINDS))
def test_a_worker_tries_as_many_inputs_as_asked(kind: str, tmp_path: Path) -> None:
    for inputs in (20, 30):
        process = worker.Worker(tmp_path / kind, inputs, 0)
        with pytest.raises(worker.Done):
            worker.KINDS[kind](process)
    counted = tally.Tally.load(tmp_path / f"{kind}.json")
    assert (counted.inputs, counted.starts, counted.findings) == (30, 2, {})
    assert len(set(tally.read_hashes(tmp_path / f"{kind}.json"))) == 30


# A child that at first hangs, then crashes, and then does its share.
_CHILD = """
import json, os, pathlib, sys, time
sys.path.insert(0, sys.argv[1])
from fuzz.journal import Journal
path = pathlib.Path(sys.argv[2])
tally = json.loads(path.read_text()) if path.exists() else {}
journal = Journal(path.with_suffix(".journal"))
journal.begin(b"input %d" % len(tally.get("findings", {})))
if not tally:
    time.sleep(60)
elif len(tally["findings"]) == 1:
    os.abort()
journal.end(5)
path.write_text(json.dumps({**tally, "inputs": 5}))
"""


class _Share(campaign.Share):
    def command(self) -> list[str]:
        return [sys.executable, "-c", _CHILD, str(campaign.HERE.parent), f"{self.path}.json"]


def test_a_campaign_outlives_inputs_that_hang_and_that_crash(tmp_path: Path) -> None:
    shares = [_Share("plain", number, 5, tmp_path, 0) for number in range(2)]
    with mock.patch("fuzz.campaign.HANGS", 0.5):
        assert campaign.run(shares, 2, 60)
    report = campaign.report(shares)
    assert report["inputs"] == 10 and report["broken"] == 4
    kept = {path.name.split("-")[1]: path.read_bytes() for path in (tmp_path / "found").iterdir()}
    assert kept == {"hang": b"input 0", "exit": b"input 1"}


def test_a_campaign_can_be_interrupted(tmp_path: Path) -> None:
    share = _Share("plain", 0, 5, tmp_path, 0)
    with mock.patch("fuzz.campaign._PATIENCE", 0.1):
        assert not campaign.run([share], 1, 0.3)
    assert share.process is None and Journal(share.path.with_suffix(".journal")).stopping


def test_a_campaign_goes_on_only_with_what_it_began_with(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no campaign"):
        campaign.begin(tmp_path, {"seed": 1}, resume=True)
    campaign.begin(tmp_path, {"seed": 1}, resume=False)
    (tmp_path / "plain-0.json").write_text(json.dumps({"inputs": 5}))
    campaign.begin(tmp_path, {"seed": 1}, resume=True)
    assert (tmp_path / "plain-0.json").exists()
    with pytest.raises(ValueError, match="other seed"):
        campaign.begin(tmp_path, {"seed": 2}, resume=True)
    campaign.begin(tmp_path, {"seed": 2}, resume=False)
    assert not (tmp_path / "plain-0.json").exists()


def test_shares_add_up() -> None:
    shares = campaign.split({"plain": 5, "guided": 0, "pure": 1}, 2, Path(), 0)
    assert [(share.kind, share.inputs) for share in shares] == [("plain", 3), ("plain", 2), ("pure", 1)]


# What fuzzing found, each as it was.


def test_samples_that_grow_have_a_price() -> None:
    """A blob of 108 bytes took 2.8 s and 800 MB, for the work that reading 2^20 symbols takes."""
    blob = described((1, 8, 8), [1 << 20], 1, 0, factor_log2=3, stream=bytes(51))
    with pytest.raises(LimitError, match="work"):
        decode(blob, DecodeLimits(work=1 << 25))


def test_margins_count_as_numbers() -> None:
    """Each value of samples of 1×1 took 48 bytes, of which the limit on numbers knew 25."""
    with pytest.raises(LimitError, match="numbers"):
        decode(described((12, 1, 1), [1 << 22], 1, 0, stream=bytes(9000)), DecodeLimits(elements=1 << 26))


def test_statistics_count_as_numbers() -> None:
    """Each channel of an order-0 coder takes up to 5 KB, whatever few samples there are: here 4 GB in all."""
    channels = 800_000
    spec = make_spec((3, 1, 1), 1)
    object.__setattr__(spec, "shape", (channels, 1, 1))  # to make one of so many channels takes seconds
    blob = described((1, 1, 1), [1], 8, 1, stream=bytes(9000))
    reading = mock.patch("fedbits.container.reading.read_task", lambda _: spec)
    with reading, pytest.raises(LimitError, match="numbers"):
        decode(blob)


@pytest.mark.parametrize("field", ["counts", "sides"])
def test_long_lists_are_not_copied_to_see_that_they_are_too_long(field: str) -> None:
    """A megabyte of numbers of a byte each took eight and more as a Python list."""
    numbers = b"\x01" * (1 << 20)
    listed = varint(3 << 3 | 2) + varint(len(numbers)) + numbers
    if field == "sides":
        listed = varint(2 << 3 | 2) + varint(len(listed)) + b"\x12" + listed[1:]
    blob = packed(tiny_blob()[HEADER:] + listed)
    tracemalloc.start()
    try:
        for read in (decode, inspect):
            with pytest.raises(CorruptError):
                read(blob)
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("added", [b"\x3a\x01\xff", b"\x12\x03\x0a\x01\x80"])
def test_names_that_are_not_utf_8(added: bytes) -> None:
    """protobuf in pure Python, as it is installed where it has no compiled wheel, raises another error."""
    blob = packed(tiny_blob()[HEADER:] + added)
    with pytest.raises(CorruptError, match="not of the declared format"):
        decode(blob)
    refusal = UnicodeDecodeError("utf-8", added, 0, 1, "invalid start byte")
    message = mock.Mock(ParseFromString=mock.Mock(side_effect=refusal))
    with (
        mock.patch("fedbits.container.envelope.pb.DistilledSet", lambda: message),
        pytest.raises(CorruptError),
    ):
        decode(blob)


def test_a_change_of_the_tiny_blob_is_all_that_is_changed() -> None:
    assert changed(lambda message: None) == tiny_blob()
