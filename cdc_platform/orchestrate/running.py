"""The runs of a source that are going on, as Dagster and this machine know them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import dagster as dg

from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.failed import failures, has_target
from cdc_platform.orchestrate.keys import MODE_TAG, SOURCE_TAG
from cdc_platform.orchestrate.turn import Working
from cdc_platform.replicate.fence import is_held

LOST_AFTER = 60.0
"""Seconds in which a started run gets to the fence."""

SECOND_LOOK = 2.0
"""Seconds in which a run that is past the fence has ended, and its successor has come to it."""

BUSY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def working(
    instance: dg.DagsterInstance,
    source: Source,
    settings: Settings,
    now: float,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Working]:
    """The staying runs of a source. One whose process is gone is ended in Dagster, and left out.

    Where runs are processes of the code server, nobody notices that they ended with it: such a run would look
    as if it was draining for ever.
    """
    records = _busy(instance, source)
    if _lost(instance, source, settings, records, now):
        sleep(SECOND_LOOK)  # a run that ends, or is being relieved, is past the fence already
        records = _busy(instance, source)
        lost = _lost(instance, source, settings, records, now)
        for record in lost:
            instance.report_run_failed(
                record.dagster_run, "the run's process is gone: the tables are whole, the next run goes on"
            )
        records = [record for record in records if record not in lost]
    return [_working(source, record) for record in records]


def _busy(instance: dg.DagsterInstance, source: Source) -> Sequence[dg.RunRecord]:
    tags = {SOURCE_TAG: source.name, MODE_TAG: "stay"}
    return instance.get_run_records(dg.RunsFilter(statuses=BUSY, tags=tags), limit=10)


def _lost(
    instance: dg.DagsterInstance,
    source: Source,
    settings: Settings,
    records: Sequence[dg.RunRecord],
    now: float,
) -> list[dg.RunRecord]:
    old = [each for each in records if each.start_time is not None and now - each.start_time > LOST_AFTER]
    if not old or instance.run_launcher.supports_check_run_worker_health or is_held(settings, source):
        return []
    return old


def _working(source: Source, record: dg.RunRecord) -> Working:
    run = record.dagster_run
    failed = failures(run)
    targets = (each for each in source.targets if each not in failed and has_target(run, source, each))
    return Working(run.run_id, record.start_time, frozenset(targets))
