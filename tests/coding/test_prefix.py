"""Codes along a Huffman tree: they are prefix codes, as short as they can be, and come back."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbits.coding.prefix import PrefixCode, PrefixTree
from fedbits.coding.range_coder import Meter, RangeReader, RangeWriter
from fedbits.coding.tree import hashed

weights = st.lists(st.integers(1, 1 << 31), min_size=2, max_size=60)


def written(code, place):
    return format(code.codes[place], f"0{code.lengths[place]}b")


@given(weights)
def test_no_code_starts_another_and_none_is_wasted(given_weights):
    code = PrefixCode(np.array(given_weights))
    words = sorted(written(code, place) for place in range(len(given_weights)))
    assert not any(after.startswith(before) for before, after in pairwise(words))
    assert sum(2 ** (code.depth - len(word)) for word in words) == 2**code.depth


@given(weights)
def test_mean_length_is_within_a_bit_of_the_entropy(given_weights):
    shares = np.array(given_weights) / sum(given_weights)
    mean = float((shares * PrefixCode(np.array(given_weights)).lengths).sum())
    entropy = float(-(shares * np.log2(shares)).sum())
    assert entropy - 1e-9 <= mean < entropy + 1


def test_powers_of_two_have_codes_as_long_as_their_logarithms():
    code = PrefixCode(np.array([1, 8, 1, 4, 2]))
    assert code.lengths.tolist() == [4, 1, 4, 2, 3]
    assert [written(code, place) for place in range(5)] == ["1110", "0", "1111", "10", "110"]


def coded(coder, code, symbols, contexts):
    tree = PrefixTree(code, 2, 3, len(contexts))
    found = []
    for start in range(0, len(contexts), 50):
        part = contexts[start : start + 50]
        known = None if symbols is None else symbols[start : start + 50]
        hashes = hashed([np.zeros_like(part), part], 0)
        found.append(tree.code(coder, hashes, part % 3, known))
    return np.concatenate(found)


@pytest.fixture
def drawn():
    generator = np.random.default_rng(1)
    contexts = generator.integers(0, 6, 2000)
    return PrefixCode(np.arange(1, 301)), (contexts * 50 + generator.integers(0, 4, 2000)) % 300, contexts


def test_symbols_come_back(drawn):
    code, symbols, contexts = drawn
    writer = RangeWriter()
    coded(writer, code, symbols, contexts)
    assert np.array_equal(coded(RangeReader(writer.bytes()), code, None, contexts), symbols)


def test_what_contexts_tell_is_not_paid_for(drawn):
    code, symbols, contexts = drawn
    meter = Meter()
    coded(meter, code, symbols, contexts)
    assert meter.bits < 3.2 * len(symbols)  # two bits each are new; the code alone has eight


def test_any_stream_gives_symbols_that_exist(drawn):
    code, _, contexts = drawn
    found = coded(RangeReader(bytes(range(256)) * 20), code, None, contexts)
    assert found.min() >= 0
    assert found.max() < 300
