"""The job that reads committed offsets of a table once more (``replicate.replay``).

It stands at no fence: the staying run goes on meanwhile, with this table and all others.
"""

import dagster as dg
from pydantic import Field, model_validator

from cdc_platform.core.errors import Terminal
from cdc_platform.core.model import Kind, Target
from cdc_platform.core.offsets import Range
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.keys import SOURCE_TAG, target_keys
from cdc_platform.orchestrate.tables import known
from cdc_platform.platform import log_of, replicas
from cdc_platform.replicate.replay import Replayed, replay


class ReplayConfig(dg.Config):
    """Given when the job is launched."""

    table: str = Field(description="The table, by the name of its collection.")
    partition: int = Field(ge=0, description="The partition of its topic.")
    start_offset: int = Field(ge=0, description="The first offset to read again.")
    end_offset: int = Field(ge=1, description="The offset after the last one to read again.")

    @model_validator(mode="after")
    def _is_a_range(self) -> "ReplayConfig":
        if self.end_offset <= self.start_offset:
            raise ValueError("end_offset is the offset after the last one: it must lie past start_offset")
        return self


def replay_job(source: Source, settings: Settings) -> dg.JobDefinition:
    @dg.op(
        name=f"{source.name}_replay",
        description="Reads committed offsets from Kafka again and puts in the rows that are missing.",
    )
    def replay_range(context: dg.OpExecutionContext, config: ReplayConfig) -> None:
        [name] = known(source, [config.table])
        log = log_of(settings)
        found = replicas(settings, source, log, {name: frozenset(Kind)})
        stream = found[0].stream
        if config.partition >= stream.partitions:
            raise Terminal(
                f"topic {stream.topic} has no partition {config.partition}",
                where="the run's configuration, partition",
                remedy=f"its partitions are 0 to {stream.partitions - 1}",
            )
        wanted = {config.partition: Range(config.start_offset, config.end_offset)}
        for each in found:
            _tell(context, source, each.target, replay(each, log, wanted))

    @dg.job(
        name=f"replay_{source.name}",
        description=f"Read committed offsets of a table of {source.name} again: rows that it lacks are put "
        f"in at their place, nothing newer is touched, no offset moves. What is whole stays as it is.",
        tags={SOURCE_TAG: source.name},
    )
    def job() -> None:
        replay_range()

    return job


def _tell(context: dg.OpExecutionContext, source: Source, target: Target, done: Replayed) -> None:
    context.log.info(
        f"{target}: {done.read} events read again, {done.added} were missing, {done.keys} keys looked up"
    )
    for partition, offset, reason in done.dead:
        context.log.warning(
            f"{target}, partition {partition}, offset {offset} is a dead letter still: {reason}"
        )
    for key in target_keys(source, target):
        context.log_event(
            dg.AssetObservation(
                key,
                description=f"offsets of {target} replayed",
                metadata={
                    "cdc/replayed_events": dg.MetadataValue.int(done.read),
                    "cdc/replayed_missing": dg.MetadataValue.int(done.added),
                    "cdc/replayed_dead_letters": dg.MetadataValue.int(len(done.dead)),
                },
            )
        )
