"""AlexNet, VGG-11, ResNet-18 and ViT as evaluation across architectures takes them."""

from __future__ import annotations

import pytest
import torch
from fresh import in_fresh_process
from making import make_spec
from torch import nn

from fedbits import networks
from fedbits.errors import ConfigError
from fedbits.networks import initialise
from fedbits.networks.published import PUBLISHED

NAMES = sorted(PUBLISHED)
SHAPES = [(1, 28, 28), (3, 32, 32), (3, 64, 64)]
SMALL = [(1, 4, 4), (1, 8, 8), (2, 9, 7), (1, 5, 16)]


def noise(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES + SMALL)
def test_logits_are_those_of_the_classifier_and_tell_samples_apart(name: str, shape: tuple[int, ...]) -> None:
    network = networks.build(name, make_spec(shape, 7)).requires_grad_(False)
    features = network.features(noise(shape))
    logits = network(noise(shape))  # in training mode, twice: nothing drops out
    assert logits.shape == (2, 7)
    assert torch.equal(network.classifier(features), logits)
    assert bool(logits.isfinite().all())
    assert (logits[0] - logits[1]).abs().mean() > 1e-3  # not lost in an instance norm of one pixel


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("alexnet", 1_874_122), ("vgg11", 9_231_114), ("resnet18", 11_173_962), ("vit", 9_532_938)],
)
def test_parameters_at_32_pixels(name: str, parameters: int) -> None:
    """VGG-11 and ResNet-18 for CIFAR as widely published; AlexNet as in DC (1,872,202) and its norms."""
    network = networks.build(name, make_spec((3, 32, 32), 10), 64)  # a width that changes nothing
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert not list(network.buffers())
    assert not networks.has_width(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_every_weight_and_nothing_else_does(name: str) -> None:
    before = torch.get_rng_state()
    first, again, other = (networks.build(name, make_spec((1, 8, 8)), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    for (key, mine), same in zip(first.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, same), key
        assert bool(mine.isfinite().all()), key
        assert mine.abs().max() <= 1, key
    drawn = [key for key, mine in first.named_parameters() if mine.std() > 0]
    weights = [dict(network.named_parameters()) for network in (first, other)]
    assert len(drawn) >= 6
    assert not any(torch.equal(weights[0][key], weights[1][key]) for key in drawn)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter_and_the_samples(name: str) -> None:
    network = networks.build(name, make_spec((1, 8, 8), 5)).train()
    samples = noise((1, 8, 8)).requires_grad_()
    before = torch.get_rng_state()
    nn.functional.cross_entropy(network(samples), torch.tensor([0, 3])).backward()
    assert torch.equal(torch.get_rng_state(), before)
    assert samples.grad is not None and samples.grad.abs().sum() > 0
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), key
        if not key.endswith("in_proj_bias"):  # keys' biases cancel in the softmax of attention
            assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("shape", "message"), [((64,), "are flat: use mlp"), ((1, 1, 64), "sides of at least 4.*use mlp")]
)
def test_what_they_refuse(name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*{message}"):
        networks.build(name, make_spec(shape))


def test_the_resolution_decides_what_is_halved() -> None:
    def stem(side: int) -> tuple[int, type]:
        body = networks.build("resnet18", make_spec((3, side, side))).body
        return body.conv1.stride[0], type(body.maxpool)

    assert stem(32) == stem(64) == (1, nn.Identity)
    assert stem(128) == (2, nn.MaxPool2d)
    strides = [
        networks.build("resnet18", make_spec((1, 8, 8))).body.get_submodule(f"layer{i}.0") for i in (3, 4)
    ]
    assert [block.conv1.stride for block in strides] == [(2, 2), (1, 1)]
    for side, patch in ((8, 1), (28, 4), (32, 4), (64, 8), (128, 16)):
        transformer = networks.build("vit", make_spec((1, side, side))).body.transformer
        assert transformer.conv_proj.kernel_size == (patch, patch)


def test_attention_starts_as_torch_and_torchvision_have_it() -> None:
    transformer = networks.build("vit", make_spec((1, 28, 28))).body.transformer
    attention = transformer.encoder.layers[0].self_attention
    bound = (6 / (4 * 512)) ** 0.5  # Xavier's, for 512 inputs and 3 · 512 outputs
    assert attention.in_proj_weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert attention.out_proj.weight.abs().max().item() == pytest.approx(512**-0.5, rel=1e-3)
    assert not attention.in_proj_bias.any() and not attention.out_proj.bias.any()
    assert not transformer.class_token.any()
    assert transformer.encoder.pos_embedding.std().item() == pytest.approx(0.02, rel=0.05)


def test_batch_norms_start_without_having_seen_anything() -> None:
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.fill_(7)
    initialise(norm, 0)
    values = [tensor.tolist() for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]
    assert values == [[1] * 3, [0] * 3, [0] * 3, [1] * 3]


def test_a_module_without_a_rule_is_refused() -> None:
    with pytest.raises(TypeError, match="no rule for the start of parameter 'weight' of Bilinear"):
        initialise(nn.Sequential(nn.Bilinear(2, 2, 2)), 0)
    unknown = nn.Module()
    unknown.register_buffer("table", torch.zeros(2))
    with pytest.raises(TypeError, match="buffer 'table'"):
        initialise(unknown, 0)


def test_torchvision_is_loaded_by_those_who_need_it() -> None:
    code = """
import sys
from fedbits import networks
from fedbits.data.known import KNOWN
networks.build("convnet", KNOWN[4]), networks.build("alexnet", KNOWN[4])
print("torchvision" in sys.modules)"""
    assert in_fresh_process(code) == "False"
