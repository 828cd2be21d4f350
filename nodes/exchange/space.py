"""How much of its storage an exchange gives to whom: quotas, and room for unfinished uploads."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nodes.exchange.refusals import Reason, RefusedError
from nodes.exchange.store import PartialFile

Key = tuple[str, bytes]  # a node, and the digest of what it uploads


@dataclass(frozen=True)
class SpaceLimits:
    """What there is to give.

    Attributes:
        quota: bytes of a node, published and unfinished, unless the access list says otherwise.
        capacity: bytes of all published sets together.
        partial_bytes: of all unfinished uploads together.
        partial_files: unfinished uploads of a node that are kept.
        partial_seconds: for which an unfinished upload is kept after it last grew.
        reserve: bytes that are left free on the disk, for the index and for others.
    """

    quota: int = 1 << 30
    capacity: int = 1 << 40
    partial_bytes: int = 4 << 30
    partial_files: int = 16
    partial_seconds: float = 86400.0
    reserve: int = 64 << 20


@dataclass
class _Partial:
    size: int  # of what has arrived
    claimed: int  # of what is to arrive, while a call is at it; otherwise 0
    touched: float

    @property
    def counted(self) -> int:
        return max(self.size, self.claimed)

    @property
    def expected(self) -> int:
        return self.counted - self.size


class Space:
    """The books of one exchange, in memory; of the disk they only ask that unfinished uploads be deleted.

    Args:
        stored: bytes and node of every published set.
        partials: unfinished uploads that are there already.
        discard: deletes one of those, which makes room.

    Attributes:
        stored_sets, stored_bytes: of all published sets.
    """

    def __init__(
        self,
        limits: SpaceLimits,
        stored: Iterable[tuple[int, str]],
        partials: Iterable[PartialFile],
        discard: Callable[[str, bytes], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limits, self._discard, self._clock = limits, discard, clock
        self._used: Counter[str] = Counter()
        self.stored_sets = self.stored_bytes = 0
        for size, node in stored:
            self._add(node, size, 1)
        self._partials: dict[Key, _Partial] = {
            (partial.node, partial.digest): _Partial(partial.size, 0, partial.touched) for partial in partials
        }

    @property
    def partial_bytes(self) -> int:
        return sum(
            partial.counted for partial in list(self._partials.values())
        )  # asked by other threads, too

    def arrived(self, key: Key) -> int:
        """Bytes of an unfinished upload that are there."""
        partial = self._partials.get(key)
        return partial.size if partial else 0

    def claim(self, key: Key, size: int, quota: int | None, free: int) -> None:
        """Set ``size`` bytes aside for an upload, at the cost of older unfinished ones if need be.

        Args:
            quota: of the node, or None for the usual one.
            free: bytes that the disk still takes.

        Raises:
            RefusedError: there is no such room.
        """
        self._keep_to_quota(key, size, self.limits.quota if quota is None else quota)
        expected = (
            size
            - self.arrived(key)
            + sum(partial.expected for other, partial in self._partials.items() if other != key)
        )
        if self.stored_bytes + size > self.limits.capacity or free - expected < self.limits.reserve:
            raise RefusedError(Reason.DISK_FULL)
        others = self.partial_bytes - self._counted(key)
        for victim in self._idle(except_for=key):
            if others + size <= self.limits.partial_bytes:
                break
            others -= self._counted(victim)
            self.drop(victim)
        if others + size > self.limits.partial_bytes:
            raise RefusedError(Reason.BUSY)
        self._partials[key] = _Partial(self.arrived(key), size, self._clock())

    def _keep_to_quota(self, key: Key, size: int, quota: int) -> None:
        """Make room for ``size`` bytes among the node's own."""
        node = key[0]
        mine = [other for other in self._idle(except_for=key) if other[0] == node]
        number = sum(1 for other in self._partials if other[0] == node and other != key)
        for victim in mine:
            unfinished = sum(self._counted(other) for other in self._partials if other[0] == node)
            total = self._used[node] + unfinished - self._counted(key) + size
            if total <= quota and number < self.limits.partial_files:
                break
            number -= 1
            self.drop(victim)
        unfinished = sum(self._counted(other) for other in self._partials if other[0] == node)
        left = quota - self._used[node] - unfinished + self._counted(key)
        if size > left:
            raise RefusedError(
                Reason.QUOTA,
                f"the blob has {size:,} bytes, and the node has {max(left, 0):,} left of its {quota:,}",
            )

    def grew(self, key: Key, size: int) -> None:
        """An upload that has a claim has ``size`` bytes now."""
        partial = self._partials[key]
        partial.size, partial.touched = size, self._clock()

    def release(self, key: Key) -> None:
        """The call that had the claim is over: what has arrived stays, and counts, until it is in the way."""
        partial = self._partials.get(key)
        if partial is None:
            return
        partial.claimed = 0
        if partial.size == 0:
            del self._partials[key]

    def drop(self, key: Key) -> None:
        """Forget an unfinished upload, and delete its bytes; a claim on it goes on."""
        partial = self._partials.get(key)
        if partial is not None:
            partial.size = 0
            if not partial.claimed:
                del self._partials[key]
        self._discard(*key)

    def published(self, key: Key, size: int) -> None:
        """An upload has become a published set of its node."""
        self._partials.pop(key, None)
        self._add(key[0], size, 1)

    def removed(self, node: str, size: int) -> None:
        """A published set of ``node`` is there no longer."""
        self._add(node, -size, -1)

    def _add(self, node: str, size: int, sets: int) -> None:
        self._used[node] += size
        self.stored_bytes += size
        self.stored_sets += sets

    def forget_old(self) -> int:
        """Drop unfinished uploads that have not grown for long; how many."""
        oldest = self._clock() - self.limits.partial_seconds
        old = [key for key in self._idle() if self._partials[key].touched < oldest]
        for key in old:
            self.drop(key)
        return len(old)

    def _idle(self, except_for: Key | None = None) -> list[Key]:
        """Unfinished uploads that no call is at, oldest first."""
        idle = [key for key, partial in self._partials.items() if not partial.claimed and key != except_for]
        return sorted(idle, key=lambda key: self._partials[key].touched)

    def _counted(self, key: Key) -> int:
        partial = self._partials.get(key)
        return partial.counted if partial else 0
