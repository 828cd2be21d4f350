"""A strategy of Avalanche, trained on one experience after the other; its state between two of them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from avalanche.training.losses import ICaRLLossPlugin
from avalanche.training.storage_policy import ExemplarsBuffer
from avalanche.training.supervised import DER
from avalanche.training.supervised.icarl import _ICaRLPlugin

from fedbits.data import Labelled, TensorData
from fedbits.progress import Progress
from scenarios.benchmarks import benchmark
from scenarios.buffer import CompressedBuffer
from scenarios.datasets import as_samples
from scenarios.learner import Score
from scenarios.policy_state import load_policy, save_policy
from scenarios.quiet import quiet
from scenarios.randomness import seeded
from scenarios.raw import sample_bytes
from scenarios.strategies import Setting, build

_CLOCK = ("train_iterations", "train_exp_counter", "total_iterations")


class AvalancheLearner:
    """Avalanche's own protocol: train on an experience, then test on all seen so far."""

    def __init__(self, name: str, setting: Setting) -> None:
        """The strategy ``name`` of :mod:`scenarios.strategies`.

        Raises:
            ConfigError: no such strategy.
            BudgetError: the memory cannot hold the least that the strategy needs.
        """
        self.setting, self.benchmark = setting, benchmark(setting.stream)
        with quiet(), seeded(setting.seed, "build"):
            self.strategy = build(name, setting)

    @property
    def policy(self) -> ExemplarsBuffer | None:
        """Where the strategy keeps its samples; None of iCaRL, which has a list."""
        holders = [self.strategy, *self.strategy.plugins]
        return next((h.storage_policy for h in holders if hasattr(h, "storage_policy")), None)

    @property
    def memory_bytes(self) -> int:
        if isinstance(self.policy, CompressedBuffer):
            return self.policy.size
        logits = isinstance(self.strategy, DER)
        return self.memory_samples * sample_bytes(self.setting.stream.data.spec, logits)

    @property
    def memory_samples(self) -> int:
        if isinstance(self.policy, CompressedBuffer):
            return len(self.policy.memory)
        if self.policy is None:
            return sum(len(samples) for samples in self._plugin(_ICaRLPlugin).x_memory)
        return len(self.policy.buffer)

    def learn(self, experience: int, progress: Progress) -> list[Score]:
        """As of :class:`scenarios.learner.Learner`; ``progress`` is that of the setting."""
        with quiet(), seeded(self.setting.seed, "experience", experience):
            self.strategy.train(self.benchmark.train_stream[experience])
            metrics = self.strategy.eval(self.benchmark.test_stream[: experience + 1])
        scores = []
        for earlier in range(experience + 1):
            total = len(self.setting.stream.test(earlier))
            share = metrics[f"Top1_Acc_Exp/eval_phase/test_stream/Task000/Exp{earlier:03}"]
            scores.append(Score(round(share * total), total))
        return scores

    def memory(self) -> Labelled | None:
        spec = self.setting.stream.data.spec
        if not self.memory_samples:
            return None
        if isinstance(self.policy, CompressedBuffer):
            return self.policy.memory.union(spec)
        if self.policy is not None:
            return as_samples(self.policy.buffer, spec)[0]
        held = self._plugin(_ICaRLPlugin)
        labels = torch.tensor([label for labels in held.y_memory for label in labels])
        return TensorData(spec, spec.denormalise(torch.cat(held.x_memory).cpu()), labels)

    def blobs(self) -> list[bytes]:
        return list(self.policy.memory.blobs()) if isinstance(self.policy, CompressedBuffer) else []

    def state(self) -> dict[str, Any]:
        """The network, the clock and the memory; the optimiser has nothing to keep.

        Samples are saved as they are stored, not as places in the stream.
        """
        spec = self.setting.stream.data.spec
        clock = {name: getattr(self.strategy.clock, name) for name in _CLOCK}
        state: dict[str, Any] = {"clock": clock}
        if self.policy is not None:
            network = self.strategy.model.state_dict()
            memory = save_policy(self.policy, spec)
        else:
            network = self.strategy.model.feature_extractor.network.state_dict()
            memory = self._icarl_state()
        return {
            **state,
            "network": {name: value.clone() for name, value in network.items()},
            "memory": memory,
        }

    def restore(self, state: dict[str, Any]) -> None:
        for name, value in state["clock"].items():
            setattr(self.strategy.clock, name, value)
        if self.policy is not None:
            self.strategy.model.load_state_dict(state["network"])
            load_policy(self.policy, self.setting.stream.data.spec, state["memory"])
        else:
            self.strategy.model.feature_extractor.network.load_state_dict(state["network"])
            self._restore_icarl(state["memory"])

    def _plugin(self, kind: type) -> Any:
        return next(plugin for plugin in self.strategy.plugins if isinstance(plugin, kind))

    def _icarl_state(self) -> dict[str, Any]:
        held, spec = self._plugin(_ICaRLPlugin), self.setting.stream.data.spec
        return {
            "samples": [spec.denormalise(samples.cpu()) for samples in held.x_memory],
            "labels": [list(labels) for labels in held.y_memory],
            "order": [order.cpu() for order in held.order],
            "observed": list(held.observed_classes),
            "means": {int(label): mean.cpu() for label, mean in held.class_means.items()},
            "sizes": [list(held.input_size), held.output_size, held.embedding_size],
            "old": [int(label) for label in self._plugin(ICaRLLossPlugin).old_classes],
        }

    def _restore_icarl(self, state: dict[str, Any]) -> None:
        held, loss, spec = (
            self._plugin(_ICaRLPlugin),
            self._plugin(ICaRLLossPlugin),
            self.setting.stream.data.spec,
        )
        device, model = self.setting.device, self.strategy.model
        held.x_memory = [spec.normalise(samples).to(device) for samples in state["samples"]]
        held.y_memory, held.observed_classes = state["labels"], state["observed"]
        held.order = [order.to(device) for order in state["order"]]
        held.class_means = {label: mean.to(device) for label, mean in state["means"].items()}
        shape, held.output_size, held.embedding_size = state["sizes"]
        held.input_size = torch.Size(shape)
        model.eval_classifier.replace_class_means_dict(held.class_means)
        loss.old_classes, loss.old_model = state["old"], copy.deepcopy(model)  # what it was after training
