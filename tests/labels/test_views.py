"""Views: whoever has the seed makes the same ones, in any order."""

import pytest
import torch

from fedbits.errors import ConfigError
from fedbits.labels import Views, ViewsConfig

SAMPLES = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
INDEX = torch.arange(6)


def made(config, epoch=0, index=INDEX, samples=SAMPLES):
    return Views(config, len(samples)).make(lambda chosen: samples[chosen], epoch, index)


@pytest.mark.parametrize("mix", ["none", "mixup", "cutmix"])
def test_a_view_depends_on_its_sample_and_epoch_alone(mix):
    config = ViewsConfig(epochs=5, seed=3, mix=mix)
    every = made(config, 2)
    some = made(config, 2, torch.tensor([4, 1]))
    assert torch.equal(some, every[[4, 1]])
    assert not torch.equal(every, made(config, 3))


def test_views_come_again_after_the_last_epoch_and_differ_by_the_seed():
    config = ViewsConfig(epochs=3)
    assert torch.equal(made(config, 1), made(config, 4))
    assert not torch.equal(made(config, 1), made(ViewsConfig(epochs=3, seed=1), 1))


def test_without_crop_turn_mirror_and_mix_views_are_the_samples():
    plain = ViewsConfig(least_area=1.0, rotation=0, flipped=False, mix="none")
    assert torch.equal(made(plain), SAMPLES)


def test_mirrored_views_are_samples_or_their_mirror_images():
    views = made(ViewsConfig(least_area=1.0, rotation=0, flipped=True, mix="none"), 1)
    mirrored = [
        torch.allclose(view, sample.flip(2), atol=1e-5) for view, sample in zip(views, SAMPLES, strict=True)
    ]
    same = [torch.allclose(view, sample, atol=1e-5) for view, sample in zip(views, SAMPLES, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True)) and any(mirrored) and any(same)


def test_mixup_is_the_weighted_mean_of_both_samples():
    config = ViewsConfig(least_area=1.0, rotation=0, flipped=False, mix="mixup")
    views = Views(config, len(SAMPLES))
    partners, shares = views.partners(0, INDEX), views.shares(0, INDEX)
    assert float(shares.min()) >= 0.5 and float(shares.max()) <= 1
    expected = shares.view(-1, 1, 1, 1) * SAMPLES + (1 - shares.view(-1, 1, 1, 1)) * SAMPLES[partners]
    assert torch.allclose(made(config), expected)


def test_cutmix_shows_every_pixel_of_one_of_both_samples():
    config = ViewsConfig(least_area=1.0, rotation=0, flipped=False, mix="cutmix")
    views, partners = made(config), Views(config, len(SAMPLES)).partners(0, INDEX)
    own, other = views == SAMPLES, views == SAMPLES[partners]
    assert bool((own | other).all()) and not bool(own.all())
    assert bool((own.flatten(1).float().mean(1) >= 0.5 - 0.1).all())


def test_flat_samples_are_only_mixed():
    flat = SAMPLES.flatten(1)
    assert torch.equal(made(ViewsConfig(mix="none"), samples=flat), flat)
    mixed = made(ViewsConfig(mix="cutmix"), samples=flat)
    assert mixed.shape == flat.shape and not torch.equal(mixed, flat)


def test_crops_zoom_in():
    ramp = torch.linspace(0, 1, 16).view(1, 1, 1, 16).expand(64, 1, 16, 16).contiguous()
    views = made(
        ViewsConfig(least_area=0.25, rotation=0, flipped=False, mix="none"),
        index=torch.arange(64),
        samples=ramp,
    )
    spans = (views.amax((1, 2, 3)) - views.amin((1, 2, 3))) / (ramp.max() - ramp.min())
    assert float(spans.min()) < 0.7 and float(spans.max()) <= 1 + 1e-5


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"epochs": 0}, "epochs"),
        ({"seed": -1}, "seed"),
        ({"least_area": 0.3}, "least_area"),
        ({"least_area": 0.0}, "least_area"),
        ({"rotation": 90}, "rotation"),
        ({"mix": "blend"}, "blend"),
    ],
)
def test_what_is_out_of_range_is_named(wrong, named):
    with pytest.raises(ConfigError, match=named):
        ViewsConfig(**wrong)
