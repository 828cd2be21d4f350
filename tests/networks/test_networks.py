"""Networks by name: their size, their start, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from making import make_spec

from fedbits import networks
from fedbits.data import DataSpec
from fedbits.data.known import KNOWN
from fedbits.errors import ConfigError
from fedbits.networks.convnet import ConvNet, depth_for

CIFAR10 = KNOWN[4]


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_convnet_of_the_papers() -> None:
    assert parameters(networks.build("convnet", CIFAR10, 128)) == 320_010
    assert parameters(networks.build("convnet", CIFAR10)) == 320_010


@pytest.mark.parametrize(
    ("side", "depth"), [(2, 1), (4, 2), (7, 2), (8, 2), (16, 2), (28, 3), (32, 3), (64, 4), (128, 5)]
)
def test_depth_follows_resolution(side: int, depth: int) -> None:
    assert depth_for(side, side) == depth
    assert depth_for(side, 4 * side) == depth


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 8, 8), (1, 7, 5), (2, 2, 2), (1, 28, 28), (1, 5, 64)])
def test_convnets_give_logits_from_features(shape: tuple[int, ...]) -> None:
    network = networks.build("convnet", make_spec(shape, 5), 8)
    samples = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    logits = network(samples)
    assert logits.shape == (3, 5)
    assert torch.allclose(network.classifier(network.features(samples)), logits)
    assert bool(logits.isfinite().all())


@pytest.mark.parametrize("shape", [(9,), (1,), (1, 1, 9), (3, 8, 8)])
def test_mlps_take_samples_of_any_shape(shape: tuple[int, ...]) -> None:
    network = networks.build("mlp", make_spec(shape, 4), 16)
    samples = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    assert network(samples).shape == (3, 4)
    assert network.features(samples).shape == (3, 16)


@pytest.mark.parametrize(
    ("shape", "name"), [((3, 32, 32), "convnet"), ((1, 4, 4), "convnet"), ((1, 3, 9), "mlp"), ((8,), "mlp")]
)
def test_the_default_network(shape: tuple[int, ...], name: str) -> None:
    assert networks.default_network(make_spec(shape)) == name


def test_the_network_of_beams() -> None:
    beams = KNOWN[6]
    assert networks.default_network(beams) == "beamcnn"
    assert parameters(networks.build("beamcnn", beams, 64)) == 337_088
    network = networks.build("beamcnn", beams, 8)
    samples = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert network.features(samples).shape == (3, 512)
    assert torch.allclose(network.classifier(network.features(samples)), network(samples))
    with pytest.raises(ConfigError, match="flat"):
        networks.build("beamcnn", make_spec((64,)))


@pytest.mark.parametrize("name", ["convnet", "mlp"])
def test_the_seed_decides_the_weights(name: str) -> None:
    def weights(seed: int) -> torch.Tensor:
        network = networks.build(name, CIFAR10, 8, seed)
        return torch.cat([parameter.flatten() for parameter in network.parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_the_start_is_that_of_torch() -> None:
    """Kaiming-uniform weights and biases within 1 / √fan-in; affine norms start as the identity."""
    network = networks.build("convnet", CIFAR10, 64, 0)
    assert isinstance(network, ConvNet)
    convolution, norm = network.blocks[4], network.blocks[5]
    bound = (64 * 9) ** -0.5
    for values in (convolution.weight, convolution.bias):
        assert values.abs().max().item() <= bound
    assert convolution.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert torch.equal(norm.weight, torch.ones(64))
    assert torch.equal(norm.bias, torch.zeros(64))


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match=r"unknown network 'resnet'.*convnet, mlp"):
        networks.build("resnet", CIFAR10)


@pytest.mark.parametrize("shape", [(12,), (1, 1, 64), (3, 5, 1)])
def test_convnets_need_images(shape: tuple[int, ...]) -> None:
    spec = DataSpec("beams", shape, 2, (0.0,) * shape[0], (1.0,) * shape[0])
    with pytest.raises(ConfigError, match=r"'convnet' needs .*: use mlp"):
        networks.build("convnet", spec)


def test_the_fast_path_for_one_channel_computes_the_same_convolution() -> None:
    network = networks.build("convnet", make_spec((1, 7, 5), 3), 8).requires_grad_(False)
    samples = torch.randn(4, 1, 7, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    expected = network.features(samples)  # float32: the plain convolution
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast = network.features(samples)
    torch.testing.assert_close(fast.float(), expected, atol=0.05, rtol=0.05)
    fast.float().sum().backward()
    assert samples.grad is not None
    assert samples.grad.abs().sum() > 0
