"""The job that makes a table anew (``cdc_platform.operate.rebuilding``).

It stands at no fence: the staying run goes on meanwhile, with this table too until its tables are exchanged.
"""

import dagster as dg
from pydantic import Field

from cdc_platform.core.model import Target
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.operate.rebuilding import Origin, rebuild
from cdc_platform.orchestrate.keys import SOURCE_TAG, lake_key
from cdc_platform.orchestrate.tables import known
from cdc_platform.replicate.rebuild import Rebuilt


class RebuildConfig(dg.Config):
    """Given when the job is launched."""

    table: str = Field(description="The table, by the name of its collection.")
    origin: Origin = Field(
        default=Origin.CHANGELOG,
        description="changelog: the current state from the changelog as it is. kafka: the changelog too, "
        "from the records that Kafka still holds. source: both from a new snapshot, with the columns "
        "and types that the source has now; the changes of before are given up.",
    )


def rebuild_job(source: Source, settings: Settings) -> dg.JobDefinition:
    @dg.op(
        name=f"{source.name}_rebuild",
        description="Makes a table anew, in all its formats; readers see the old one until the new one is "
        "whole.",
    )
    def rebuild_table(context: dg.OpExecutionContext, config: RebuildConfig) -> None:
        [name] = known(source, [config.table])
        for done in rebuild(settings, source, name, config.origin, context.log.info):
            _tell(context, source, config.origin, done)

    @dg.job(
        name=f"rebuild_{source.name}",
        description=f"Make a table of {source.name} anew: its current state from the changelog, its "
        f"changelog from Kafka, or both from a new snapshot. Who follows its change feed begins anew there.",
        tags={SOURCE_TAG: source.name},
    )
    def job() -> None:
        rebuild_table()

    return job


def _tell(context: dg.OpExecutionContext, source: Source, origin: Origin, done: Rebuilt) -> None:
    target = Target(done.table, done.format)
    context.log.info(f"{target} {done.kind}: {done.rows} rows in version {done.version}, {done.kept} kept")
    context.log_event(
        dg.AssetObservation(
            lake_key(source, done.table, done.kind, done.format),
            description=f"{done.table} rebuilt from {origin}",
            metadata={
                "cdc/rebuilt_from": dg.MetadataValue.text(origin),
                "cdc/rebuilt_rows": dg.MetadataValue.int(done.rows),
            },
        )
    )
