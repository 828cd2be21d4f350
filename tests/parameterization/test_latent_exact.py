"""The integer synthesis and prediction beside references in Python integers, and beside what is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fedbits.coding.weights import QuantisedTensor
from fedbits.errors import CorruptError
from fedbits.parameterization.fixed_point import LARGEST_WEIGHT, SAMPLE_BITS
from fedbits.parameterization.latent.exact import Synthesis, SynthesisTensors
from fedbits.parameterization.latent.form import Context, Form, bilinear, interpolation, spread
from fedbits.parameterization.latent.prediction import Predictor, bits_of
from fedbits.parameterization.latent.synthesis import Floating, synthesise

LIMIT, ONE = 1 << 24, 1 << 12


def form_of(synthesis: str, scales: tuple[int, ...] = (4, 2, 2), **settings: Any) -> Form:
    usual: dict[str, Any] = {
        "sample": (2, 5, 6),
        "group_classes": 3,
        "groups": 1,
        "hidden": 4,
        "convolutions": 1,
        "upsampling": "dyadic",
        "class_means": True,
        "context": Context(8, True, 5, 1, 2),
    }
    return Form(scales=scales, synthesis=synthesis, **{**usual, **settings})  # type: ignore[arg-type]


FORMS = [
    form_of("stacked"),
    form_of("stacked", (3, 2), upsampling="learned"),
    form_of("pyramid"),
    form_of("pyramid", (6, 6, 3, 1), convolutions=0),
    form_of("pyramid", (6, 6), class_means=False),
    form_of("pyramid", (4, 2), sample=(1, 1, 9)),
]


def draw(
    shapes: list[tuple[int, ...]], seed: int, largest: int, bits: tuple[int, int]
) -> list[QuantisedTensor]:
    draws = np.random.default_rng(seed)
    return [
        QuantisedTensor(
            draws.integers(-largest, largest, shape, np.int64, endpoint=True), int(draws.integers(*bits))
        )
        for shape in shapes
    ]


def networks(form: Form, seed: int, largest: int = 9, bits: tuple[int, int] = (2, 6)) -> SynthesisTensors:
    return SynthesisTensors.of(form, draw(form.synthesis_shapes, seed, largest, bits))


def draw_latents(form: Form, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draws = np.random.default_rng(seed)
    latents = draws.integers(-5, 5, (n, form.latents), np.int64, endpoint=True)
    return torch.from_numpy(latents), torch.from_numpy(draws.integers(0, form.group_classes, n))


def _limited(value: int) -> int:
    return max(-LIMIT, min(LIMIT, value))


def _rescale(value: int, bits: int, wanted: int) -> int:
    if bits > wanted:
        return _limited((value + (1 << (bits - wanted - 1))) >> (bits - wanted))
    return _limited(value << (wanted - bits))


Map = list[list[list[int]]]  # channels, rows, columns


def _convolved(values: Map, weight: QuantisedTensor, bias: QuantisedTensor) -> Map:
    height, width = len(values[0]), len(values[0][0])
    outputs, inputs, high, wide = weight.values.shape
    numbers, found = weight.values.tolist(), []
    for o in range(outputs):
        offset = _rescale(int(bias.values[o]), bias.fraction_bits, 12)
        rows = []
        for y in range(height):
            row = []
            for x in range(width):
                total = 0
                for i in range(inputs):
                    for a in range(high):
                        for b in range(wide):
                            down, right = y + a - high // 2, x + b - wide // 2
                            if 0 <= down < height and 0 <= right < width:
                                total += values[i][down][right] * numbers[o][i][a][b]
                row.append(_limited(_rescale(total, 12 + weight.fraction_bits, 12) + offset))
            rows.append(row)
        found.append(rows)
    return found


def _upsampled(values: Map, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Map:
    found = []
    for channel in values:
        exact = rows.astype(object) @ np.array(channel, object) @ columns.T.astype(object)
        found.append([[_rescale(int(v), 28, 12) for v in row] for row in exact])
    return found


def _relu(values: Map) -> Map:
    return [[[max(0, v) for v in row] for row in channel] for channel in values]


def _sum(left: Map, right: Map) -> Map:
    return [
        [[_limited(a + b) for a, b in zip(*rows, strict=True)] for rows in zip(*channels, strict=True)]
        for channels in zip(left, right, strict=True)
    ]


def _bilinear_to(form: Form, values: Map, coarse: int, fine: int) -> Map:
    if coarse == fine:
        return values
    cells, sizes = (len(values[0]), len(values[0][0])), form.at(fine)
    matrices = [interpolation(coarse, fine, *pair) for pair in zip(cells, sizes, strict=True)]
    return _upsampled(values, *matrices)


def reference(tensors: SynthesisTensors, latents: list[int], label: int) -> NDArray[np.object_]:
    """One sample's integers, straight from the description."""
    form, layers, start, grids = tensors.form, tensors.used_layers(), 0, []
    for grid, (height, width) in enumerate(form.sides):
        values = [_limited(v * ONE) for v in latents[start : start + height * width]]
        if tensors.means:
            mean = tensors.means[grid]
            values = [
                _limited(v + _rescale(int(m), mean.fraction_bits, 12))
                for v, m in zip(values, mean.values[label], strict=True)
            ]
        grids.append([values[y * width : (y + 1) * width] for y in range(height)])
        start += height * width
    pairs = [(layers[i], layers[i + 1]) for i in range(0, len(layers), 2)]
    made = _stacked(tensors, grids, pairs) if form.synthesis == "stacked" else _pyramid(form, grids, pairs)
    return np.array([[[_rescale(v, 12, SAMPLE_BITS) for v in row] for row in c] for c in made], object)


def _stacked(tensors: SynthesisTensors, grids: list[list[list[int]]], pairs: list[Any]) -> Map:
    form, whole = tensors.form, []
    for number, (grid, factor) in enumerate(zip(grids, form.scales, strict=True)):
        if tensors.kernels:
            kernel = tensors.kernels[number]
            entries = np.array(
                [max(-4096, min(4096, _rescale(int(v), kernel.fraction_bits, 8))) for v in kernel.values]
            )
            cells = (len(grid), len(grid[0]))
            matrices = [
                spread(factor, *sizes) @ entries for sizes in zip(cells, form.sample[1:], strict=True)
            ]
            whole += _upsampled([grid], *matrices)
        else:
            whole += _bilinear_to(form, [grid], factor, 1)
    features = _convolved(_relu(_convolved(whole, *pairs[0])), *pairs[1])
    for pair in pairs[2:]:
        features = _sum(features, _convolved(_relu(features), *pair))
    return features


def _pyramid(form: Form, grids: list[list[list[int]]], pairs: list[Any]) -> Map:
    carried: Map = []
    rest, before = iter(pairs), form.scales[0]
    for place, (factor, numbers) in enumerate(form.levels):
        carried = _bilinear_to(form, carried, before, factor) if carried else []
        carried = _convolved([*carried, *(grids[n] for n in numbers)], *next(rest))
        before = factor
        if form.dense and not place:
            before = form.factors[1]
            carried = np.array(carried, object).reshape(form.hidden, *form.at(before)).tolist()
        else:
            carried = _relu(carried)
        for _ in range(form.convolutions):
            carried = _sum(carried, _relu(_convolved(carried, *next(rest))))
    return _convolved(_bilinear_to(form, carried, before, 1), *next(rest))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("largest", [9, 3000])
def test_integers_are_those_of_the_reference(form: Form, largest: int) -> None:
    tensors, (latents, classes) = networks(form, 1, largest), draw_latents(form, 3, seed=2)
    tensors.check()
    made = (Synthesis(tensors)(latents, classes) * 2.0**SAMPLE_BITS).long().numpy()
    wanted = [reference(tensors, *pair) for pair in zip(latents.tolist(), classes.tolist(), strict=True)]
    assert (made == np.stack(wanted)).all()
    assert largest > 9 or len(np.unique(made)) > 20  # most are clamped where weights are large


def test_the_most_extreme_numbers_are_those_of_the_reference_or_refused() -> None:
    form, refused = form_of("pyramid", (3, 1), sample=(1, 2, 3), hidden=2), 0
    for seed in range(40):
        largest = int(2 ** np.random.default_rng(seed).uniform(1, 25))
        tensors = networks(form, seed, largest, bits=(-16, 48))
        try:
            tensors.check()
        except CorruptError:
            refused += 1
            continue
        latents, classes = draw_latents(form, 2, seed)
        made = (Synthesis(tensors)(25 * latents, classes) * 2.0**SAMPLE_BITS).long().numpy()
        for sample, row, label in zip(made, (25 * latents).tolist(), classes.tolist(), strict=True):
            assert (sample == reference(tensors, row, label)).all()
    assert 0 < refused < 40


def test_numbers_that_could_make_sums_inexact_are_refused() -> None:
    form = form_of("pyramid")
    fine = networks(form, 0)
    for values in (np.full((4, 1, 3, 3), LARGEST_WEIGHT + 1), np.full((4, 1, 3, 3), 1 << 25)):
        wrong = (QuantisedTensor(values, 3), *fine.layers[1:])
        with pytest.raises(CorruptError):
            SynthesisTensors(form, fine.means, fine.kernels, wrong).check()
    rows = QuantisedTensor(np.full((4, 64, 3, 3), LARGEST_WEIGHT), 3)
    with pytest.raises(CorruptError, match="exact"):
        SynthesisTensors(form, (), (), (rows, fine.layers[1])).check()


@pytest.mark.parametrize("form", FORMS)
def test_batches_and_threads_change_nothing(form: Form) -> None:
    tensors, (latents, classes) = networks(form, 3), draw_latents(form, 30, seed=3)
    synthesis, threads = Synthesis(tensors), torch.get_num_threads()
    whole = synthesis(latents, classes)
    one_by_one = [synthesis(latents[i : i + 1], classes[i : i + 1]) for i in range(30)]
    assert torch.equal(whole, torch.cat(one_by_one))
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            assert torch.equal(whole, synthesis(latents, classes))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("form", FORMS)
def test_the_network_that_is_trained_agrees(form: Form) -> None:
    tensors, (latents, classes) = networks(form, 4, 7, (3, 5)), draw_latents(form, 20, seed=4)

    def floats(some: tuple[QuantisedTensor, ...]) -> list[torch.Tensor]:
        return [torch.from_numpy(t.floats()).float() for t in some]

    values = latents.float()
    if tensors.means:
        values = values + torch.cat(floats(tensors.means), dim=1)[classes]
    trained = synthesise(form, Floating(form, floats(tensors.kernels), floats(tensors.layers)), values)
    made = Synthesis(tensors)(latents, classes)
    assert made.std() > 0.1
    assert (made - trained).abs().max() < 0.03


def test_kernels_interpolate() -> None:
    for factor, cells, size in ((2, 7, 14), (3, 4, 12), (4, 2, 7), (7, 4, 28)):
        by_kernel = spread(factor, cells, size) @ bilinear(factor)
        fixed = interpolation(factor, 1, cells, size)
        assert (fixed.sum(1) == 256).all()
        assert abs(by_kernel - fixed).max() <= 1
        ramp = torch.arange(cells).float()[None, None]
        wanted = torch.nn.functional.interpolate(ramp, scale_factor=factor, mode="linear")[0, 0, :size]
        assert np.abs(fixed @ np.arange(cells) / 256 - wanted.numpy()).max() < 0.02 * cells


def predictor_of(form: Form, seed: int) -> tuple[Predictor, list[QuantisedTensor], list[QuantisedTensor]]:
    network = draw(form.entropy_shapes, seed, 60, (8, 9))
    means = draw(form.mean_shapes, seed, 9, (2, 4))
    return Predictor.of(form, network, means, 5), network, means


def test_every_latent_sees_only_what_was_coded_before() -> None:
    for form in FORMS:
        place = np.arange(form.latents)[:, None]
        assert ((form.around < place) | (form.around == form.latents)).all()
        assert form.inputs == form.around.shape[1] + form.places.shape[1] + form.class_means


@pytest.mark.parametrize("form", FORMS)
def test_prediction_that_is_trained_agrees(form: Form) -> None:
    predictor, network, means = predictor_of(form, 5)
    latents, classes = draw_latents(form, 40, seed=5)
    floats = [torch.from_numpy(t.floats()).float() for t in network]
    known = torch.cat([torch.from_numpy(m.floats()).float() for m in means], 1)[classes] if means else None
    estimate = bits_of(form, floats, latents.float(), known)
    grid = np.concatenate([latents.numpy().T, np.zeros((1, 40), np.int64)])
    exact = np.zeros((form.latents, 40))
    for place in range(form.latents):
        seen = grid.copy()
        seen[place:] = 0  # what comes later is unknown
        expected = predictor.expect(seen, place, classes.numpy())
        symbols = grid[place] + 5
        likely = (expected.up_to(symbols) - expected.up_to(symbols - 1)) / 2**32
        exact[place] = -np.log2(likely + 2.0**-16)
    inner = (latents.abs() < 5).numpy().T  # the outermost symbols stand for all beyond, too
    assert abs(exact - estimate.numpy().T)[inner].max() < 0.7
    assert exact[inner].sum() == pytest.approx(float(estimate.numpy().T[inner].sum()), rel=0.02)
