"""The schedules of a source's upkeep, as its declaration has them (``core.source.Schedules``).

All but the reconciliation are on from the start: a table that nobody compacts grows slower with every commit,
and an event log that nobody trims fills the disk. What a source must not have, its declaration leaves out
with ``null``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from cdc_platform.core.source import Source
from cdc_platform.orchestrate.keys import SOURCE_TAG

Job = dg.JobDefinition | UnresolvedAssetJobDefinition


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs that run on a schedule."""

    upkeep: dg.JobDefinition
    verify: Job
    reconcile: dg.JobDefinition
    retention: dg.JobDefinition


@dataclass(frozen=True, slots=True)
class _Plan:
    name: str
    cron: str | None
    job: Job
    what: str
    config: Mapping[str, Any] = field(default_factory=dict)


def schedules(source: Source, jobs: Jobs) -> list[dg.ScheduleDefinition]:
    """One per cron expression that the source declares."""
    return [
        dg.ScheduleDefinition(
            name=f"{plan.name}_{source.name}_schedule",
            cron_schedule=plan.cron,
            job=plan.job,
            run_config=dict(plan.config),
            execution_timezone=source.schedules.timezone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=plan.what,
            tags={SOURCE_TAG: source.name},
        )
        for plan in _plans(source, jobs)
        if plan.cron is not None
    ]


def _plans(source: Source, jobs: Jobs) -> list[_Plan]:
    when = source.schedules

    def upkeep(**wanted: bool) -> Mapping[str, Any]:
        return {"ops": {f"{source.name}_upkeep": {"config": wanted}}}

    return [
        _Plan(
            "compact",
            when.compact,
            jobs.upkeep,
            f"Keeps the files of {source.name}'s tables few: each commit adds some.",
            upkeep(compact=True, vacuum=False),
        ),
        _Plan(
            "vacuum",
            when.vacuum,
            jobs.upkeep,
            f"Removes files that no version of the last {source.retention.files_hours} h refers to.",
            upkeep(compact=False, vacuum=True),
        ),
        _Plan(
            "verify",
            when.verify,
            jobs.verify,
            f"Looks at all tables of {source.name}, and proves that they equal it: with every row"
            + (f" if the last time is {hours:g} h ago." if (hours := source.verify.full_hours) else "."),
        ),
        _Plan(
            "reconcile",
            when.reconcile,
            jobs.reconcile,
            f"Deletes rows that {source.name} has no more.",
        ),
        _Plan(
            "retention",
            when.retention,
            jobs.retention,
            f"Removes runs of {source.name} that ended more than {source.retention.runs_hours} h ago.",
        ),
    ]
