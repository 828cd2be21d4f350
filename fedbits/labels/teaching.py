"""How a set is taught by a teacher: who that is, what it labels, and what the labels may take."""

from __future__ import annotations

from dataclasses import dataclass

from fedbits.errors import ConfigError
from fedbits.labels.codecs import codec_named
from fedbits.labels.view_labels import check_temperature
from fedbits.labels.views import ViewsConfig


@dataclass(frozen=True)
class TeacherConfig:
    """What the teacher is, and how it is trained unless its weights are in a file.

    Attributes:
        network: a name from :mod:`fedbits.networks` (``auto``: the ConvNet, or the MLP for flat samples), or
            ``torchvision:NAME`` for one of torchvision's own, whose weights must come from a file.
        width: of the ConvNet and the MLP.
        steps: batches that it is trained on, unless there is a file.
        weights: path of a file of weights (a state dictionary), or None to train.
    """

    network: str = "auto"
    width: int = 64
    steps: int = 2000
    weights: str | None = None

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        for name in ("width", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} of the teacher is {getattr(self, name)}: expected at least 1")


@dataclass(frozen=True)
class TeachingConfig:
    """Labels of views as part of a recipe.

    Attributes:
        codec: of the labels; see :data:`fedbits.labels.CODECS`.
        share: of the budget that labels take, in (0, 1).
        temperature: of the labels, a multiple of 1/16.
        views, teacher: what is labelled, and by whom.
    """

    codec: str = "vqae-rd"
    share: float = 0.5
    temperature: float = 1.0
    views: ViewsConfig = ViewsConfig()  # noqa: RUF009 - frozen
    teacher: TeacherConfig = TeacherConfig()

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        codec_named(self.codec)
        if not 0 < self.share < 1:
            raise ConfigError(f"the share of labels is {self.share}: expected more than 0, and less than 1")
        check_temperature(self.temperature)
