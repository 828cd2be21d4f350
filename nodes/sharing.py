"""Sets of a run on an exchange: what nodes have sent is put there, and what is there may join the union.

A run names an exchange by its address, ``HOST:PORT``, or by its folder, where none is serving at the time:
then the run is the one process that uses the folder. Nothing that happens to the exchange during a run costs
the run anything: what could not be put there is told in its report.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fedbits.budget import Budget
from fedbits.data import DataSpec
from fedbits.distilled_set import DistilledSet
from fedbits.errors import ConfigError, FedbitsError
from nodes.config import is_address
from nodes.messages import MAX_ELEMENTS, RefusedError, Terms, admit

if TYPE_CHECKING:
    from nodes.exchange.client import Target
    from nodes.exchange.store import Store

logger = logging.getLogger("fedbits.nodes")

PUBLISHED, FAILED = "published", "failed"
PATIENCE = 30.0  # seconds for which a call that fails for now is tried again
SERVER = "federated-server"  # the name of a run's server where no certificate says it
_VARIABLES = tuple(f"FEDBITS_EXCHANGE_{part}" for part in ("CA", "CERTIFICATE", "KEY"))


class Shelf(Protocol):
    """An exchange as a run uses it."""

    def put(self, blobs: Mapping[int, bytes]) -> dict[int, str]:
        """Publish each node's blob: for each :data:`PUBLISHED`, or the reason why it is not."""
        ...

    def sets(self, data_set: str) -> list[bytes]:
        """The blobs of a data set, in the order of their publication; raises :class:`FedbitsError`."""
        ...


@dataclass(frozen=True)
class Joined:
    """A set that was there before the run, and its bytes."""

    distilled: DistilledSet
    size: int


@contextlib.contextmanager
def opened(where: str) -> Iterator[Shelf | None]:
    """The exchange at ``where``, its address or its folder; None for an empty text.

    Certificates for an address are those that ``FEDBITS_EXCHANGE_CA``, ``…_CERTIFICATE`` and ``…_KEY`` name;
    without them only this machine's own can be called.

    Raises:
        FedbitsError: it cannot be used, or nothing answers.
    """
    from nodes.exchange.cli_serve import needing_the_extra

    if not where:
        yield None
        return
    with contextlib.ExitStack() as stack:
        with needing_the_extra():
            shelf = _remote(where) if is_address(where) else stack.enter_context(_folder(Path(where)))
        yield shelf


def check(where: str) -> None:
    """Raise :class:`FedbitsError` where :func:`opened` would."""
    with opened(where):
        pass


def joined(shelf: Shelf, spec: DataSpec) -> list[Joined]:
    """Sets of the task ``spec`` that are there; those that cannot be used are left out.

    Raises:
        FedbitsError: the exchange cannot be read.
    """
    found = []
    for blob in shelf.sets(spec.name):
        try:
            found.append(Joined(admit(blob, Terms(spec, Budget(len(blob)))), len(blob)))
        except RefusedError as refusal:
            logger.warning("a set on the exchange does not join: %s", refusal)
    logger.info("%d sets on the exchange join the union", len(found))
    return found


# ---------------------------------------------------------------------------------------------- by its folder


@contextlib.contextmanager
def _folder(folder: Path) -> Iterator[Shelf]:
    from nodes.exchange.store import Store

    store = Store(folder)
    try:
        yield FolderShelf(store)
    finally:
        store.close()


@dataclass(frozen=True)
class FolderShelf:
    """The folder itself. Each set is its node's, ``node-000`` ..; quotas are for those who call."""

    store: Store

    def put(self, blobs: Mapping[int, bytes]) -> dict[int, str]:
        return {node: self._put(f"node-{node:03}", blob) for node, blob in blobs.items()}

    def _put(self, node: str, blob: bytes) -> str:
        from fedbits.wire import exchange_pb2 as pb
        from nodes.exchange import examiner, refusals
        from nodes.exchange.store import Candidate

        digest = hashlib.sha256(blob)
        path = self.store.partial(node, digest.digest())
        asked = {"path": str(path), "sha256": digest.hexdigest(), "size": len(blob)}
        try:
            path.write_bytes(blob)
            examined = examiner.examine(asked, MAX_ELEMENTS)
            if "reason" in examined:
                path.unlink()
                return _told(node, examined["reason"])
            entry = pb.Entry(sha256=digest.digest(), size=len(blob), node=node, **examined["facts"])
            (outcome,) = self.store.commit([Candidate(entry, path)])
        except Exception as error:  # a full disk, say
            outcome = error
        if isinstance(outcome, pb.Entry):
            return PUBLISHED
        path.unlink(missing_ok=True)
        if isinstance(outcome, refusals.RefusedError):
            return _told(node, outcome.reason.value)
        return _told(node, FAILED, outcome)

    def sets(self, data_set: str) -> list[bytes]:
        from fedbits.wire import exchange_pb2 as pb

        asked, more, blobs = pb.ListRequest(data_set=data_set), True, []
        while more:
            entries, more = self.store.index.page(asked)
            for entry in entries:
                blobs.append(self.store.blob(entry.sha256).read_bytes())
                asked.after = entry.sequence
        return blobs


# --------------------------------------------------------------------------------------------- by its address


def _remote(address: str) -> Shelf:
    from nodes.exchange.client import Target
    from nodes.exchange.credentials import Credentials
    from nodes.exchange.identity import split_address

    split_address(address)
    given = [os.environ.get(name) for name in _VARIABLES]
    authority, certificate, key = (Path(file) if file else None for file in given)
    if any(given) and not all(given):
        raise ConfigError(f"set all of {', '.join(_VARIABLES)}, or none of them for a trial on this machine")
    credentials = Credentials(authority, certificate, key, insecure=not any(given))
    shelf = RemoteShelf(Target(address, credentials, SERVER, PATIENCE))
    shelf.greet()
    return shelf


@dataclass(frozen=True)
class RemoteShelf:
    """An exchange that serves. Each set is the server's, which is who publishes it."""

    target: Target

    def greet(self) -> None:
        """Raise :class:`FedbitsError` where nothing answers that we can talk to."""

        async def work() -> None:
            from nodes.exchange.client import ExchangeClient

            async with ExchangeClient(self.target):
                pass

        asyncio.run(work())

    def put(self, blobs: Mapping[int, bytes]) -> dict[int, str]:
        from nodes.exchange.client import ExchangeClient
        from nodes.exchange.refusals import RefusedError

        told: dict[int, str] = {}

        async def work() -> None:
            async with ExchangeClient(self.target) as client:
                for node, blob in blobs.items():
                    try:
                        await client.publish(blob)
                        told[node] = PUBLISHED
                    except RefusedError as refusal:
                        told[node] = _told(f"node-{node:03}", refusal.reason.value)

        try:
            asyncio.run(work())
        except FedbitsError as error:
            told |= {node: _told(f"node-{node:03}", FAILED, error) for node in blobs.keys() - told.keys()}
        return told

    def sets(self, data_set: str) -> list[bytes]:
        from fedbits.wire import exchange_pb2 as pb
        from nodes.exchange.client import ExchangeClient

        async def work(folder: Path) -> Sequence[Path]:
            async with ExchangeClient(self.target) as client:
                entries = [entry async for entry in client.sets(pb.ListRequest(data_set=data_set))]
                for entry in entries:
                    await client.fetch(entry.sha256, folder / entry.sha256.hex())
                return [folder / entry.sha256.hex() for entry in entries]

        with tempfile.TemporaryDirectory(prefix="fb-") as folder:
            return [path.read_bytes() for path in asyncio.run(work(Path(folder)))]


def _told(node: str, reason: str, error: Exception | None = None) -> str:
    logger.warning("the set of %s is not on the exchange: %s", node, reason, exc_info=error)
    return reason
