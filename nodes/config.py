"""What a federated run is asked to do, as one value that also fits into Flower's flat run config."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fedbits.budget import Budget
from fedbits.errors import ConfigError, unknown
from nodes.roles import CL_LEARNER, EDGE_NODE, check_name

if TYPE_CHECKING:
    from fedbits.recipe import Recipe

Scalar = bool | int | float | str

YARDSTICKS = ("none", "fedavg", "networks", "both")
POLICIES = (
    "fixed",
    "progressive",
    "redistil",
)  # of :data:`scenarios.memory.POLICIES`, those of whole experiences
CLASS_ORDERS = ("own", "same")
_PLACES = ("data", "data-root", "exchange", "out", "name")
# What has no effect on a role, and must be left as it is.
_OF_MEMORIES = ("memory", "policy", "class_order")
_OF_SETS = ("budget", "share", "pooled", "exchange", "join")
MAX_NODES = 10_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_GROUPS = {"overrides": "recipe.", "protocol_overrides": "protocol."}  # mappings are flattened under a prefix


@dataclass(frozen=True)
class RunConfig:
    """One federated run.

    Attributes:
        role: one of :data:`nodes.roles.ROLES`.
        data, data_root, download: the data set, as ``fedbits.data.load`` takes it.
        nodes: number of nodes, 1 .. 10,000.
        partition: how the training data is spread: ``iid``, ``dirichlet:ALPHA``, ``classes:K`` or ``site``.
        budget: of edge nodes and base stations, bytes each may send in each round, ``"10KiB"``; exceptions
            by node after commas, ``"10KiB,0=2KiB,3=40KiB"``.
        memory: of continual learners, bytes of each node's replay memory, in the same way.
        policy: of these, how a memory shares its bytes, one of :data:`POLICIES`.
        class_order: of these, whether each node's classes arrive in its ``own`` order or all nodes' in the
            ``same``.
        recipe, overrides: the distillation recipe by name, and the fields of it that are set otherwise.
        rounds: exchanges; from the second on edge nodes and base stations distil against the current global
            model. Of continual learners, each is one experience.
        protocol, protocol_overrides: how the server trains, and what of it is set otherwise.
        repeats: networks trained for the final accuracy.
        seed: of everything random in the run.
        device: ``auto``, ``cpu`` or ``cuda``; for the nodes and the server.
        share: of edge nodes and base stations, how much of a node's bytes is for a network that labels its
            samples, from 0 to 1; 0 leaves that to the recipe.
        pooled: whether the server lets such networks label each other's views (:mod:`fedbits.pooling`).
        yardstick: ``fedavg``, ``networks`` (of edge nodes and base stations: :mod:`nodes.ensemble`), ``both``
            or ``none``.
        yardstick_rounds: FedAvg rounds after which the yardstick gives up; of continual learners, those
            of each experience.
        exchange: of edge nodes and base stations, the address or folder of an exchange
            (:mod:`nodes.sharing`) on which their sets are put; empty for none.
        join: whether sets of the task that are on it already join the union.
        out, name: the run's folder is ``out/name``; an empty name is chosen from data, recipe and seed.
        timeout: seconds a node has in each round until its reply must have arrived.
    """

    role: str = EDGE_NODE
    data: str = "digits"
    data_root: str = ""
    download: bool = False
    nodes: int = 5
    partition: str = "iid"
    budget: str = "10KiB"
    memory: str = "8KiB"
    policy: str = "fixed"
    class_order: str = "own"
    recipe: str = "quadd"
    overrides: Mapping[str, Scalar] = field(default_factory=dict)
    rounds: int = 1
    share: float = 0.0
    pooled: bool = False
    protocol: str = "laptop"
    protocol_overrides: Mapping[str, Scalar] = field(default_factory=dict)
    repeats: int = 3
    seed: int = 0
    device: str = "auto"
    yardstick: str = "none"
    yardstick_rounds: int = 50
    exchange: str = ""
    join: bool = False
    out: str = "runs"
    name: str = ""
    timeout: float = 3600.0

    def __post_init__(self) -> None:
        _within("nodes", self.nodes, 1, MAX_NODES)
        _within("rounds", self.rounds, 1, 1000)
        _within("repeats", self.repeats, 1, 1000)
        _within("yardstick rounds", self.yardstick_rounds, 1, 100_000)
        _within("seed", self.seed, 0, 2**63 - 1)
        if not (math.isfinite(self.timeout) and 0 < self.timeout <= 7 * 86_400):
            raise ConfigError(f"timeout {self.timeout} is not between 0 and 604,800 seconds (a week)")
        if self.yardstick not in YARDSTICKS:
            raise ConfigError(unknown("yardstick", self.yardstick, YARDSTICKS))
        if self.name and not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"run name {self.name!r} is not a plain folder name: use letters, digits, '.', '_' and '-'"
            )
        self._check_role()
        if self.join and not self.exchange:
            raise ConfigError("sets can only join from an exchange: name one with --exchange")
        common, exceptions = _parse_budgets(self.amount, self.nodes)
        if self.role == CL_LEARNER:
            for text in (common, *exceptions.values()):
                if Budget.parse(text).unit == "bpp":
                    raise ConfigError(f"memory {text!r} depends on its samples: give bytes, such as 8KiB")

    def measures(self, yardstick: str) -> bool:
        """Whether ``yardstick`` is one of the run's."""
        return self.yardstick in (yardstick, "both")

    def resolved_recipe(self) -> Recipe:
        """The recipe with all that is set otherwise.

        Raises:
            ConfigError: no such recipe or field, or a value out of range.
        """
        from fedbits import recipes  # which load PyTorch
        from fedbits.recipe_variants import shared

        recipe = recipes.get(self.recipe, **self.overrides)
        return shared(recipe, self.share) if self.share else recipe

    def _check_role(self) -> None:
        check_name(self.role)
        if self.role == CL_LEARNER and self.measures("networks"):
            raise ConfigError(
                f"yardstick {self.yardstick!r} has no networks of the role {self.role!r}: take fedavg or none"
            )
        for name in self._idle:
            if (value := getattr(self, name)) != self.__dataclass_fields__[name].default:
                raise ConfigError(
                    f"{name.replace('_', '-')} {value!r} has no effect on the role {self.role!r}: "
                    f"leave it out"
                )
        if not 0 <= self.share < 1:
            raise ConfigError(
                f"share {self.share} is not from 0 to below 1: the server trains on samples "
                f"(--yardstick networks shows what networks alone are worth)"
            )
        for name, known in (("policy", POLICIES), ("class_order", CLASS_ORDERS)):
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(unknown(name.replace("_", " "), value, known))

    @property
    def amount(self) -> str:
        """The bytes that each node has, as text with all exceptions: its memory's, or its budget."""
        return self.memory if self.role == CL_LEARNER else self.budget

    def node_budget(self, node: int) -> Budget:
        """What node ``node`` (0 ..) may send in each round; of a continual learner, what it may hold."""
        return Budget.parse(self.budget_text(node))

    def budget_text(self, node: int) -> str:
        """The same as text."""
        common, exceptions = _parse_budgets(self.amount, self.nodes)
        return exceptions.get(node, common)

    @property
    def root(self) -> Path | None:
        """``data_root`` as ``fedbits.data.load`` takes it."""
        return Path(self.data_root) if self.data_root else None

    @property
    def _idle(self) -> tuple[str, ...]:
        """Fields without effect on the role."""
        return _OF_SETS if self.role == CL_LEARNER else _OF_MEMORIES

    def settings(self) -> dict[str, Scalar]:
        """What the run does, for people: no places, nothing that has no effect on the role."""
        hidden = {*_PLACES, *(name.replace("_", "-") for name in self._idle)}
        return {key: value for key, value in self.to_flat().items() if key not in hidden}

    def to_flat(self) -> dict[str, Scalar]:
        """As Flower's run config: text keys, scalar values."""
        flat: dict[str, Scalar] = {}
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if entry.name in _GROUPS:
                flat |= {f"{_GROUPS[entry.name]}{key}": item for key, item in value.items()}
            else:
                flat[entry.name.replace("_", "-")] = value
        return flat

    @classmethod
    def from_flat(cls, flat: Mapping[str, Scalar]) -> RunConfig:
        """The inverse of :meth:`to_flat`; missing entries take their defaults.

        Raises:
            ConfigError: an entry that does not exist, or a value of the wrong type or range.
        """
        fields = {entry.name: entry for entry in dataclasses.fields(cls)}
        values: dict[str, object] = {}
        groups: dict[str, dict[str, Scalar]] = {name: {} for name in _GROUPS}
        for key, value in flat.items():
            group = next((name for name, prefix in _GROUPS.items() if key.startswith(prefix)), None)
            if group is not None:
                groups[group][key.removeprefix(_GROUPS[group])] = value
                continue
            name = key.replace("-", "_")
            if name not in fields:
                raise ConfigError(unknown("run setting", key, cls().to_flat()))
            values[name] = _typed(key, value, type(fields[name].default))
        return cls(**values, **groups)  # type: ignore[arg-type]


def is_address(where: str) -> bool:
    """Whether an exchange is named by its address, HOST:PORT without a slash in it, and not by its folder."""
    host, colon, port = where.rpartition(":")
    return bool(host and colon) and port.isdecimal() and "/" not in where


def _parse_budgets(text: str, nodes: int) -> tuple[str, dict[int, str]]:
    """``"10KiB,0=2KiB"`` as the common budget and the exceptions by node, each known to be readable.

    Raises:
        BudgetError: an amount that cannot be read.
        ConfigError: an exception for a node that does not exist, or not of the form NODE=BUDGET.
    """
    common, *rest = text.split(",")
    exceptions: dict[int, str] = {}
    Budget.parse(common)
    for part in rest:
        node, equals, amount = part.partition("=")
        if not equals or not node.strip().isdecimal():
            raise ConfigError(f"budget exception {part.strip()!r} cannot be read: write it like '3=2KiB'")
        if int(node) >= nodes:
            raise ConfigError(f"budget exception {part.strip()!r} names a node beyond 0 .. {nodes - 1}")
        Budget.parse(amount)
        exceptions[int(node)] = amount
    return common, exceptions


def _within(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{what} {value} is not between {low} and {high:,}")


def _typed(key: str, value: Scalar, kind: type) -> Scalar:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"run setting {key!r} is {value!r}, which is not of type {kind.__name__}")
    return value
