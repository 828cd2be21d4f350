"""The role of a node that distils the beam measurements of its own cell.

What it does is an edge node's work. The server tells in addition what each site gains: beside its own model,
what models know that were trained on a single site's set, on a single site's raw data, and on all raw data.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedbits.data import TensorData
from fedbits.errors import DataError
from nodes.edge_node import EdgeNode

if TYPE_CHECKING:
    from nodes.careful_grid import CarefulGrid
    from nodes.roster import Member
    from nodes.server_app import Plan, RunResult, Session


@dataclass(frozen=True)
class BaseStation(EdgeNode):
    """The role; other roles' nodes that have beams and distil them (``edge_node``) may take part."""

    def check_data(self, data: TensorData) -> None:
        if data.sites is None:
            raise DataError(
                f"a base_station has beam measurements, and {data.spec.name} is none: "
                f"take data such as beams or beams:canyon"
            )

    def check(self, plan: Plan) -> None:
        super().check(plan)
        self.check_data(plan.data.test)

    def serve(self, grid: CarefulGrid, session: Session, members: Sequence[Member]) -> RunResult:
        from nodes.server_app import exchange_sets
        from nodes.sites import StationsResult, compare, of_sites

        result = exchange_sets(grid, session, members, of_sites(session.plan.data.test))
        started = time.monotonic()
        models = compare(session, result)
        seconds = {**result.seconds, "sites": time.monotonic() - started}
        return StationsResult(**{**vars(result), "seconds": seconds}, models=models)

    def report(self, result: Any) -> tuple[dict[str, Any], str]:
        from nodes import report, report_html, sites_report

        facts = report.describe(result) | {"sites": sites_report.describe(result)}
        section = sites_report.section(facts["sites"])
        return facts, report_html.render(facts, report.draw_sheets(result), section)

    def rows(self, report: Mapping[str, Any]) -> dict[str, str]:
        from nodes.sites_report import rows

        return super().rows(report) | rows(report["sites"])


ROLE = BaseStation()
