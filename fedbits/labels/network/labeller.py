"""A network that travels in a blob and labels views at the receiver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from fedbits.coding.weights import QuantisedTensor
from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError
from fedbits.labels.network import known as knowledge
from fedbits.labels.network.form import NetworkForm
from fedbits.labels.network.quantised import stream_of
from fedbits.labels.view_labels import check_temperature
from fedbits.labels.views import Views, ViewsConfig


class Labeller(nn.Module):
    """The network itself, of fixed weights: normalised samples to logits, each sample by itself."""

    def __init__(self, form: NetworkForm, tensors: Sequence[QuantisedTensor]) -> None:
        super().__init__()
        self.form = form
        floats = (torch.from_numpy(tensor.floats().astype(np.float32)) for tensor in tensors)
        self.tensors = nn.ParameterList([nn.Parameter(one, requires_grad=False) for one in floats])

    def forward(self, samples: Tensor) -> Tensor:
        return self.form.logits(list(self.tensors), samples)


@dataclass(frozen=True)
class NetworkLabels:
    """A label for any view of any sample: the probabilities that a network gives it.

    Weights travel exactly; labels are computed from them in float32, so that on another machine they may
    differ in the last bits.

    Attributes:
        config: of the views that the network was trained on, and that are learnt; they do not come again.
        temperature: of the softmax that makes labels of logits, and under which students learn them; a
            multiple of 1/16, up to 64.
        form, tensors: the network.
        known: of how many real samples of each class it was made, as :mod:`fedbits.labels.network.known` has
            it; empty where that is not told.
    """

    config: ViewsConfig
    temperature: float
    form: NetworkForm
    tensors: tuple[QuantisedTensor, ...]
    known: bytes = b""

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where the temperature is not one that can travel."""
        check_temperature(self.temperature)

    def fits(self, spec: DataSpec) -> bool:
        """Whether the network takes samples of ``spec`` and knows its classes."""
        try:
            self.form.check(spec)
        except ConfigError:
            return False
        if not knowledge.is_told(self.known, spec.classes):
            return False
        return [tensor.values.shape for tensor in self.tensors] == self.form.shapes(spec)

    def views(self, samples: int) -> Views:
        """Those of a set of so many samples."""
        return Views(self.config, samples)

    @cached_property
    def network(self) -> Labeller:
        return Labeller(self.form, self.tensors).eval()

    def label(self, views: Tensor, made_of: Tensor) -> Tensor:
        """``[b, classes]``: what is learnt of ``views``, made of classes ``made_of`` ``[b, classes]``."""
        return self.probabilities(views)

    def probabilities(self, views: Tensor) -> Tensor:
        """``[b, classes]`` of ``views`` ``[b, *shape]``, where these are."""
        with torch.no_grad():
            logits = self.on(views.device)(views)
            return (logits / self.temperature).softmax(1)

    @property
    def coverage(self) -> Tensor:
        """About how many real samples of each class it was made of, ``[classes]``; 1 each if not told."""
        return knowledge.counted(self.known, len(self.tensors[-1].values))

    @property
    def parameters(self) -> int:
        """Numbers of the network."""
        return sum(tensor.values.size for tensor in self.tensors)

    @cached_property
    def stored(self) -> bytes:
        """What travels of the tensors."""
        return stream_of(self.tensors)

    def on(self, device: torch.device) -> Labeller:
        """The network there."""
        if device not in self._copies:
            self._copies[device] = Labeller(self.form, self.tensors).eval().to(device)
        return self._copies[device]

    @cached_property
    def _copies(self) -> dict[torch.device, Labeller]:
        return {torch.device("cpu"): self.network}
