"""How samples are stored sparsely over shared tokens (SPEED), and what its paper counts for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError
from fedbits.parameterization.base import StorageConfig
from fedbits.parameterization.epitome.form import MOST_BLOCKS, MOST_PATCH, MOST_TOKENS, MOST_WIDTH, Form

Sparsify = Literal["loop", "end"]
EpitomeStart = Literal["fit", "random"]
_PRECISION = (1e-4, 1.0)
# Adam's steps are alike, whatever the gradient: held out, 1 KiB per class, codes at 0.3 have 82.3 %, at 1
# 83.6, at 3 83.9.
CODES_RATE, _CODES_RATES = 1.0, {"adam": 3.0}
_COORDINATES = 1.5  # float32 numbers that a non-zero coefficient and its two 8-bit coordinates take (Eq. 7)


@dataclass(frozen=True)
class EpitomeConfig(StorageConfig):
    """Epitomic tokens, sparse codes and a recurrent network, in the terms of SPEED (section 2.1).

    Attributes:
        tokens: K, shared by all samples; each is split over the heads.
        width: D, numbers in a token and in a feature.
        heads: H, pools of token parts; each has sparse codes of its own.
        blocks: R of the network; without any, samples are linear in their codes.
        nonzeros: k, coefficients of one sample and head that are not zero, at most.
        patch: side of the square patches; of flat samples, numbers in a patch.
        bits: of a coefficient, 2–8: its values are 2^bits - 1 multiples of a step, zero in the middle.
        precision: root mean square rounding error of tokens and weights, relative to their size.
        sparsify: whether training sees only the largest coefficients (``loop``), or all of them and only the
            result is made sparse (``end``, as published).
        start: whether all parts first learn to reproduce real samples (``fit``), or are ``random``, as
            published.
        fit_steps: of the former.
        tokens_rate, codes_rate, network_rate: learning rates as multiples of the recipe's, that of codes
            which were fitted in thirds of the largest coefficient; None stands for what suits the optimizer.
            Tokens and network had better be slow: of many samples, a step moves the codes of some, and the
            samples of all. Held out, 16 KiB per class: 87.1 %; with both at 1, no more than before any step,
            83.6.
    """

    tokens: int = 32
    width: int = 16
    heads: int = 1
    blocks: int = 1
    nonzeros: int = 6
    patch: int = 28
    bits: int = 3
    precision: float = 0.1
    sparsify: Sparsify = "loop"
    start: EpitomeStart = "fit"
    fit_steps: int = 400
    tokens_rate: float = 0.1
    codes_rate: float | None = None
    network_rate: float = 0.1

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range or does not fit another."""
        for name, least, most in (
            ("tokens", 1, MOST_TOKENS),
            ("width", 1, MOST_WIDTH),
            ("heads", 1, self.width),
            ("blocks", 0, MOST_BLOCKS),
            ("nonzeros", 1, 1 << 20),
            ("patch", 1, MOST_PATCH),
            ("bits", 2, 8),
            ("fit_steps", 0, 1 << 20),
            ("precision", *_PRECISION),
        ):
            if not least <= getattr(self, name) <= most:
                raise ConfigError(
                    f"{name} of the epitome is {getattr(self, name)}: expected {least} to {most}"
                )
        if self.width % self.heads:
            raise ConfigError(
                f"heads of the epitome is {self.heads}: expected a divisor of width {self.width}"
            )
        for name, choices in (("sparsify", get_args(Sparsify)), ("start", get_args(EpitomeStart))):
            if getattr(self, name) not in choices:
                expected = " or ".join(choices)
                raise ConfigError(f"{name} of the epitome is {getattr(self, name)!r}: expected {expected}")
        for name in ("tokens_rate", "codes_rate", "network_rate"):
            rate = getattr(self, name)
            if rate is not None and not 0 <= rate < float("inf"):
                raise ConfigError(f"{name} of the epitome is {rate}: expected 0 or more")

    def rated(self, optimizer: str) -> EpitomeConfig:
        """With a learning rate of codes, where none is given, that suits ``optimizer``."""
        codes = _CODES_RATES.get(optimizer, CODES_RATE) if self.codes_rate is None else self.codes_rate
        return replace(self, codes_rate=codes)

    def form(self, spec: DataSpec) -> Form:
        """The sizes of all parts for samples of ``spec``."""
        return Form.of(spec, self.tokens, self.width, self.heads, self.blocks, self.patch)

    def float32_equivalents(self, samples: int, spec: DataSpec) -> float:
        """What the paper counts (Eq. 7) for ``samples`` of all classes: numbers of 32 bits."""
        form = self.form(spec)
        return form.parameters + _COORDINATES * samples * self.heads * self.nonzeros
