"""Old runs leave Dagster's event log.

Every recorded commit is 12 to 15 KB there, so a staying run leaves megabytes. What Dagster shows of an asset
(its latest materialization, the verdicts of its checks) stays when the run behind it goes.

Invariant: only runs that carry the source's tag and have ended are removed, and of each job the newest stay.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from pydantic import Field

from cdc_platform.core.source import Source
from cdc_platform.orchestrate.keys import MODE_TAG, SOURCE_TAG
from cdc_platform.platform import utc_now

ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
PAGE = 200


class RetentionConfig(dg.Config):
    """Given when the job is launched; without a value, what the source declares (retention)."""

    runs_hours: int | None = Field(default=None, ge=1, description="Hours that ended runs stay.")
    runs_kept: int | None = Field(
        default=None, ge=1, description="Newest ended runs of each job that stay however old they are."
    )


def retention_job(source: Source) -> dg.JobDefinition:
    @dg.op(
        name=f"{source.name}_retention", description="Removes the source's old runs with all their events."
    )
    def retention(context: dg.OpExecutionContext, config: RetentionConfig) -> None:
        hours = config.runs_hours or source.retention.runs_hours
        kept = config.runs_kept or source.retention.runs_kept
        removed = forget_runs(context.instance, source, utc_now() - timedelta(hours=hours), kept)
        context.log.info(f"{removed} runs of {source.name} removed that ended more than {hours} h ago")
        context.add_output_metadata({"cdc/runs_removed": removed})

    @dg.job(
        name=f"retention_{source.name}",
        description=f"Remove old runs of {source.name} from Dagster's event log, which would grow without "
        f"bound. The lake's tables and what is shown of them stay.",
        tags={SOURCE_TAG: source.name},
    )
    def job() -> None:
        retention()

    return job


def forget_runs(instance: dg.DagsterInstance, source: Source, before: datetime, keep: int) -> int:
    """Remove runs of the source that ended ``before``, all but the newest ``keep`` of each job; how many."""
    seen: Counter[tuple[str, str | None]] = Counter()
    old = []
    for record in _ended(instance, source):
        run = record.dagster_run
        job = (run.job_name, run.tags.get(MODE_TAG))
        seen[job] += 1
        if seen[job] > keep and _ended_at(record) < before:
            old.append(run.run_id)
    for run_id in old:
        _forget(instance, run_id)
    return len(old)


def _ended(instance: dg.DagsterInstance, source: Source) -> Iterator[dg.RunRecord]:
    """Newest first, in pages: a run of many tables has a long selection."""
    cursor = None
    wanted = dg.RunsFilter(statuses=ENDED, tags={SOURCE_TAG: source.name})
    while page := instance.get_run_records(wanted, limit=PAGE, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


def _ended_at(record: dg.RunRecord) -> datetime:
    if record.end_time is not None:
        return datetime.fromtimestamp(record.end_time, UTC)
    return record.update_timestamp.replace(tzinfo=UTC)


def _forget(instance: dg.DagsterInstance, run_id: str) -> None:
    instance.delete_run(run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):  # it empties the run's own file, and leaves it there
        shard = Path(storage.path_for_shard(run_id))
        for path in (shard, shard.with_name(f"{shard.name}-wal"), shard.with_name(f"{shard.name}-shm")):
            path.unlink(missing_ok=True)
