"""Neural feature regression (FRePo; Zhou, Nezhadarya & Ba, NeurIPS 2022): samples from which much is learned.

What a network would learn from the synthetic samples is approximated by ridge regression on its features,
whose solution is known in closed form; the squared error that it makes on real samples is what is minimised.
The networks train on the synthetic samples all the while (:class:`Students`), so that features are those
which such training leads to.

Beside the paper's, the mean features of classes are matched a little, as in DM: what tells the classes of
one node apart is not all that others want to know of them, and a single class would have nothing to learn.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from fedbits import networks
from fedbits.acceleration import Acceleration, choose, in_chunks
from fedbits.augment import augment, draw
from fedbits.data.tensors import Batch, TensorData
from fedbits.errors import ConfigError
from fedbits.matching.base import Objective, ObjectiveConfig, Setting, Synthetic
from fedbits.matching.class_batches import class_batches
from fedbits.matching.class_means import class_means
from fedbits.matching.students import Students, StudentsConfig
from fedbits.progress import Progress
from fedbits.rng import derive_seed, torch_stream

_LEAST_SPREAD = 1e-6  # of features that are all alike


@dataclass(frozen=True)
class RegressionConfig(ObjectiveConfig):
    """Settings of neural feature regression.

    Attributes:
        network, width: what gives features; ``auto`` follows the samples.
        real_batch: real samples per class and step; they are never augmented.
        augmented: by DSA, each synthetic sample in its own way; flat samples never are.
        ridge: weight of the squared coefficients, in units of the mean squared singular value of the
            synthetic features.
        means: weight of the squared distance between mean features of classes, in units of the features'
            mean deviation.
        students: the networks, and how they train.
    """

    network: str = "auto"
    width: int = 64
    real_batch: int = 64
    augmented: bool = True
    ridge: float = 0.3
    means: float = 0.3
    students: StudentsConfig = StudentsConfig()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where a value is out of range."""
        for name in ("width", "real_batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected at least 1")
        if not 0 < self.ridge < math.inf:
            raise ConfigError(f"ridge is {self.ridge}: expected more than 0")
        if not 0 <= self.means < math.inf:
            raise ConfigError(f"means is {self.means}: expected 0 or more")


class RegressionMatching(Objective):
    """Squared error, on real samples, of the regression from synthetic samples' features to their targets.

    All classes count alike, however many real samples they have. A run's given network, if any, is what
    every student starts from.
    """

    def __init__(self, config: RegressionConfig, setting: Setting, how: Acceleration | None = None) -> None:
        """``how`` forces an acceleration that would otherwise be chosen for the machine and the work."""
        self._config, self._seed, self._device = config, setting.seed, setting.device
        self._steps, self._given, self._forced = setting.steps, setting.extractor, how

    def prepare(self, data: TensorData, progress: Progress) -> None:
        config, spec = self._config, data.spec
        self._classes, self._number = data.class_indices(), spec.classes
        name = networks.default_network(spec) if config.network == "auto" else config.network
        network = copy.deepcopy(self._given) or networks.build(name, spec, config.width)
        network.to(self._device).requires_grad_(False)
        largest = config.width * math.prod(spec.grid_shape[1:])
        present = sum(len(index) > 0 for index in self._classes)
        real = self._steps * present * config.real_batch
        self._how = self._forced or choose(self._device, 2.0 * real * largest)
        self._chunk = self._how.chunk(largest)
        self._compute = self._how.prepare(cast(networks.FeatureNetwork, network).features)
        seed = derive_seed(self._seed, "students")
        self._students = Students(config.students, network, self._how, seed, self._given is not None)

    def real_indices(self, step: int) -> Tensor:
        """``real_batch`` samples of each class that is present, class by class, drawn without replacement."""
        return class_batches(self._classes, self._config.real_batch, torch_stream(self._seed, "real", step))

    def loss(self, real: Batch | None, synthetic: Synthetic, step: int) -> Tensor:
        assert real is not None
        self._students.turn(step, synthetic)
        samples = synthetic.samples
        if self._config.augmented:
            generator = torch_stream(self._seed, "augment", step)
            samples = augment(samples, draw(len(samples), generator, self._device))
        with torch.no_grad():
            real_features = self._features(real.samples)
        features = self._features(samples)
        error = regression_error(
            features,
            self._probabilities(synthetic.targets),
            real_features,
            self._probabilities(real.labels),
            self._config.ridge,
        )
        if not self._config.means:
            return error
        return error + self._config.means * self._apart(features, synthetic, real_features, real)

    def _features(self, samples: Tensor) -> Tensor:
        """``[n, features]`` in float32."""
        with self._how.autocast():
            return in_chunks(self._compute, samples, self._chunk).float()

    def _probabilities(self, targets: Tensor) -> Tensor:
        """``[n, classes]`` of classes or of probabilities."""
        return targets if targets.is_floating_point() else F.one_hot(targets, self._number).float()

    def _apart(self, features: Tensor, synthetic: Synthetic, real_features: Tensor, real: Batch) -> Tensor:
        """How far apart the class means of features are, in squared deviations: a mean over both."""
        present = real.labels.unique()
        theirs = class_means(real_features, real.labels, self._number)[present]
        ours = class_means(features, synthetic.labels, self._number)[present]
        spread = real_features.std(dim=0).mean().clamp(min=_LEAST_SPREAD)
        return ((ours - theirs) / spread).square().mean()

    def state(self) -> dict[str, Any]:
        return self._students.state()

    def restore(self, state: dict[str, Any]) -> None:
        self._students.restore(state)


def regression_error(
    features: Tensor, targets: Tensor, real_features: Tensor, real_targets: Tensor, ridge: float
) -> Tensor:
    """Squared error of ridge regression with an intercept (FRePo, Eq. 5): of all classes, a mean of rows.

    Args:
        features, targets: ``[n, d]`` and ``[n, classes]``, what the regression learns from.
        real_features, real_targets: ``[m, d]`` and ``[m, classes]``, what its error is measured on.
        ridge: weight of the squared coefficients, in units of the mean of the squared singular values of
            the centred features (of the first min(n, d), as there are no more).

    In float64, through whichever of the two Gram matrices is the smaller one.
    """
    x, y, z = features.double(), targets.double(), real_features.double()
    centre, intercept = x.mean(0), y.mean(0)
    x, y, z = x - centre, y - intercept, z - centre
    smaller = min(x.shape)
    scale = x.detach().square().sum().clamp(min=torch.finfo(torch.float32).tiny)
    damping = ridge / smaller * scale * torch.eye(smaller, dtype=x.dtype, device=x.device)
    if len(x) <= x.shape[1]:
        predicted = z @ x.T @ torch.linalg.solve(x @ x.T + damping, y)
    else:
        predicted = z @ torch.linalg.solve(x.T @ x + damping, x.T @ y)
    return (predicted + intercept - real_targets).square().sum(1).mean().float()
