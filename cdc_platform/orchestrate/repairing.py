"""The job that brings single rows to what the source has (``cdc_platform.operate.repairing``).

It stands at no fence: the staying run goes on meanwhile, and brings the rows into the lake.
"""

from collections.abc import Iterator
from functools import partial

import dagster as dg
from pydantic import Field, model_validator

from cdc_platform.core.errors import Terminal
from cdc_platform.core.model import Kind
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.operate.repairing import repair
from cdc_platform.orchestrate.keys import SOURCE_TAG, lake_key
from cdc_platform.orchestrate.tables import Part, Tables, one_by_one
from cdc_platform.verify.verdict import Verdict

SHOWN = 20
"""Keys named in the run's log."""


class RepairConfig(Tables):
    """Given when the job is launched."""

    keys: list[str] = Field(
        default=[],
        description="Rows of the one table named, by their _key in the lake. None: all that a proof finds "
        "different.",
    )

    @model_validator(mode="after")
    def _keys_are_of_one_table(self) -> "RepairConfig":
        if self.keys and len(self.tables) != 1:
            raise ValueError("keys are those of one table: name it in tables, and no other")
        return self


def repair_job(source: Source, settings: Settings) -> dg.JobDefinition:
    @dg.op(
        name=f"{source.name}_repair",
        description="Has the connector read differing rows again, deletes what the source has no more, and "
        "proves the tables once more.",
    )
    def repair_tables(context: dg.OpExecutionContext, config: RepairConfig) -> None:
        def parts(name: str) -> Iterator[Part]:
            yield name, partial(_repair, context, source, settings, name, config)

        one_by_one(context, source, settings, config.of(source), parts)

    @dg.job(
        name=f"repair_{source.name}",
        description=f"Bring the rows of {source.name}'s tables that a proof finds different, or the keys "
        f"named, to what the source has, through the connector and the topic. The run fails if a table is "
        f"not equal then.",
        tags={SOURCE_TAG: source.name},
    )
    def job() -> None:
        repair_tables()

    return job


def _repair(
    context: dg.OpExecutionContext, source: Source, settings: Settings, name: str, config: RepairConfig
) -> None:
    found = repair(settings, source, name, config.keys, context.log.info)
    for key, done in sorted(found.keys.items())[:SHOWN]:
        context.log.info(f"{name}: key {key} {done}")
    context.log.info(f"{name}: {len(found.keys)} keys repaired")
    if found.more:
        context.log.warning(f"{name}: there are more differing keys than one repair takes, repair again")
    for each in found.results:
        context.log.info(each.text)
        context.log_event(
            dg.AssetObservation(
                lake_key(source, name, Kind.CURRENT, each.format),
                description=each.text,
                metadata={
                    "cdc/repaired_keys": dg.MetadataValue.int(len(found.keys)),
                    "cdc/verdict": dg.MetadataValue.text(each.verdict.value),
                },
            )
        )
    if found.verdict is not Verdict.PASS:
        raise Terminal(
            f"{name} is not proven equal to its source after the repair: {found.verdict}",
            where=f"source {source.name}",
            remedy="read the verdict above; a damaged changelog takes cdc rebuild",
        )
