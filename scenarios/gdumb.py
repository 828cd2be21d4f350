"""GDumb (Prabhu, Torr & Dokania, ECCV 2020) by DM's protocol (Zhao & Bilen, WACV 2023, §4.3).

After each experience a fresh network is trained on the memory alone, and tested on the classes seen so far.
Its head has all classes from the start.
"""

from __future__ import annotations

from typing import Any

import torch

from fedbits import evaluate
from fedbits.data import Labelled
from fedbits.evaluate import Protocol
from fedbits.progress import Progress
from fedbits.rng import derive_seed
from scenarios.learner import Score
from scenarios.memory import CompressedMemory
from scenarios.online import OnlineMemory
from scenarios.raw import RawMemory
from scenarios.stream import Stream


class GDumb:
    """A memory, and networks that learn from nothing else."""

    def __init__(
        self,
        stream: Stream,
        memory: CompressedMemory | OnlineMemory | RawMemory,
        protocol: Protocol,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """``protocol`` says how networks are trained.

        Raises:
            ConfigError: the protocol's network cannot take the stream's samples.
        """
        self.stream, self.held, self.seed, self.device = stream, memory, seed, device
        self.protocol = evaluate.settled(protocol, stream.data.spec)

    @property
    def memory_bytes(self) -> int:
        return self.held.size

    @property
    def memory_samples(self) -> int:
        return len(self.held)

    def learn(self, experience: int, progress: Progress) -> list[Score]:
        seed = derive_seed(self.seed, "experience", experience)
        self.held.add(self.stream.train(experience), derive_seed(seed, "memory"), progress=progress)
        union = self.held.union(self.stream.data.spec)
        network = evaluate.build_network(union, self.protocol, derive_seed(seed, "network")).to(self.device)
        evaluate.train(network, union, self.protocol, seed=derive_seed(seed, "train"), progress=progress)
        scores = []
        for earlier in range(experience + 1):
            test = self.stream.test(earlier)
            scores.append(Score(round(evaluate.accuracy(network, test) * len(test)), len(test)))
        return scores

    def memory(self) -> Labelled | None:
        return self.held.union(self.stream.data.spec) if len(self.held) else None

    def blobs(self) -> list[bytes]:
        return [] if isinstance(self.held, RawMemory) else list(self.held.blobs())

    def state(self) -> dict[str, Any]:
        return {"memory": self.held.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self.held.restore(state["memory"])
