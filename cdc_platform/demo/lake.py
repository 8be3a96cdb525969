"""What the demo sees of its lake: the tables' own logs and rows, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cdc_platform.core.model import Kind, Target
from cdc_platform.core.offsets import reached
from cdc_platform.core.ports import StoredTable
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.demo.report import TableReport, lag_fields
from cdc_platform.platform import lake_table, place
from cdc_platform.verify import lag

SHOWN = 24
"""Commits whose lag is told."""


@dataclass(frozen=True, slots=True)
class DemoLake:
    """The lake tables of one source."""

    settings: Settings
    source: Source

    def table(self, target: Target, kind: Kind) -> StoredTable:
        return lake_table(self.settings, self.source, target.table, kind, target.format)

    def rows(self, kind: Kind) -> int:
        """Rows that are there in every format, of all tables."""
        counts: dict[str, int] = {}
        for target in self.source.targets:
            table = self.table(target, kind)
            found = table.snapshot()[1] if table.exists() else 0
            counts[target.table] = min(found, counts.get(target.table, found))
        return sum(counts.values())

    def is_folded(self) -> bool:
        """Whether every current table holds what its changelog does."""
        return all(self._is_folded(target) for target in self.source.targets)

    def _is_folded(self, target: Target) -> bool:
        changelog, current = (self.table(target, kind).snapshot()[0].offsets for kind in Kind)
        return reached(current, changelog)

    def lags(self, target: Target) -> list[float]:
        """p95 of the newest changelog commits' lag, the oldest first."""
        version = self.table(target, Kind.CHANGELOG).snapshot()[0].version
        changelog = place(self.settings, self.source, target.table, Kind.CHANGELOG, target.format)
        commits = changelog.history.commits(version - SHOWN, version)
        return [commit.lag for commit in commits if commit.lag is not None]

    def report(
        self, target: Target, found: Mapping[str, object], window: tuple[datetime, datetime]
    ) -> TableReport:
        """``found``: what the target's content check told. ``window``: whose commits' lag is measured."""
        changelog = self.table(target, Kind.CHANGELOG)
        p50, p95, highest = lag_fields(lag.measure(changelog.rows(), changelog.commits(), *window))
        by_operation = found["cdc/changelog_rows"]
        assert isinstance(by_operation, dict)
        return TableReport(
            source=self.source.name,
            table=target.table,
            format=target.format.value,
            position=str(found["cdc/position"]),
            source_rows=int(str(found["cdc/source_rows"])),
            changelog_rows=by_operation,
            current_rows=int(str(found["cdc/current_rows"])),
            source_digest=str(found["cdc/source_digest"]),
            lake_digest=str(found["cdc/lake_digest"]),
            lag_p50_s=p50,
            lag_p95_s=p95,
            lag_max_s=highest,
            verdict=str(found["cdc/verdict"]),
            reason=str(found["cdc/reason"]),
        )
