"""The job that compacts a source's tables and removes files that no version needs any more.

One table's trouble is its own: the others are kept up, and the run fails at its end, naming those that could
not be.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import dagster as dg
from pydantic import Field
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from cdc_platform.core.errors import CdcError, Conflict
from cdc_platform.core.model import Kind
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.lake.upkeep import compact, vacuum
from cdc_platform.orchestrate.keys import SOURCE_TAG, lake_key
from cdc_platform.orchestrate.tables import Tables
from cdc_platform.platform import holds, lake_table

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
        held = holds(settings, source).all()
        failed = []
        for name in config.of(source):
            if name in held:
                context.log.warning(f"{name} is held back and is left as it is: {held[name].reason}")
                continue
            for kind in Kind:
                try:
                    _keep_up(context, source, settings, config, name, kind)
                except CdcError as error:
                    context.log.error(f"{name} ({kind}): {error}")
                    failed.append(f"{name} ({kind}): {error}")
        if failed:
            raise dg.Failure("\n".join(failed), allow_retries=False)

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
