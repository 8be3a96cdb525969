"""Targets (tables in a format) that failed, kept on the runs they failed in, and how long they rest.

Invariants
- A target rests for a time that doubles with each failure in a row, up to REST. Only that target rests.
- A run that a target was not part of says nothing about it. A run that failed as a whole counts for all of
  its targets: one that dies at its start would otherwise be started again at every tick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import dagster as dg

from cdc_platform.core.model import Format, Target
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.keys import ALSO_TAG, FAILED_TAG, MODE_TAG, SOURCE_TAG, target_keys

REST = 300.0
"""Most seconds a target rests after a failure."""

LOOK_BACK = 25
"""Runs that are looked at: more than end in the longest rest, in a row and idle."""


def remember(instance: dg.DagsterInstance, run_id: str, target: Target, now: datetime) -> None:
    """Note on the run that a target failed in it. The target's first failure in the run counts."""
    run = instance.get_run_by_id(run_id)
    if run is None or target in (found := failures(run)):
        return
    both = {**found, target: now}
    text = ",".join(f"{each.path}@{at.isoformat(timespec='seconds')}" for each, at in sorted(both.items()))
    instance.add_run_tags(run_id, {FAILED_TAG: text})


def failures(run: dg.DagsterRun) -> dict[Target, datetime]:
    """Targets that failed in this run, and when."""
    entries = [entry.rsplit("@", 1) for entry in run.tags.get(FAILED_TAG, "").split(",") if entry]
    return {_parsed(name): datetime.fromisoformat(at) for name, at in entries}


def _parsed(name: str) -> Target:
    stored, _, table = name.partition("/")
    return Target(table, Format(stored))


def resting(instance: dg.DagsterInstance, source: Source, now: float) -> Mapping[Target, float]:
    """Targets that rest, and until when. ``now`` and the result: epoch seconds."""
    records = instance.get_run_records(
        dg.RunsFilter(tags={SOURCE_TAG: source.name, MODE_TAG: "stay"}), limit=LOOK_BACK
    )
    until = {target: _rests_until(source, records, target) for target in source.targets}
    return {target: end for target, end in until.items() if end > now}


def _rests_until(source: Source, records: Sequence[dg.RunRecord], target: Target) -> float:
    row = 0
    latest = 0.0
    for record in records:
        if not has_target(record.dagster_run, source, target):
            continue
        failed = _failed_at(record, target)
        if failed is None:
            break
        row += 1
        latest = latest or failed
    return latest + min(REST, 5 * 2**row) if row else 0.0


def _failed_at(record: dg.RunRecord, target: Target) -> float | None:
    run = record.dagster_run
    named = failures(run)
    if target in named:
        return named[target].timestamp()
    if run.status is dg.DagsterRunStatus.FAILURE and not named:
        return record.end_time or record.update_timestamp.timestamp()
    return None


def has_target(run: dg.DagsterRun, source: Source, target: Target) -> bool:
    """Whether a run was asked to fill a table in a format; one without a selection was asked for all."""
    selection = run.asset_selection
    if selection is None or target.table in run.tags.get(ALSO_TAG, "").split(","):
        return True
    return any(key in selection for key in target_keys(source, target))
