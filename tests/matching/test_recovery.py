"""Recovery of a teacher's statistics (SRe2L)."""

import pytest
import torch
from making import make_data

from fedbits.errors import ConfigError
from fedbits.matching import Recovery, RecoveryConfig, Setting, Synthetic
from fedbits.networks import build
from fedbits.progress import SILENT

DATA = make_data((1, 8, 8), [30, 30, 30])
CPU = torch.device("cpu")


def prepared(**settings):
    teacher = build("convnet", DATA.spec, 4, 0)
    objective = Recovery(RecoveryConfig(augmented=False, **settings), Setting(0, CPU, 1, teacher))
    objective.prepare(DATA, SILENT)
    return objective, teacher


def synthetic(samples):
    return Synthetic(samples, DATA.labels, DATA.labels)


def test_of_the_real_data_itself_only_the_cross_entropy_is_left():
    objective, teacher = prepared(statistics=1.0)
    samples = DATA.batch().samples
    plain = torch.nn.functional.cross_entropy(teacher(samples), DATA.labels)
    assert float(objective.loss(None, synthetic(samples), 0)) == pytest.approx(float(plain), abs=1e-4)


def test_other_statistics_cost_in_proportion_to_their_weight():
    samples = 3 * DATA.batch().samples + 1
    bare, once, twice = (
        float(prepared(statistics=weight)[0].loss(None, synthetic(samples), 0)) for weight in (0.0, 1.0, 2.0)
    )
    assert once > bare + 0.1 and twice - bare == pytest.approx(2 * (once - bare), rel=1e-4)


def test_descent_brings_noise_nearer():
    objective, _ = prepared(statistics=1.0)
    samples = torch.randn(
        DATA.batch().samples.shape, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    losses = []
    for step in range(10):
        loss = objective.loss(None, synthetic(samples), step)
        losses.append(float(loss.detach()))
        (gradient,) = torch.autograd.grad(loss, samples)
        samples = (samples - 0.05 * gradient.sign()).detach().requires_grad_()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("wrong", [{"width": 0}, {"steps": 0}, {"statistics": -1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError):
        RecoveryConfig(**wrong)
