"""Options of a run that ``fedbits simulate`` and ``fedbits deploy run`` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from nodes.config import RunConfig

RoleOption = Annotated[
    Literal["edge_node", "base_station", "cl_learner"],
    typer.Option(
        "--role",
        help="What nodes do: edge_node distils its data and sends the set; base_station does so with beams "
        "of its own site; cl_learner learns class after class, keeps a memory, and sends what is new in it.",
    ),
]
BudgetOption = Annotated[
    str,
    typer.Option(
        "--budget",
        help="What an edge_node or base_station may send in a round: 10KiB, 1KiB/class, 0.5bpp; "
        "others for some nodes after commas: 10KiB,0=2KiB.",
    ),
]
MemoryOption = Annotated[
    str,
    typer.Option(
        "--memory",
        help="What a cl_learner's replay memory holds: 8KiB, 1KiB/class; others as with --budget.",
    ),
]
PolicyOption = Annotated[
    Literal["fixed", "progressive", "redistil"],
    typer.Option(
        "--policy",
        help="How it shares its bytes: a fixed quota for each class, or all among what has been seen, "
        "for which older sets are cut (progressive) or distilled again (redistil).",
    ),
]
ClassOrderOption = Annotated[
    Literal["own", "same"],
    typer.Option(
        "--class-order", help="Classes arrive at cl_learners in each node's own order, or in the same."
    ),
]
RecipeOption = Annotated[
    str, typer.Option("--recipe", help="How nodes distil: quadd, ptq, random or herding.")
]
StepsOption = Annotated[
    int | None, typer.Option("--steps", min=0, help="Distillation steps [default: the recipe's].")
]
IpcOption = Annotated[
    int | None, typer.Option("--ipc", min=1, help="Samples per class [default: from the budget].")
]
BitsOption = Annotated[
    int | None, typer.Option("--bits", min=1, max=8, help="Bits a value [default: from the budget].")
]
RoundsOption = Annotated[
    int | None,
    typer.Option(
        "--rounds",
        min=1,
        help="Exchanges: later ones distil against the global model; of cl_learners each is an "
        "experience  [default: 1; of cl_learners 5]",
        show_default=False,
    ),
]
ProtocolOption = Annotated[str, typer.Option("--protocol", help="How the server trains: laptop or dsa.")]
TrainingStepsOption = Annotated[
    int | None,
    typer.Option("--training-steps", min=1, help="Batches instead of the protocol's.", show_default=False),
]
RepeatsOption = Annotated[
    int, typer.Option("--repeats", min=1, help="Networks trained for the final accuracy.")
]
YardstickOption = Annotated[
    Literal["fedavg", "networks", "both", "none"],
    typer.Option(
        "--yardstick",
        help="Beside it, run FedAvg until it is as accurate; or let nodes send networks in as many bytes.",
    ),
]
ShareOption = Annotated[
    float,
    typer.Option(
        "--share",
        min=0,
        help="Of a node's bytes, how much is for a network that labels its samples, below 1  "
        "[default: as the recipe says]",
        show_default=False,
    ),
]
PooledOption = Annotated[
    bool,
    typer.Option("--pooled", help="Let such networks label each other's views, as far as they know them."),
]
YardstickRoundsOption = Annotated[
    int | None,
    typer.Option(
        "--yardstick-rounds",
        min=1,
        help="Rounds after which FedAvg gives up; of cl_learners, its rounds in each experience  "
        "[default: 50; of cl_learners 5]",
        show_default=False,
    ),
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", help="Seconds in which a node must reply, in each round.")
]
ExchangeOption = Annotated[
    str,
    typer.Option(
        "--exchange",
        metavar="HOST:PORT|DIR",
        help="An exchange, by its address or its folder, on which the sets that arrive are put.",
    ),
]
JoinOption = Annotated[
    bool, typer.Option("--join", help="Let sets of the task that are on it already join the union.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of runs; the run's own is made in it.")]
NameOption = Annotated[
    str, typer.Option("--name", help="Name of the run [default: from data, recipe and seed].")
]


def run_config(
    role: str,
    *,
    data_root: Path | None,
    rounds: int | None,
    steps: int | None,
    ipc: int | None,
    bits: int | None,
    training_steps: int | None,
    yardstick_rounds: int | None,
    exchange: str,
    out: Path,
    **others: Any,
) -> RunConfig:
    """The run of a command's options: what was not given is as usual for the role.

    Args:
        others: fields of :class:`nodes.config.RunConfig`, as they are.

    Raises:
        FedbitsError: values that cannot work.
    """
    from nodes.config import RunConfig
    from nodes.roles import CL_LEARNER

    learners = role == CL_LEARNER
    return RunConfig(
        role=role,
        data_root=str(data_root.absolute()) if data_root else "",
        rounds=rounds or (5 if learners else 1),
        overrides=_given(steps=steps, ipc=ipc, bits=bits),
        protocol_overrides=_given(steps=training_steps),
        yardstick_rounds=yardstick_rounds or (5 if learners else 50),
        exchange=_placed(exchange),
        out=str(out),
        **others,
    )


def _placed(exchange: str) -> str:
    """An exchange as it must be named elsewhere: a folder's path is absolute."""
    from nodes.config import is_address

    if not exchange or is_address(exchange):
        return exchange
    return str(Path(exchange).expanduser().absolute())


def _given(**values: int | None) -> dict[str, int]:
    return {key: value for key, value in values.items() if value is not None}
