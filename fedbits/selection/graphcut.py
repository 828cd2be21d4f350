"""Quantisation-guided selection (QuADD §4.3, Eqs. 10–11): a greedy generalised graph cut.

``f(A) = Σ_{i∈V, j∈A} s_ij − λ Σ_{i,j∈A} s_ij`` with s the cosine similarity of last-layer gradients, computed
on real data as quantisation leaves it: what is taken stands for all samples V of its class (the first sum)
and not for each other (the second).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedbits import networks, quantization
from fedbits.acceleration import choose
from fedbits.data.tensors import TensorData
from fedbits.matching.pool import ExtractorPool, PoolConfig
from fedbits.progress import SILENT
from fedbits.quantization import Quantizer, QuantizerConfig
from fedbits.rng import derive_seed, torch_stream
from fedbits.selection.features import CANDIDATES

_BATCH = 256


@dataclass(frozen=True)
class GraphCutConfig:
    """Settings of the graph cut.

    Attributes:
        bits: of the uniform quantiser that samples are seen through, fitted to each channel's range.
        trade_off: λ, what similarity to samples already taken costs (the paper gives no value).
        width: of the network whose last layer the gradients are of.
        training: how it is trained first, on quantised real samples, at the last of its stages.
    """

    bits: int = 3
    trade_off: float = 1.0
    width: int = 64
    training: PoolConfig = PoolConfig(networks=1, stages=(100,), batch=64)  # noqa: RUF009 - frozen


@dataclass(frozen=True)
class Gradients:
    """Last-layer gradients ``residual ⊗ input`` of unit length, as their two factors.

    ``residuals`` ``[n, classes]`` are probabilities less the one-hot class, ``inputs`` ``[n, features + 1]``
    what the last layer is given and a one for its bias. Each has unit length: the cosine of two gradients is
    the product of the cosines of their factors, and no outer product is ever made.
    """

    residuals: Tensor
    inputs: Tensor

    @classmethod
    def of(cls, logits: Tensor, features: Tensor, labels: Tensor) -> Gradients:
        """Of the cross-entropy of ``logits`` ``[n, classes]`` with respect to weights and biases."""
        residuals = logits.double().softmax(1) - F.one_hot(labels, logits.shape[1])
        inputs = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
        return cls(F.normalize(residuals, dim=1).float(), F.normalize(inputs, dim=1))

    def similarity(self) -> Tensor:
        """Cosines ``[n, n]``."""
        return (self.residuals @ self.residuals.T) * (self.inputs @ self.inputs.T)


def graph_cut(
    data: TensorData, seed: int, config: GraphCutConfig = GraphCutConfig()
) -> Callable[[Tensor, int], Tensor]:
    """The order of each class of ``data``; its network is trained here, once for all classes.

    Of a class with many candidates the first :data:`CANDIDATES` are put in order, and the others follow.
    """
    quantizer, network = _prepare(data, derive_seed(seed, "graph cut"), config)

    def order(candidates: Tensor, count: int) -> Tensor:
        looked_at, rest = candidates[:CANDIDATES], candidates[CANDIDATES:]
        similarity = _gradients(data, looked_at, quantizer, network).similarity()
        taken = greedy(similarity, min(count, len(looked_at)), config.trade_off)
        return torch.cat([looked_at[taken], rest])[:count]

    return order


def greedy(similarity: Tensor, count: int, trade_off: float) -> Tensor:
    """``count`` of n samples, each with the largest gain of f given those before it; ``similarity`` [n, n].

    The gain of j is ``Σ_{i∈V} s_ij − λ (2 Σ_{i∈A} s_ij + s_jj)``: the sum over A grows by one row a step.
    """
    gain = similarity.sum(0) - trade_off * similarity.diagonal()
    order = []
    for _ in range(count):
        best = int(gain.argmax())
        order.append(best)
        gain = gain - 2 * trade_off * similarity[best]
        gain[best] = -torch.inf  # and stays so
    return torch.tensor(order, dtype=torch.long)


def _prepare(data: TensorData, seed: int, config: GraphCutConfig) -> tuple[Quantizer, nn.Module]:
    """The quantiser and the briefly trained network, both from samples drawn without replacement."""
    wanted = max(config.training.stages) * config.training.batch
    drawn = torch.randperm(len(data), generator=torch_stream(seed, "training"))[:wanted]
    samples, labels = data.batch(drawn.to(data.labels.device))
    samples = samples.cpu()
    quantizer = quantization.build(QuantizerConfig("uniform"), config.bits, samples)
    with torch.no_grad():
        coarse = data.spec.denormalise(quantizer(samples))
    name = networks.default_network(data.spec)
    network = networks.build(name, data.spec, config.width, seed)
    pool = ExtractorPool(config.training, network, derive_seed(seed, "pool"))
    pool.prepare(TensorData(data.spec, coarse, labels.cpu()), choose("cpu", 0.0), SILENT)
    return quantizer, network


def _gradients(data: TensorData, index: Tensor, quantizer: Quantizer, network: nn.Module) -> Gradients:
    """Of the samples at ``index``, quantised."""
    parts, how = [], choose("cpu", 0.0)
    with torch.no_grad():
        for part in index.split(_BATCH):
            samples, labels = data.batch(part.to(data.labels.device))
            with how.autocast():
                features = cast(networks.FeatureNetwork, network).features(quantizer(samples.cpu()))
            features = features.float()
            logits = cast(nn.Linear, network.classifier)(features)
            parts.append(Gradients.of(logits, features, labels.cpu()))
    return Gradients(torch.cat([p.residuals for p in parts]), torch.cat([p.inputs for p in parts]))
