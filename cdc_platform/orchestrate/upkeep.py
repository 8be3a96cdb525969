"""The job that compacts a source's tables and removes files that no version needs any more."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import dagster as dg
from pydantic import Field
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from cdc_platform.core.errors import Conflict
from cdc_platform.core.model import Kind
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.lake.delta.upkeep import compact, vacuum
from cdc_platform.orchestrate.keys import SOURCE_TAG, lake_key
from cdc_platform.orchestrate.tables import Part, Tables, one_by_one
from cdc_platform.platform import lake_table

T = TypeVar("T")


class UpkeepConfig(Tables):
    """Given when the job is launched."""

    compact: bool = Field(default=True, description="Make few large files of many small ones (OPTIMIZE).")
    vacuum: bool = Field(
        default=True, description="Remove files that no version within retention_hours needs (VACUUM)."
    )
    retention_hours: int | None = Field(
        default=None,
        ge=1,
        description="Hours that files of older versions stay. Without it, what the source declares "
        "(retention.files_hours). At least one: younger files may belong to a commit that is under way.",
    )


def upkeep_job(source: Source, settings: Settings) -> dg.JobDefinition:
    @dg.op(name=f"{source.name}_upkeep", description="OPTIMIZE and VACUUM of the source's lake tables.")
    def upkeep(context: dg.OpExecutionContext, config: UpkeepConfig) -> None:
        def parts(name: str) -> Iterator[Part]:
            for kind in Kind:
                yield f"{name} ({kind})", partial(_keep_up, context, source, settings, config, name, kind)

        one_by_one(context, source, settings, config.of(source), parts)

    @dg.job(
        name=f"upkeep_{source.name}",
        description=f"Compact the lake tables of {source.name} and remove files that no version needs. Rows "
        f"and offsets stay as they are, writers go on meanwhile.",
        tags={SOURCE_TAG: source.name},
    )
    def job() -> None:
        upkeep()

    return job


def _keep_up(
    context: dg.OpExecutionContext,
    source: Source,
    settings: Settings,
    config: UpkeepConfig,
    name: str,
    kind: Kind,
) -> None:
    table = lake_table(settings, source, name, kind)
    if not table.exists():
        return
    metadata: dict[str, dg.MetadataValue] = {}
    if config.compact:
        done = _patiently(lambda: compact(Path(table.uri)))
        metadata["cdc/files_before"] = dg.MetadataValue.int(done.files_before)
        metadata["cdc/files_after"] = dg.MetadataValue.int(done.files_after)
    if config.vacuum:
        hours = config.retention_hours or source.retention.files_hours
        metadata["cdc/files_removed"] = dg.MetadataValue.int(
            _patiently(lambda: vacuum(Path(table.uri), hours))
        )
    context.log_event(dg.AssetObservation(lake_key(source, name, kind), metadata=metadata))


def _patiently(keep: Callable[[], T]) -> T:
    """Writers commit every second; between two of their commits there is room for a compaction's."""
    return Retrying(
        retry=retry_if_exception_type(Conflict),
        stop=stop_after_attempt(10),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        reraise=True,
    )(keep)
