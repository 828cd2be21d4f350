"""FReeNet beside Eqs. 2–4 written out for one patch, and patches beside the samples they come from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from making import make_spec

from fedbits.parameterization.epitome.form import Form
from fedbits.parameterization.epitome.freenet import as_pixels, initial_network, synthesise
from fedbits.parameterization.transform import inverse


def made(blocks: int) -> tuple[Form, torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    form, draws = Form(5, 6, 2, blocks, (2, 4, 6), (2, 3)), torch.Generator().manual_seed(0)
    network = [0.3 * torch.randn(tensor.shape, generator=draws) for tensor in initial_network(form, draws)]
    tokens = torch.randn(form.token_shape, generator=draws)
    return form, tokens, torch.randn((3, *form.codes), generator=draws), network


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_patch_is_what_the_equations_say(blocks: int) -> None:
    form, tokens, codes, network = made(blocks)
    sample, patch = 2, 3
    coded = torch.cat(
        [tokens[:, 3 * h : 3 * h + 3].T @ codes[sample, h, :, patch] for h in range(2)]
    )  # E^h A^h
    state = torch.zeros(6)
    for block in range(blocks):
        w, b, g1, s1, w1, b1, w2, b2, g2, s2 = network[10 * block : 10 * block + 10]
        middle = F.layer_norm(w @ coded + b + state, (6,), 1 + g1, s1)
        state = F.layer_norm(w2 @ torch.relu(w1 @ middle + b1) + b2 + middle, (6,), 1 + g2, s2)
    expected = as_pixels(form, network[-2]) @ state + as_pixels(form, network[-1])
    assert torch.allclose(synthesise(form, tokens, codes, network)[sample, patch], expected, atol=1e-5)


def test_without_blocks_patches_are_linear_in_codes() -> None:
    form, tokens, codes, network = made(0)
    bias = synthesise(form, tokens, torch.zeros_like(codes), network)
    whole, half = (synthesise(form, tokens, share * codes, network) - bias for share in (1.0, 0.5))
    assert torch.allclose(half, whole / 2, atol=1e-5)
    assert whole.std() > 0.1


def test_what_makes_patches_is_stored_as_its_transform() -> None:
    form, _, _, network = made(1)
    pixels = as_pixels(form, network[-1]).reshape(2, 2, 3)
    assert torch.allclose(pixels, inverse(network[-1].double().reshape(2, 2, 3)).float(), atol=1e-3)
    flat = Form(5, 6, 2, 1, (1, 1, 9), (1, 3))
    assert as_pixels(flat, network[0]) is network[0]


@pytest.mark.parametrize(("shape", "patch"), [((3, 7, 10), 4), ((1, 8, 8), 8), ((2, 5, 5), 9), ((23,), 5)])
def test_patches_cover_samples_of_any_size(shape: tuple[int, ...], patch: int) -> None:
    spec = make_spec(shape)
    form = Form.of(spec, 4, 4, 1, 1, patch)
    samples = torch.randn(3, *shape)
    patches = form.split(samples)
    assert patches.shape == (3, form.patches, form.patch_elements)
    assert torch.equal(form.join(patches).reshape(3, *shape), samples)
    assert form.parameters == 4 * 4 + 3 * 16 + 7 * 4 + form.patch_elements * 5
    assert patches.min() >= samples.min()  # what sticks out repeats the border


def test_a_patch_is_a_square_of_the_image() -> None:
    spec = make_spec((2, 4, 6))
    samples = torch.arange(48.0).reshape(1, 2, 4, 6)
    patches = Form.of(spec, 4, 4, 1, 1, 2).split(samples)
    assert torch.equal(patches[0, 4].reshape(2, 2, 2), samples[0, :, 2:4, 2:4])
