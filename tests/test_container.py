"""The wire format: exact, small, and safe with any bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fresh import in_fresh_process
from golden import reader
from hypothesis import example, given, settings
from hypothesis import strategies as st
from making import by_coder, make_data, make_set, make_spec, message_of, packed, small_blob
from storing import as_floats, even, in_bands, on_grid, powers, taught

from fedbits.coding import CODERS
from fedbits.container import DecodeLimits, decode, encode, inspect, ledger
from fedbits.data import DataSpec, TensorData, load
from fedbits.data.known import KNOWN
from fedbits.declared import declared
from fedbits.distilled_set import DistilledSet
from fedbits.errors import ConfigError, CorruptError, LimitError

GOLDEN = Path(__file__).parent / "golden"
BLOB = small_blob()
HEADER = 14


@settings(max_examples=40)
@given(
    shape=st.sampled_from([(1, 8, 8), (3, 8, 8), (1, 7, 5), (9,), (1,), (1, 1, 4)]),
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=5).filter(any),
    bits=st.integers(1, 8),
    factor=st.sampled_from([1, 2, 4, 8]),
    dtype=st.sampled_from(["uint8", "float32"]),
    recipe=st.sampled_from(["quadd", "random", "my own", ""]),
)
def test_a_set_comes_back(
    shape: tuple[int, ...], counts: list[int], bits: int, factor: int, dtype: str, recipe: str
) -> None:
    sent = make_set(make_data(shape, counts, 0, dtype), 4, bits, factor, recipe)
    blob = encode(sent)
    received = decode(blob)
    assert torch.equal(received.samples, sent.samples)
    assert torch.equal(received.labels, sent.labels)
    assert received.class_counts() == counts
    assert received.spec == sent.spec
    assert received.recipe == recipe
    assert received.describe() == sent.describe()
    assert encode(received) == blob
    bits_of = ledger(blob)
    assert bits_of.total_bits == 8 * len(blob) == sum(bits_of.components.values())
    assert min(bits_of.components.values()) >= 0
    assert bits_of.bits_per_class == 8 * len(blob) / sum(count > 0 for count in counts)


def some_set(counts: list[int], shape: tuple[int, ...] = (2, 5, 4), bits: int = 3) -> DistilledSet:
    return make_set(make_data(shape, counts), max(counts), bits, 2)


@settings(max_examples=30)
@given(
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any),
    shape=st.sampled_from([(1, 8, 8), (3, 5, 4), (9,), (1,)]),
    bits=st.integers(1, 8),
    per_class=st.booleans(),
    chosen=st.sets(st.integers(0, 5)),
    coder=st.sampled_from([0, 1, 2, 3]),
)
@example(counts=[2, 0, 1], shape=(1, 8, 8), bits=2, per_class=True, chosen={2}, coder=4)
def test_some_classes_come_back(
    counts: list[int], shape: tuple[int, ...], bits: int, per_class: bool, chosen: set[int], coder: int
) -> None:
    sent = some_set(counts, shape, bits)
    with by_coder(coder):
        blob = encode(sent, per_class=per_class)
    several = sum(count > 0 for count in counts) > 1
    assert inspect(blob)["per_class"] == (per_class and several)
    assert torch.equal(decode(blob).samples, sent.samples)
    assert sum(ledger(blob).components.values()) == 8 * len(blob)
    classes = [label for label in chosen if label < len(counts)]
    if not any(counts[label] for label in classes):
        with pytest.raises(ConfigError, match="no samples"):
            decode(blob, classes=classes)
        return
    wanted = torch.isin(sent.labels, torch.tensor(classes))
    for received in (decode(blob, classes=classes), decode(blob, classes=set(classes))):
        assert received.class_counts() == [n if k in classes else 0 for k, n in enumerate(counts)]
        assert torch.equal(received.samples, sent.samples[wanted])
        assert torch.equal(received.labels, sent.labels[wanted])
        assert received.spec == sent.spec and received.recipe == sent.recipe
    read = reader.read(blob, set(classes))
    assert np.array_equal(read.samples, sent.samples[wanted].numpy())
    assert read.counts == received.class_counts()


@pytest.mark.parametrize("classes", [[3], [-1], [0, 99], range(4)])
def test_classes_that_do_not_exist(classes: Collection[int]) -> None:
    for per_class in (False, True):
        with pytest.raises(ConfigError, match="classes 0 to 2"):
            decode(encode(some_set([2, 1, 2]), per_class=per_class), classes=classes)


def test_classes_of_their_own_are_not_decoded_for_others() -> None:
    """Not even where they could not be."""
    with by_coder(2):
        blob = encode(some_set([4, 0, 4, 4]), per_class=True)
    lengths, damaged = list(message_of(blob).class_lengths), message_of(blob)
    damaged.stream = b"\xff" * lengths[0] + damaged.stream[lengths[0] :]
    with pytest.raises(CorruptError, match="could have written"):
        decode(packed(damaged))
    assert torch.equal(decode(packed(damaged), classes=[2, 3]).samples, decode(blob).samples[4:])


def test_limits_are_on_what_is_decoded() -> None:
    sent = some_set([9, 1, 9])
    for per_class in (False, True):
        with by_coder(2):
            blob = encode(sent, per_class=per_class)
        storage = declared(message_of(blob), sent.spec)
        work = storage.work([0, 1, 0], bool(message_of(blob).class_lengths))
        limits = DecodeLimits(samples=1, elements=272, work=work + 24)
        if per_class:
            assert len(decode(blob, limits, classes=[1])) == 1
        with pytest.raises(LimitError):
            decode(blob, limits if not per_class else replace(limits, work=work - 1), classes=[1])
        with pytest.raises(LimitError):
            decode(blob, limits)


def test_streams_of_classes_cost_little() -> None:
    """Beside what a class cannot learn from the others: two bytes a class, and what rounds its words up."""
    counts = [3] * 20
    sent = make_set(make_data((1, 8, 8), counts), 3, 8)
    with by_coder(0):
        whole, apart = encode(sent), encode(sent, per_class=True)
    assert len(apart) - len(whole) <= 6 * len(counts)


FORMS = {
    "powers, one pair": lambda data: on_grid(data, powers(3, [0.2], [0.25]), 3),
    "powers, a pair a channel": lambda data: on_grid(data, powers(4, [0.1, -0.2], [0.25, 0.0625]), 3, 2),
    "one pair": lambda data: on_grid(data, even(2, [-1], [0.75]), 3),
    "floats": lambda data: as_floats(data, 3),
    "dct": lambda data: in_bands(data, even(4, [-4], [0.5]), even(4, [-1], [0.125]), 3, 3),
    "dct, halved": lambda data: in_bands(
        data, powers(5, [0, 0.5], [0.25] * 2), powers(5, [0, 0], [0.0625] * 2), 1, 3, 2
    ),
}


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_other_forms_come_back(form: str, per_class: bool) -> None:
    """However samples are stored, alone or with all that can be learnt besides classes."""
    plain = FORMS[form](make_data((2, 5, 4), [3, 0, 2]))
    for sent in (plain, taught(plain), taught(plain, None)):
        blob = encode(sent, per_class=per_class)
        received = decode(blob)
        assert_the_same(received, sent)
        assert encode(received, per_class=per_class) == blob
        bits = ledger(blob)
        assert sum(bits.components.values()) == 8 * len(blob)
        assert min(bits.components.values()) >= 0
        facts = json.loads(json.dumps(inspect(blob), allow_nan=False))
        assert facts["labels"] == ("hard" if sent.soft_labels is None else "soft")
        assert facts["learning_rate"] == sent.learning_rate
        assert facts["bits"] == sent.describe()["bits"]
        some = decode(blob, classes=[2])
        assert torch.equal(some.samples, sent.samples[3:])
        assert torch.equal(some.targets, sent.targets[3:])
        assert some.learning_rate == sent.learning_rate
        assert np.array_equal(reader.read(blob, {2}).samples, some.samples.numpy())


def assert_the_same(received: DistilledSet, sent: DistilledSet) -> None:
    assert torch.equal(received.samples, sent.samples)
    assert torch.equal(received.targets, sent.targets)
    assert received.learning_rate == sent.learning_rate
    assert received.describe() == sent.describe()


def test_what_forms_take() -> None:
    """In the ledger: floats four bytes a number, soft labels two bytes a logit, one pair for all four."""
    data = make_data((3, 5, 4), [3, 3])
    plain = ledger(encode(on_grid(data, even(2, [-1], [0.75])))).components
    assert plain["side information"] == 8 * (4 + 2 * 3 * 2)
    blob = encode(taught(as_floats(data)))
    bits = ledger(blob).components
    assert 4 * 240 <= bits["samples"] / 8 <= 4 * 240 + 4
    assert bits["labels"] / 8 == 3 + 2 + 2 + 2 * 4 * 2  # counts, and the fields' keys and lengths
    assert bits["side information"] / 8 == 2 * 3 * 2 + 5
    assert bits["container"] < 8 * 48


def test_floats_are_sent_byte_for_byte() -> None:
    data = make_data((4,), [2, 2], dtype="float32")
    sent = as_floats(data)
    odd = [0.0, -0.0, 1e-45, 3.4e38, -1.17549435e-38, 0.1, -0.1, 1.0]
    sent.parameterization.stored.data[:2] = torch.tensor(odd).view(2, 4)
    received = decode(encode(sent))
    assert received.samples.numpy().tobytes() == sent.samples.numpy().tobytes()
    assert reader.read(encode(sent)).samples.tobytes() == sent.samples.numpy().tobytes()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_not_sent(number: float) -> None:
    sent = taught(as_floats(make_data((1, 2, 2), [1, 1])))
    for tensor in (sent.parameterization.stored, sent.soft_labels.logits):
        kept = tensor.data.clone()
        tensor.data[1, 0] = number
        with pytest.raises(ConfigError, match="diverged"):
            encode(sent)
        tensor.data = kept
    for rate in (number, 0.0, -0.1, 1e39, 1e-60):
        sent.learning_rate = rate
        with pytest.raises(ConfigError, match="learning rate"):
            encode(sent)


def test_large_logits_are_sent_as_the_nearest_there_are() -> None:
    sent = taught(make_set(make_data((1, 2, 2), [1, 1])))
    sent.soft_labels.logits.data[0] = torch.tensor([1e9, -1e9])
    received = decode(encode(sent))
    assert received.soft_labels.logits[0].tolist() == [65504, -65504]
    assert torch.equal(received.targets, sent.targets)


@pytest.mark.parametrize("number", KNOWN)
def test_a_known_data_set_costs_few_bytes_besides_its_samples(number: int) -> None:
    spec = KNOWN[number]
    labels = torch.arange(spec.classes).repeat_interleave(2)
    samples = torch.randint(0, 255, (len(labels), *spec.shape), generator=torch.Generator().manual_seed(0))
    blob = encode(make_set(TensorData(spec, samples.to(torch.uint8), labels), 2, 2, 2))
    assert len(blob) - len(message_of(blob).stream) <= 48
    assert ledger(blob).components["samples"] == 8 * len(message_of(blob).stream)
    assert decode(blob).spec == spec


def test_a_set_of_one_stream_has_a_small_container() -> None:
    """The header, the names and lengths of all fields: everything but samples, labels and grid."""
    for data in (make_data((1, 8, 8), [3] * 10), make_data((3, 8, 8), [3, 2, 0]), make_data((30,), [3, 3])):
        with by_coder(2):
            bits = ledger(encode(make_set(data, 3))).components
        assert bits["container"] <= 8 * 48, bits


def test_normalisation_takes_two_bytes_a_feature_where_it_needs_no_more() -> None:
    spec = make_spec((30,), 2, "float32")
    deviation = np.linspace(14, 200, 30).astype(int).astype("<u2") << 7
    std = deviation.view("<f2").astype(float)
    short = replace(spec, mean=tuple(std / 8 * np.arange(-60, 60, 4)), std=tuple(std))
    sizes = {}
    for one in (spec, short):
        data = TensorData(one, torch.zeros(2, 30), torch.arange(2))
        with by_coder(1):
            blob = encode(make_set(data, 1))
        assert decode(blob).spec == one
        assert reader.read(blob).task.mean.tolist() == list(one.mean)
        assert reader.read(blob).task.std.tolist() == list(one.std)
        sizes[one] = ledger(blob).components["side information"] / 8
    assert sizes[spec] == 4 * 30 + 4
    assert sizes[short] <= 2 * (30 + 2) + 4
    assert message_of(blob).task_described.normalisation == b""


@settings(max_examples=60)
@given(
    mean=st.lists(st.floats(-65504, 65504), min_size=3, max_size=3),
    std=st.lists(st.floats(1e-4, 65504), min_size=3, max_size=3),
    eighths=st.booleans(),
)
def test_every_normalisation_comes_back(mean: list[float], std: list[float], eighths: bool) -> None:
    if eighths:
        words = np.array(std, "<f2").view("<u2") & 0xFF80
        std = np.maximum(words, 14 << 7).astype("<u2").view("<f2").astype(float).tolist()
        mean = [round(m * 8 / s) * s / 8 for m, s in zip(mean, std, strict=True)]
    spec = DataSpec("any", (3,), 1, tuple(mean), tuple(std), "float32")
    with by_coder(1):
        blob = encode(make_set(TensorData(spec, torch.zeros(1, 3), torch.zeros(1).long()), 1))
    assert decode(blob).spec == spec


def test_a_data_set_that_only_bears_a_known_name_is_described() -> None:
    spec = replace(KNOWN[1], mean=(0.5,))
    blob = encode(make_set(TensorData(spec, torch.zeros(1, 1, 8, 8), torch.zeros(1).long()), 1))
    assert message_of(blob).WhichOneof("task") == "task_described"
    assert decode(blob).spec.mean == (0.5,)


def test_inspect_tells_what_decoding_gives() -> None:
    digits = load("digits").train
    blob = encode(make_set(digits, 3, 4, 2, "herding"))
    facts = json.loads(json.dumps(inspect(blob)))
    assert facts["dataset"] == "digits"
    assert facts["shape"] == [1, 8, 8]
    assert facts["classes"] == 10
    assert facts["class_counts"] == [3] * 10
    assert (facts["bits"], facts["factor"], facts["recipe"]) == (4, 2, "herding")
    assert facts["coder"] in {name for name, _ in CODERS.values()}
    assert facts["bytes"] == len(blob)
    assert sum(facts["ledger"].values()) == 8 * len(blob)


def test_decoded_samples_look_like_the_data() -> None:
    data = make_data((3, 8, 8), [4, 4])
    received = decode(encode(make_set(data, 4, 8)))
    original = torch.cat([data.samples[index] for index in data.class_indices()])
    assert received.raw().dtype == torch.uint8
    assert float((received.raw().float() - original.float()).abs().mean()) < 1
    assert received[5][1] == 1
    assert torch.equal(received[5][0], received.batch(torch.tensor([5])).samples[0])


def sha256(distilled: DistilledSet) -> str:
    samples = distilled.samples.numpy().astype("<f4").tobytes()
    return hashlib.sha256(samples + bytes(distilled.class_counts())).hexdigest()


def test_golden_blobs() -> None:
    """What version 1 wrote, every later version decodes to the same numbers."""
    expected = json.loads((GOLDEN / "sha256.json").read_text())
    coders = set()
    for name, digest in expected.items():
        blob = (GOLDEN / name).read_bytes()
        assert sha256(decode(blob)) == digest
        assert len(blob) < 2048
        coders.add(inspect(blob)["coder"])
    assert coders == {"none", "entropy network", *(name for name, _ in CODERS.values())}  # none: no samples


def test_golden_labels() -> None:
    """Soft labels, and the learning rate to train with."""
    expected = json.loads((GOLDEN / "labels.json").read_text())
    assert expected
    for name, told in expected.items():
        received, read = (how((GOLDEN / name).read_bytes()) for how in (decode, reader.read))
        assert received.soft_labels.to_bytes() == read.logits.tobytes()
        assert hashlib.sha256(read.logits.tobytes()).hexdigest() == told["sha256"]
        assert received.learning_rate == read.learning_rate == told["learning_rate"]


def test_golden_blobs_under_other_thread_counts() -> None:
    code = f"""
import hashlib, pathlib, torch
from fedbits import decode
torch.set_num_threads(2)
for path in sorted(pathlib.Path({str(GOLDEN)!r}).glob("*.fbits")):
    got = decode(path.read_bytes())
    print(hashlib.sha256(got.samples.numpy().astype("<f4").tobytes() + bytes(got.class_counts())).hexdigest())
"""
    expected = json.loads((GOLDEN / "sha256.json").read_text())
    assert in_fresh_process(code, 2).split() == [expected[name] for name in sorted(expected)]


def test_labels_are_class_major_and_cost_one_number_when_balanced() -> None:
    balanced = encode(make_set(make_data((1, 4, 4), [3] * 20), 3))
    assert list(message_of(balanced).class_counts) == [3]
    assert ledger(balanced).components["labels"] == 8 * 3
    assert decode(balanced).labels.tolist() == [c for c in range(20) for _ in range(3)]
