"""Learning to reproduce real samples: all parts at once, or codes over a dictionary that stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedbits.parameterization.epitome.codes import top
from fedbits.parameterization.epitome.form import Form
from fedbits.parameterization.epitome.freenet import synthesise
from fedbits.parameterization.rate import REFRESH

if TYPE_CHECKING:
    from fedbits.parameterization.epitome.stored import EpitomeParameterization

_MOST_ROWS, _MOST_SAMPLES = 1 << 14, 1 << 11  # patches, and samples, that a dictionary is fitted to
_RATE, _CODES_RATE = 0.02, 0.1  # Adam's
_ALONE_RATE = 0.05  # of codes alone, in thirds of the largest coefficient: it may be large
_DENSE, _ROUNDED = 0.3, 0.3  # of the steps: where all of the sparsity is reached, where rounding begins
_CODE_STEPS = 100  # to fit codes alone


def most_samples(form: Form) -> int:
    """As many as the dictionary is fitted to, at most."""
    return min(_MOST_SAMPLES, max(64, _MOST_ROWS // form.patches))


def fit(stored: EpitomeParameterization, samples: Tensor, steps: int) -> None:
    """Train all of ``stored`` to have the least squared distance to ``samples`` ``[n, *shape]``.

    The share of coefficients that are not zero falls from all to what is stored; then all is rounded, too.
    """
    config, form = stored.config, stored.form
    wanted = form.split(samples)
    shared = [stored.tokens, *stored.network]
    groups = [{"params": [stored.codes], "lr": _CODES_RATE}, {"params": shared, "lr": _RATE}]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    bases = [group["lr"] for group in optimizer.param_groups]
    every = form.tokens * form.patches
    for step in range(steps):
        done = step / max(1, steps)
        for group, base in zip(optimizer.param_groups, bases, strict=True):
            group["lr"] = base * min(1.0, 2 * (1 - done))
        rounding = done >= _ROUNDED
        if rounding and step % REFRESH == 0:
            stored.refresh()
        kept = (
            round(every * (config.nonzeros / every) ** min(1.0, done / _DENSE))
            if config.nonzeros < every
            else every
        )
        made = _made(stored, stored.codes, max(kept, config.nonzeros), rounding)
        loss = (made - wanted).square().mean(dim=(1, 2)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    stored.refresh()
    stored.settle()


def _made(stored: EpitomeParameterization, codes: Tensor, kept: int, rounding: bool) -> Tensor:
    """Patches, with ``kept`` coefficients of each sample and head; ``rounding`` as they will be sent."""
    if rounding:
        tokens, network = stored.shared_tensors()
        return synthesise(stored.form, tokens, stored.seen(codes), network)
    masked = codes * top(codes, kept)
    return synthesise(stored.form, stored.tokens, masked, list(stored.network))


def fitted_codes(stored: EpitomeParameterization, samples: Tensor) -> Tensor:
    """Codes ``[m, H, K, J]`` of ``samples`` ``[m, *shape]`` over the dictionary of ``stored``.

    Each starts from the codes of the stored sample that is nearest to it.
    """
    form, config = stored.form, stored.config
    wanted = form.split(samples)
    with torch.no_grad():
        tokens, network = (stored.shared_tensors()[0], [t.detach() for t in stored.shared_tensors()[1]])
        have = synthesise(form, tokens, stored.seen(stored.codes), network)
        nearest = torch.cdist(wanted.flatten(1), have.flatten(1)).argmin(1)
    codes = stored.codes.detach()[nearest].clone().requires_grad_(True)
    rate = max(_CODES_RATE, _ALONE_RATE * stored.unit())
    optimizer = torch.optim.Adam([codes], lr=rate, betas=(0.9, 0.99))
    for step in range(_CODE_STEPS):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / _CODE_STEPS)
        loss = (
            (synthesise(form, tokens, stored.seen(codes), network) - wanted).square().mean(dim=(1, 2)).sum()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (codes * top(codes, config.nonzeros)).detach()
