"""The integer synthesis beside a reference in Python integers, and beside the network that is trained."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fedbits.coding.weights import QuantisedTensor
from fedbits.errors import CorruptError
from fedbits.parameterization.epitome.exact import LARGEST_WEIGHT, SAMPLE_BITS, Dictionary, Synthesis
from fedbits.parameterization.epitome.form import BLOCK_TENSORS, Form
from fedbits.parameterization.epitome.freenet import synthesise

LIMIT = 1 << 24
FORM = Form(tokens=5, width=4, heads=2, blocks=2, sample=(2, 5, 6), cut=(3, 3))


def reference(dictionary: Dictionary, codes: NDArray[np.int64]) -> NDArray[np.object_]:
    """Patches ``[n, J, L]`` by Python integers, straight from the description."""
    form, found = dictionary.form, []
    last = dictionary.patch_tensors()  # of images by the inverse transform: see test_transform.py
    for sample in codes.tolist():
        for patch in range(form.patches):
            coded = _coded(dictionary, sample, patch)
            features = [0] * form.width if form.blocks else coded
            for block in range(form.blocks):
                features = _block(coded, features, dictionary.network[BLOCK_TENSORS * block :])
            found.append(_linear(features, *last, wanted=SAMPLE_BITS))
    return np.array(found, object).reshape(-1, form.patches, form.patch_elements)


def _rescale(value: int, bits: int, wanted: int) -> int:
    if bits > wanted:
        value = (value + (1 << (bits - wanted - 1))) >> (bits - wanted)
    else:
        value <<= wanted - bits
    return max(-LIMIT, min(LIMIT, value))


def _coded(dictionary: Dictionary, sample: list[list[list[int]]], patch: int) -> list[int]:
    form, tokens = dictionary.form, dictionary.tokens.values.tolist()
    part = form.width // form.heads
    found = []
    for column in range(form.width):
        head = column // part
        total = sum(sample[head][k][patch] * tokens[k][column] for k in range(form.tokens))
        found.append(_rescale(total, dictionary.steps[head] + dictionary.tokens.fraction_bits, 12))
    return found


def _linear(values: list[int], weight: QuantisedTensor, bias: QuantisedTensor, wanted: int = 12) -> list[int]:
    sums = [sum(x * w for x, w in zip(values, row, strict=True)) for row in weight.values.tolist()]
    return [
        max(
            -LIMIT,
            min(
                LIMIT,
                _rescale(s, 12 + weight.fraction_bits, wanted) + _rescale(b, bias.fraction_bits, wanted),
            ),
        )
        for s, b in zip(sums, bias.values.tolist(), strict=True)
    ]


def _norm(values: list[int], gain: QuantisedTensor, shift: QuantisedTensor) -> list[int]:
    values = [max(-LIMIT, min(LIMIT, value)) for value in values]
    mean = (2 * sum(values) + len(values)) // (2 * len(values))
    deviation = [value - mean for value in values]
    root = math.isqrt((sum(d * d for d in deviation) // len(values) + 168) << 12)
    unit = [(2 * (d << 18) + root) // (2 * root) for d in deviation]
    found = []
    for value, g, s in zip(unit, gain.values.tolist(), shift.values.tolist(), strict=True):
        scaled = _rescale(value * (g + (1 << gain.fraction_bits)), 12 + gain.fraction_bits, 12)
        found.append(max(-LIMIT, min(LIMIT, scaled + _rescale(s, shift.fraction_bits, 12))))
    return found


def _block(coded: list[int], features: list[int], tensors: tuple[QuantisedTensor, ...]) -> list[int]:
    projected = _linear(coded, *tensors[:2])
    middle = _norm([a + b for a, b in zip(projected, features, strict=True)], *tensors[2:4])
    hidden = [max(0, value) for value in _linear(middle, *tensors[4:6])]
    last = _linear(hidden, *tensors[6:8])
    return _norm([a + b for a, b in zip(last, middle, strict=True)], *tensors[8:10])


def draw(form: Form, seed: int, largest: int = 9, bits: tuple[int, int] = (2, 6)) -> Dictionary:
    """Random integers of at most ``largest`` at steps of ``bits`` fractional bits."""
    draws = np.random.default_rng(seed)

    def tensor(shape: tuple[int, ...]) -> QuantisedTensor:
        values = draws.integers(-largest, largest, shape, np.int64, endpoint=True)
        return QuantisedTensor(values, int(draws.integers(*bits)))

    network = tuple(tensor(shape) for shape in form.network_shapes)
    steps = tuple(int(draws.integers(-2, 6)) for _ in range(form.heads))
    return Dictionary(form, tensor(form.token_shape), steps, network)


def draw_codes(form: Form, n: int, seed: int, largest: int = 7) -> torch.Tensor:
    draws = np.random.default_rng(seed)
    codes = draws.integers(-largest, largest, (n, *form.codes), np.int64, endpoint=True)
    return torch.from_numpy(codes * (draws.random(codes.shape) < 0.4))


def as_patches(form: Form, samples: torch.Tensor) -> NDArray[np.int64]:
    return form.split(samples * 2.0**SAMPLE_BITS).long().numpy()


@pytest.mark.parametrize("blocks", [0, 1, 2])
@pytest.mark.parametrize("largest", [9, 5000])
def test_integers_are_those_of_the_reference(blocks: int, largest: int) -> None:
    form = Form(5, 4, 2, blocks, (2, 6, 6), (3, 3))  # whole patches, so that none is cut
    dictionary, codes = draw(form, blocks, largest), draw_codes(form, 6, seed=1)
    dictionary.check(4)
    made = as_patches(form, Synthesis(dictionary)(codes))
    assert (made == reference(dictionary, codes.numpy())).all()
    assert len(np.unique(made)) > 3  # though most are clamped, where weights are large


def test_the_most_extreme_numbers_are_those_of_the_reference_or_refused() -> None:
    form, refused = Form(3, 4, 1, 1, (1, 2, 2), (2, 2)), 0
    for seed in range(40):
        draws = np.random.default_rng(seed)
        dictionary = draw(form, seed, int(2 ** draws.uniform(1, 23)), bits=(-16, 48))
        try:
            dictionary.check(8)
        except CorruptError:
            refused += 1
            continue
        codes = draw_codes(form, 3, seed, largest=127)
        assert (as_patches(form, Synthesis(dictionary)(codes)) == reference(dictionary, codes.numpy())).all()
    assert 0 < refused < 40


def test_numbers_that_could_make_sums_inexact_are_refused() -> None:
    form = Form(3, 4, 1, 1, (1, 2, 2), (2, 2))
    fine = draw(form, 0)
    fine.check(8)
    network = list(fine.network)
    for place, values, bits in (
        (0, np.full((4, 4), LARGEST_WEIGHT + 1), 3),
        (0, np.full((4, 4), 1 << 26), 3),
        (2, np.zeros(4, np.int64), 31),
        (8, np.zeros(4, np.int64), -1),
    ):
        wrong = (*network[:place], QuantisedTensor(values, bits), *network[place + 1 :])
        with pytest.raises(CorruptError):
            Dictionary(form, fine.tokens, fine.steps, wrong).check(8)
    with pytest.raises(CorruptError):
        Dictionary(form, QuantisedTensor(np.full((3, 4), 1 << 24), 3), fine.steps, fine.network).check(8)


def test_batches_and_threads_change_nothing() -> None:
    dictionary, codes = draw(FORM, 3), draw_codes(FORM, 30, seed=3)
    synthesis, threads = Synthesis(dictionary), torch.get_num_threads()
    whole = synthesis(codes)
    assert torch.equal(whole, torch.cat([synthesis(one[None]) for one in codes]))
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            assert torch.equal(whole, synthesis(codes))
    finally:
        torch.set_num_threads(threads)


def test_the_network_that_is_trained_agrees() -> None:
    dictionary, codes = draw(FORM, 4, largest=7, bits=(3, 5)), draw_codes(FORM, 20, seed=4)
    floats = [torch.from_numpy(t.floats()).float() for t in (dictionary.tokens, *dictionary.network)]
    steps = torch.tensor([2.0**-bits for bits in dictionary.steps])[:, None, None]
    trained = FORM.join(synthesise(FORM, floats[0], codes * steps, floats[1:]))
    made = Synthesis(dictionary)(codes)
    assert made.std() > 0.5
    assert (made - trained).abs().max() < 0.02
