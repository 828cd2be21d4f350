"""The promise of the budget, and how a budget is read."""

from __future__ import annotations

import re
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import make_data, tiny_recipe

from fedbits.budget import Budget, Ledger
from fedbits.container import decode, encode
from fedbits.data import TensorData, load
from fedbits.data.known import KNOWN
from fedbits.distill import distill
from fedbits.distilled_set import DistilledSet
from fedbits.errors import BudgetError
from fedbits.parameterization.latent import fitting
from fedbits.plan import latent as latent_plan
from fedbits.recipe import Recipe

pytestmark = pytest.mark.usefixtures("quick_latents")
DIGITS, FEATURES = KNOWN[1], make_data((7,), [2, 2]).spec


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10KiB", Budget(10240)),
        ("64 KiB", Budget(65536)),
        ("1KiB/class", Budget(1024, "bytes/class")),
        (" 4096 B ", Budget(4096)),
        ("1.5kb / class", Budget(1500, "bytes/class")),
        ("2MB", Budget(2e6)),
        ("8192 bits/class", Budget(8192, "bits/class")),
        ("8192 bits", Budget(1024)),
        ("0.5bpp", Budget(0.5, "bpp")),
    ],
)
def test_read(text: str, expected: Budget) -> None:
    assert Budget.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "KiB", "10", "-1KiB", "0B", "1e3B", "10 GiBs", "5bpp/class", "1KiB/image", "nan B", "1KiB 2"]
)
def test_unreadable(text: str) -> None:
    with pytest.raises(BudgetError, match=re.escape(repr(text))):
        Budget.parse(text)


def test_bytes_of_a_budget() -> None:
    assert Budget.parse("1KiB/class").bytes(DIGITS, 10) == 10240
    assert Budget.parse("1KiB/class").bytes(DIGITS, 3) == 3072
    assert Budget.parse("100bits/class").bytes(DIGITS, 10) == 125
    assert Budget.parse("0.5bpp").bytes(DIGITS, 10, 20) == 20 * 64 // 16
    assert Budget.parse("2bpp").bytes(FEATURES, 2, 4) == 7
    with pytest.raises(BudgetError, match="--ipc"):
        Budget.parse("0.5bpp").bytes(DIGITS, 10)


def test_ledger_counts_per_class() -> None:
    assert Ledger({"samples": 90, "container": 10}, 5).bits_per_class == 20
    assert Ledger({}, 0).bits_per_class == 0


def holds(
    data: TensorData, recipe: Recipe, budget: int, seed: int = 0, unit: str = "bytes"
) -> DistilledSet | None:
    """Distil within ``budget``; the smallest budget that an error names must do. What fitted, or None."""
    try:
        distilled = distill(data, recipe, Budget(budget, unit), seed=seed)  # type: ignore[arg-type]
    except BudgetError as error:
        named = re.search(r"the smallest that would do is ([\d,]+) bytes", str(error))
        assert named, str(error)
        smallest = int(named[1].replace(",", ""))
        assert len(encode(distill(data, recipe, Budget(smallest), seed=seed))) <= smallest
        return None
    present = sum(count > 0 for count in data.class_counts())
    limit = budget * present if unit == "bytes/class" else budget
    blob = encode(distilled)
    received = decode(blob)
    assert len(blob) <= limit
    assert torch.equal(received.samples, distilled.samples)
    assert [count > 0 for count in distilled.class_counts()] == [count > 0 for count in data.class_counts()]
    everything = all(
        kept >= count for kept, count in zip(distilled.class_counts(), data.class_counts(), strict=True)
    )
    assert len(blob) >= 0.95 * limit or everything or recipe.ipc is not None
    return distilled


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(["random", "herding", "quadd", "ptq"]),
    shape=st.sampled_from([(1, 8, 8), (3, 8, 8), (1, 7, 5), (12,), (1, 1, 30)]),
    counts=st.lists(st.sampled_from([0, 1, 3, 12, 60]), min_size=1, max_size=4).filter(any),
    dtype=st.sampled_from(["uint8", "float32"]),
    budget=st.integers(30, 3000),
    seed=st.integers(0, 3),
    bits=st.sampled_from([None, None, None, 1, 2, 3, 5, 8]),
    ipc=st.sampled_from([None, None, None, 1, 3]),
    factor=st.sampled_from([None, None, 1, 2]),
)
def test_the_promise_of_the_budget(
    name: str,
    shape: tuple[int, ...],
    counts: list[int],
    dtype: str,
    budget: int,
    seed: int,
    bits: int | None,
    ipc: int | None,
    factor: int | None,
) -> None:
    data = make_data(shape, counts, seed, dtype)
    holds(data, tiny_recipe(name, bits=bits, ipc=ipc, factor=factor), budget, seed)


@settings(max_examples=4, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=st.sampled_from([(1, 8, 8), (3, 8, 8), (1, 7, 5), (12,), (1, 1, 30)]),
    counts=st.lists(st.sampled_from([0, 1, 3, 12, 60]), min_size=1, max_size=4).filter(any),
    dtype=st.sampled_from(["uint8", "float32"]),
    budget=st.integers(100, 3000),
    seed=st.integers(0, 3),
    ipc=st.sampled_from([None, None, None, 1, 3]),
)
def test_the_promise_of_the_budget_in_latents(
    shape: tuple[int, ...], counts: list[int], dtype: str, budget: int, seed: int, ipc: int | None
) -> None:
    data = make_data(shape, counts, seed, dtype)
    quick = mock.patch.object(latent_plan, "_FIT_STEPS", 5), mock.patch.object(fitting, "_LATENT_STEPS", 5)
    with quick[0], quick[1]:
        holds(data, tiny_recipe("ruo", ipc=ipc), budget, seed)


@pytest.mark.parametrize("name", ["random", "herding", "quadd"])
@pytest.mark.parametrize("budget", [60, 100, 300])
def test_digits_fill_their_budget(name: str, budget: int) -> None:
    digits = load("digits").train
    distilled = holds(digits, tiny_recipe(name), budget, unit="bytes/class")
    assert distilled is not None
    assert max(distilled.class_counts()) - min(distilled.class_counts()) <= 1


@pytest.mark.parametrize("name", ["random", "quadd"])
def test_flat_samples_of_one_value(name: str) -> None:
    data = make_data((5,), [20, 20])
    data = TensorData(data.spec, torch.full_like(data.samples, 9), data.labels)
    assert holds(data, tiny_recipe(name), 100) is not None


def test_a_budget_that_holds_all_data_keeps_all_data() -> None:
    distilled = holds(make_data((1, 8, 8), [5, 7]), tiny_recipe("random"), 100_000)
    assert distilled is not None
    assert distilled.class_counts() == [5, 7]
    assert distilled.describe()["bits"] == 8


def test_a_budget_too_small_names_one_that_does() -> None:
    assert holds(make_data((1, 8, 8), [3]), tiny_recipe("random", ipc=1, bits=5), 30) is None
    assert holds(make_data((1, 8, 8), [50] * 4), tiny_recipe("random"), 20) is None
    assert holds(make_data((1, 8, 8), [50] * 4), tiny_recipe("random", ipc=10, bits=4), 45) is None


def test_without_a_budget_the_number_of_samples_decides() -> None:
    data = make_data((1, 8, 8), [50, 4])
    assert distill(data, tiny_recipe("random"), None).class_counts() == [10, 4]
    assert distill(data, tiny_recipe("random", ipc=3), None).class_counts() == [3, 3]


def test_bits_and_factor_as_told() -> None:
    data = make_data((1, 8, 8), [50, 50])
    for bits, factor in ((1, 1), (6, 1), (3, 2)):
        distilled = holds(data, tiny_recipe("random", bits=bits, factor=factor), 400)
        assert distilled is not None
        facts = distilled.describe()
        assert (facts["bits"], facts["factor"]) == (bits, factor)


def test_bits_per_pixel() -> None:
    distilled = distill(make_data((1, 8, 8), [50] * 4), tiny_recipe("random", ipc=8), Budget.parse("1.5bpp"))
    assert distilled.class_counts() == [8] * 4
    assert len(encode(distilled)) <= 1.5 * 32 * 64 / 8
