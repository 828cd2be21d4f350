"""The role of a node that learns class after class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nodes.continual.learner import remember
from nodes.continual.yardstick import train_with_replay
from nodes.messages import REMEMBER, REPLAY_TRAINING

if TYPE_CHECKING:
    from fedbits.data import TensorData
    from nodes.careful_grid import CarefulGrid
    from nodes.continual.server import ContinualResult
    from nodes.roles import Work
    from nodes.roster import Member
    from nodes.server_app import Plan, Session


class ContinualLearner:
    """The role; what it takes of the server is imported there."""

    def work(self) -> Mapping[str, Work]:
        return {REMEMBER: remember, REPLAY_TRAINING: train_with_replay}

    def check_data(self, data: TensorData) -> None:
        """Any data will do."""

    def check(self, plan: Plan) -> None:
        from nodes.continual import server

        server.check(plan)

    def serve(self, grid: CarefulGrid, session: Session, members: Sequence[Member]) -> ContinualResult:
        from nodes.continual import server

        return server.serve(grid, session, members)

    def report(self, result: ContinualResult) -> tuple[dict[str, Any], str]:
        from nodes.continual import report, report_html

        facts = report.describe(result)
        return facts, report_html.render(facts, report.draw_sheets(result))

    def rows(self, report: Mapping[str, Any]) -> dict[str, str]:
        from nodes.continual.terminal import rows

        return rows(report)


ROLE = ContinualLearner()
