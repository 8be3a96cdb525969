"""The jobs that hold tables back and let them go on.

A hold is a file that the staying run, the sensor and the command line see at once (``replicate.hold``): no
run has to end for it, and no restart forgets it.
"""

import dagster as dg
from pydantic import Field, field_validator

from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.keys import SOURCE_TAG, target_keys
from cdc_platform.orchestrate.tables import Tables
from cdc_platform.platform import holds, utc_now


class PauseConfig(Tables):
    """Given when the job is launched."""

    reason: str = Field(
        description="Why, in your words: shown wherever somebody asks why the table stands still."
    )

    @field_validator("reason")
    @classmethod
    def _says_something(cls, reason: str) -> str:
        if not reason.strip():
            raise ValueError("say why: whoever finds the table held back will want to know")
        return reason.strip()


class ResumeConfig(Tables):
    """Given when the job is launched."""


def pause_job(source: Source, settings: Settings) -> dg.JobDefinition:
    @dg.op(
        name=f"{source.name}_pause",
        description="Holds tables back: what is being committed is finished, then they are neither read nor "
        "merged until they are resumed. The other tables go on.",
    )
    def pause(context: dg.OpExecutionContext, config: PauseConfig) -> None:
        held = holds(settings, source)
        for name in config.of(source):
            hold = held.hold(name, config.reason, utc_now())
            context.log.info(f"{name} is held back since {hold.since:%Y-%m-%d %H:%M:%S} UTC: {hold.reason}")
            _observe(context, source, name, f"held back: {hold.reason}")

    @dg.job(
        name=f"pause_{source.name}",
        description=f"Hold tables of {source.name} back, the others go on. Nothing is lost: a table that is "
        f"resumed goes on from its own offsets, as long as Kafka keeps its topic.",
        tags={SOURCE_TAG: source.name},
    )
    def job() -> None:
        pause()

    return job


def resume_job(source: Source, settings: Settings) -> dg.JobDefinition:
    @dg.op(name=f"{source.name}_resume", description="Lets tables that are held back go on.")
    def resume(context: dg.OpExecutionContext, config: ResumeConfig) -> None:
        held = holds(settings, source)
        for name in config.of(source):
            if held.release(name):
                context.log.info(f"{name} goes on from its own offsets")
                _observe(context, source, name, "resumed")
            elif config.tables:
                context.log.warning(f"{name} was not held back")

    @dg.job(
        name=f"resume_{source.name}",
        description=f"Let tables of {source.name} go on that pause_{source.name} holds back.",
        tags={SOURCE_TAG: source.name},
    )
    def job() -> None:
        resume()

    return job


def _observe(context: dg.OpExecutionContext, source: Source, name: str, what: str) -> None:
    """On the pages of the table's assets: who looks at a table sees why it stands still."""
    targets = (target for target in source.targets if target.table == name)
    for key in (key for target in targets for key in target_keys(source, target)):
        context.log_event(
            dg.AssetObservation(
                key,
                description=f"{name} {what}",
                metadata={"cdc/hold": dg.MetadataValue.text(what)},
            )
        )
