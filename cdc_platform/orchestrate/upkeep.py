"""The job that compacts a source's tables and removes what no version refers to any more."""

from pathlib import Path

import dagster as dg
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from cdc_platform.core.errors import Conflict
from cdc_platform.core.model import Kind
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.lake.upkeep import RETENTION_HOURS, tidy
from cdc_platform.orchestrate.keys import lake_key
from cdc_platform.platform import lake_table


class UpkeepConfig(dg.Config):
    """Given when the job is launched."""

    retention_hours: int = RETENTION_HOURS


def upkeep_job(source: Source, settings: Settings) -> dg.JobDefinition:
    @dg.op(name=f"{source.name}_upkeep", description="OPTIMIZE and VACUUM of every lake table of the source.")
    def upkeep(context: dg.OpExecutionContext, config: UpkeepConfig) -> None:
        for name in source.collections:
            for kind in Kind:
                table = lake_table(settings, source, name, kind)
                if not table.exists():
                    continue
                done = _patient()(tidy, Path(table.uri), config.retention_hours)
                context.log_event(
                    dg.AssetObservation(
                        lake_key(source, name, kind),
                        metadata={
                            "cdc/files_before": done.files_before,
                            "cdc/files_after": done.files_after,
                            "cdc/files_removed": done.removed,
                        },
                    )
                )

    @dg.job(
        name=f"upkeep_{source.name}",
        description=f"Compact the lake tables of {source.name} and remove unused files.",
    )
    def job() -> None:
        upkeep()

    return job


def _patient() -> Retrying:
    """Writers commit every second; between two of their commits there is room for a compaction's."""
    return Retrying(
        retry=retry_if_exception_type(Conflict),
        stop=stop_after_attempt(10),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        reraise=True,
    )
