"""How samples are stored as latents on grids of several scales (RUO), and what makes samples of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError
from fedbits.parameterization.base import StorageConfig
from fedbits.parameterization.latent.form import (
    MOST_CONVOLUTIONS,
    MOST_ENTROPY_HIDDEN,
    MOST_FACTOR,
    MOST_GRIDS,
    MOST_HIDDEN,
    Context,
    Form,
    SynthesisKind,
    Upsampling,
)
from fedbits.parameterization.transform import LARGEST_SIDE

Group = Literal["set", "class"] | int
Quantisation = Literal["straight_through", "noise", "soft_rounding"]
CONTEXTS = (8, 12, 24)


@dataclass(frozen=True)
class LatentConfig(StorageConfig):
    """Latent grids, the network that makes samples of them, and the one that predicts them.

    Attributes:
        numbers: latents that stand for a sample as a whole; they are coded first, and a ``pyramid`` begins
            with a dense layer that makes maps of them.
        scales: by how much each grid is smaller than the samples; each has one channel, and a factor may
            stand here several times. Grids are coded coarsest first. Of flat samples, grids are rows.
        group: what shares the networks: the whole ``set``, each ``class``, or so many classes.
        synthesis: ``stacked``: all grids are upsampled, then come a pointwise layer and residual
            convolutions (as in the COOL-CHIC line); ``pyramid``: from the coarsest grid on, features are
            upsampled to the next one and convolved together with it.
        hidden: features of the synthesis network.
        convolutions: residual 3×3 ones, in all (``stacked``) or on each scale (``pyramid``).
        upsampling: ``dyadic``: bilinear, with fixed kernels; ``learned``: with one kernel for each grid,
            which only ``stacked`` has.
        class_means: whether latents are sent as differences from a mean of their class, sent with the
            networks.
        context: causal neighbours that predict a latent: 8, 12 or 24.
        coarser: whether the grid before, at the place and beside it, does so, too.
        entropy_hidden, entropy_layers: width and number of hidden layers of the entropy network.
        components: logistic distributions that are mixed.
        quantisation: how training sees latents: rounded ``straight_through``, or in the first ``soft_share``
            of the steps with ``noise`` or by ``soft_rounding``.
        beta: squared error, in normalised units, that a bit is worth in initialisation (Eq. 12).
        fit_steps: of initialisation.
        precision: root mean square rounding error of weights, relative to their size, before their steps are
            searched.
        latents_rate, synthesis_rate, entropy_rate: learning rates as multiples of the recipe's.
    """

    numbers: int = 32
    scales: tuple[int, ...] = (4, 2)
    group: Group = "set"
    synthesis: SynthesisKind = "pyramid"
    hidden: int = 8
    convolutions: int = 0
    upsampling: Upsampling = "dyadic"
    class_means: bool = True
    context: int = 12
    coarser: bool = True
    entropy_hidden: int = 16
    entropy_layers: int = 1
    components: int = 2
    quantisation: Quantisation = "noise"
    soft_share: float = 0.7
    beta: float = 1.0
    fit_steps: int = 400
    precision: float = 0.03
    latents_rate: float = 2.0
    synthesis_rate: float = 0.02
    entropy_rate: float = 0.02

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range or does not fit another."""
        object.__setattr__(self, "scales", tuple(sorted(self.scales, reverse=True)))
        if not 0 <= self.numbers <= MOST_GRIDS:
            raise ConfigError(f"numbers of the latents is {self.numbers}: expected 0 to {MOST_GRIDS}")
        if not 1 <= self.numbers + len(self.scales) <= MOST_GRIDS:
            raise ConfigError(
                f"numbers and scales of the latents are {self.numbers + len(self.scales)} in all: expected 1 "
                f"to {MOST_GRIDS}"
            )
        if any(not 1 <= factor <= MOST_FACTOR for factor in self.scales):
            raise ConfigError(f"scales of the latents are {self.scales}: expected 1 to {MOST_FACTOR} each")
        for name, least, most in (
            ("hidden", 1, MOST_HIDDEN),
            ("convolutions", 0, MOST_CONVOLUTIONS),
            ("entropy_hidden", 1, MOST_ENTROPY_HIDDEN),
            ("entropy_layers", 1, 2),
            ("components", 1, 4),
            ("fit_steps", 0, 1 << 20),
            ("precision", 1e-4, 1.0),
            ("soft_share", 0, 1),
        ):
            if not least <= getattr(self, name) <= most:
                raise ConfigError(
                    f"{name} of the latents is {getattr(self, name)}: expected {least} to {most}"
                )
        for name, choices in (
            ("synthesis", get_args(SynthesisKind)),
            ("upsampling", get_args(Upsampling)),
            ("quantisation", get_args(Quantisation)),
            ("context", CONTEXTS),
        ):
            if getattr(self, name) not in choices:
                expected = " or ".join(map(str, choices))
                raise ConfigError(f"{name} of the latents is {getattr(self, name)!r}: expected {expected}")
        if self.group not in ("set", "class") and not (isinstance(self.group, int) and self.group >= 1):
            raise ConfigError(f"group of the latents is {self.group!r}: expected set, class or a number")
        if self.upsampling == "learned" and self.synthesis != "stacked":
            raise ConfigError("upsampling of the latents is learned: expected synthesis to be stacked")
        for name in ("beta", "latents_rate", "synthesis_rate", "entropy_rate"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} of the latents is {getattr(self, name)}: expected 0 or more")

    def classes_per_group(self, spec: DataSpec) -> int:
        """How many classes share networks."""
        if isinstance(self.group, int):
            return min(self.group, spec.classes)
        return spec.classes if self.group == "set" else 1

    def form(self, spec: DataSpec) -> Form:
        """The sizes of all parts for samples of ``spec``.

        Raises:
            ConfigError: maps of the dense layer would be larger than their transform can be.
        """
        form = self._form(spec)
        side = max(form.at(form.factors[1]))
        if form.dense and side > LARGEST_SIDE:
            raise ConfigError(
                f"scales of the latents leave maps with a side of {side}: expected at most {LARGEST_SIDE}"
            )
        return form

    def _form(self, spec: DataSpec) -> Form:
        return Form(
            sample=spec.grid_shape,
            scales=(max(spec.grid_shape[1:]),) * self.numbers + self.scales,
            group_classes=self.classes_per_group(spec),
            groups=-(-spec.classes // self.classes_per_group(spec)),
            synthesis=self.synthesis,
            hidden=self.hidden,
            convolutions=self.convolutions,
            upsampling=self.upsampling,
            class_means=self.class_means,
            context=Context(
                self.context, self.coarser, self.entropy_hidden, self.entropy_layers, self.components
            ),
        )
