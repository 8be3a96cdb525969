"""The job that deletes rows which their source has no more (``cdc_platform.operate.reconciling``).

It stands at no fence: the staying run goes on meanwhile.
"""

from collections.abc import Iterator
from functools import partial

import dagster as dg
from pydantic import Field

from cdc_platform.core.model import Kind
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.operate.reconciling import reconcile
from cdc_platform.orchestrate.keys import SOURCE_TAG, lake_key
from cdc_platform.orchestrate.tables import Part, Tables, one_by_one

SHOWN = 20
"""Keys named in the run's log."""


class ReconcileConfig(Tables):
    """Given when the job is launched."""

    dry_run: bool = Field(default=False, description="Only tell which rows would be deleted.")


def reconcile_job(source: Source, settings: Settings) -> dg.JobDefinition:
    @dg.op(
        name=f"{source.name}_reconcile",
        description="Compares the tables with the source at a cluster time and deletes rows that it has not.",
    )
    def reconcile_tables(context: dg.OpExecutionContext, config: ReconcileConfig) -> None:
        def parts(name: str) -> Iterator[Part]:
            yield name, partial(_reconcile, context, source, settings, name, config)

        one_by_one(context, source, settings, config.of(source), parts)

    @dg.job(
        name=f"reconcile_{source.name}",
        description=f"Delete the rows of {source.name}'s tables that the source does not have at a cluster "
        f"time: deletes that were never streamed. Each becomes an event in its topic; a key that has come "
        f"back is left.",
        tags={SOURCE_TAG: source.name},
    )
    def job() -> None:
        reconcile_tables()

    return job


def _reconcile(
    context: dg.OpExecutionContext, source: Source, settings: Settings, name: str, config: ReconcileConfig
) -> None:
    found = reconcile(settings, source, name, dry_run=config.dry_run)
    done = "would be deleted" if config.dry_run else "deleted"
    context.log.info(f"{name}: {len(found.rows)} rows that the source does not have at {found.at} {done}")
    for key, (partition, offset) in sorted(found.rows.items())[:SHOWN]:
        context.log.info(f"{name}: key {key} (partition {partition}, offset {offset}) {done}")
    if found.buckets_unlisted:
        context.log.warning(f"{name}: there is more than fits in memory, reconcile again")
    for stored in source.formats_of(name):
        context.log_event(
            dg.AssetObservation(
                lake_key(source, name, Kind.CURRENT, stored),
                description=f"{name} compared with its source: rows that are only here {done}",
                metadata={"cdc/reconciled_rows": dg.MetadataValue.int(len(found.rows))},
            )
        )
