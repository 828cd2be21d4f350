"""What nodes may be in a run, by name.

A role decides what a node does when it is asked and what the server makes of the answers. The run names one
(``--role``, or ``role`` in Flower's run config); a node may name its own in its node config, and answers
nothing that its role does not know. A role is one class in a module of its own, imported when it is asked
for: names alone load no Flower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from fedbits.errors import ConfigError

if TYPE_CHECKING:
    from flwr.app import RecordDict

    from fedbits.data import TensorData
    from nodes.careful_grid import CarefulGrid
    from nodes.node import Node
    from nodes.roster import Member
    from nodes.server_app import Plan, Result, Session

    Work = Callable[[RecordDict, Node], RecordDict]

EDGE_NODE, BASE_STATION, CL_LEARNER = "edge_node", "base_station", "cl_learner"
# The module of each, whose constant ROLE it is.
ROLES: dict[str, str] = {
    EDGE_NODE: "nodes.edge_node",  # distils its data and sends the set
    BASE_STATION: "nodes.base_station",  # the same with beam measurements of its own cell
    CL_LEARNER: "nodes.continual.role",  # learns class after class; sends what is new in its memory
}


class Role(Protocol):
    """The server's and the nodes' part of a run."""

    def work(self) -> Mapping[str, Work]:
        """What a node does, by the type of message that asks for it.

        It may raise whatever it likes: the node replies with a code (:func:`nodes.node.failure_code`).
        """
        ...

    def check_data(self, data: TensorData) -> None:
        """Raise :class:`fedbits.errors.DataError` where a node with ``data`` cannot have the role."""
        ...

    def check(self, plan: Plan) -> None:
        """Raise :class:`fedbits.errors.FedbitsError` where the run cannot work, before it starts."""
        ...

    def serve(self, grid: CarefulGrid, session: Session, members: Sequence[Member]) -> Result:
        """The server's part, with all nodes there."""
        ...

    def report(self, result: Any) -> tuple[dict[str, Any], str]:
        """The facts of a run as JSON-able values, and as a page; ``result`` is what ``serve`` returned."""
        ...

    def rows(self, report: Mapping[str, Any]) -> dict[str, str]:
        """The few facts that a terminal shows of a report."""
        ...


def get(name: str) -> Role:
    """The role ``name``.

    Raises:
        ConfigError: there is none.
    """
    check_name(name)
    role: Role = import_module(ROLES[name]).ROLE
    return role


def check_name(name: str) -> None:
    """Raise :class:`ConfigError` unless there is a role ``name``."""
    if name not in ROLES:
        raise ConfigError(f"unknown role {name!r}: expected {' or '.join(ROLES)}")
