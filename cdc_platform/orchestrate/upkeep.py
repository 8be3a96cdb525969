"""The job that compacts a source's tables and removes files that no version needs any more."""

from collections.abc import Iterator
from functools import partial

import dagster as dg
from pydantic import Field

from cdc_platform.core.model import Kind
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.operate.keeping_up import Kept, Part, Work, keep_up, parts
from cdc_platform.orchestrate import tables
from cdc_platform.orchestrate.keys import SOURCE_TAG, lake_key


class UpkeepConfig(tables.Tables):
    """Given when the job is launched."""

    compact: bool = Field(
        default=True, description="Make few large files of many small ones (Delta calls it OPTIMIZE)."
    )
    vacuum: bool = Field(
        default=True,
        description="Remove files that no version within retention_hours needs (VACUUM; of Iceberg tables, "
        "the expiry of snapshots, and orphaned files).",
    )
    retention_hours: int | None = Field(
        default=None,
        ge=1,
        description="Hours that files of older versions stay. Without it, what the source declares "
        "(retention.files_hours). At least one: younger files may belong to a commit that is under way.",
    )

    def work(self, source: Source) -> Work:
        hours = self.retention_hours or source.retention.files_hours
        return Work(self.compact, hours if self.vacuum else None)


def upkeep_job(source: Source, settings: Settings) -> dg.JobDefinition:
    @dg.op(name=f"{source.name}_upkeep", description="Compaction and clean-up of the source's lake tables.")
    def upkeep(context: dg.OpExecutionContext, config: UpkeepConfig) -> None:
        def of(name: str) -> Iterator[tables.Part]:
            for part in parts(source, name):
                yield part.label, partial(_keep_up, context, settings, part, config.work(source))

        tables.one_by_one(context, source, settings, config.of(source), of)

    @dg.job(
        name=f"upkeep_{source.name}",
        description=f"Compact the lake tables of {source.name}, in every format, and remove files that no "
        f"version needs. Rows and offsets stay as they are, writers and readers go on meanwhile.",
        tags={SOURCE_TAG: source.name},
    )
    def job() -> None:
        upkeep()

    return job


def _keep_up(context: dg.OpExecutionContext, settings: Settings, part: Part, work: Work) -> None:
    done = keep_up(settings, part, work)
    if done is None:
        return
    metadata = {name: dg.MetadataValue.int(value) for name, value in _told(done) if value is not None}
    if isinstance(part.contents, Kind):
        key = lake_key(part.source, part.collection, part.contents, part.format)
        context.log_event(dg.AssetObservation(key, metadata=metadata))
    else:  # dead letters are no asset
        told = ", ".join(f"{name} {value.value}" for name, value in metadata.items())
        context.log.info(f"{part.label}: {told}")


def _told(done: Kept) -> tuple[tuple[str, int | None], ...]:
    return (
        ("cdc/files_before", done.files_before),
        ("cdc/files_after", done.files_after),
        ("cdc/files_removed", done.removed),
    )
