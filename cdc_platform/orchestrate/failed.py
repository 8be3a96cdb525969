"""Tables that failed, kept on the runs they failed in, and how long they rest.

Invariants
- A table rests for a time that doubles with each failure in a row, up to REST. Only that table rests.
- A run that a table was not part of says nothing about it. A run that failed as a whole counts for all of its
  tables: one that dies at its start would otherwise be started again at every tick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import dagster as dg

from cdc_platform.core.model import Kind
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.keys import ALSO_TAG, FAILED_TAG, MODE_TAG, SOURCE_TAG, lake_key

REST = 300.0
"""Most seconds a table rests after a failure."""

LOOK_BACK = 25
"""Runs that are looked at: more than end in the longest rest, in a row and idle."""


def remember(instance: dg.DagsterInstance, run_id: str, table: str, now: datetime) -> None:
    """Note on the run that a table failed in it. The table's first failure in the run counts."""
    run = instance.get_run_by_id(run_id)
    if run is None or table in (found := failures(run)):
        return
    both = {**found, table: now}
    text = ",".join(f"{name}@{at.isoformat(timespec='seconds')}" for name, at in sorted(both.items()))
    instance.add_run_tags(run_id, {FAILED_TAG: text})


def failures(run: dg.DagsterRun) -> dict[str, datetime]:
    """Tables that failed in this run, and when."""
    entries = [entry.rsplit("@", 1) for entry in run.tags.get(FAILED_TAG, "").split(",") if entry]
    return {name: datetime.fromisoformat(at) for name, at in entries}


def resting(instance: dg.DagsterInstance, source: Source, now: float) -> Mapping[str, float]:
    """Tables that rest, and until when. ``now`` and the result: epoch seconds."""
    records = instance.get_run_records(
        dg.RunsFilter(tags={SOURCE_TAG: source.name, MODE_TAG: "stay"}), limit=LOOK_BACK
    )
    until = {name: _rests_until(source, records, name) for name in source.collections}
    return {name: end for name, end in until.items() if end > now}


def _rests_until(source: Source, records: Sequence[dg.RunRecord], name: str) -> float:
    row = 0
    latest = 0.0
    for record in records:
        if not has_table(record.dagster_run, source, name):
            continue
        failed = _failed_at(record, name)
        if failed is None:
            break
        row += 1
        latest = latest or failed
    return latest + min(REST, 5 * 2**row) if row else 0.0


def _failed_at(record: dg.RunRecord, name: str) -> float | None:
    run = record.dagster_run
    named = failures(run)
    if name in named:
        return named[name].timestamp()
    if run.status is dg.DagsterRunStatus.FAILURE and not named:
        return record.end_time or record.update_timestamp.timestamp()
    return None


def has_table(run: dg.DagsterRun, source: Source, name: str) -> bool:
    """Whether a run was asked to fill a table; one without a selection was asked for all."""
    selection = run.asset_selection
    if selection is None or name in run.tags.get(ALSO_TAG, "").split(","):
        return True
    return any(lake_key(source, name, kind) in selection for kind in Kind)
