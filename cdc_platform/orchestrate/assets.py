"""The one body that fills the lake tables of a source.

Invariants
- Nothing here decides what to read: the tables' own offsets do. A run that is started twice, too late or
  beside another changes no row.
- The main thread alone talks to Dagster. A run that is asked to end does so between commits.
"""

from collections.abc import Callable, Iterator, Mapping

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.errors import DagsterExecutionInterruptedError

from cdc_platform.core.errors import Terminal
from cdc_platform.core.model import Kind, Target
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.discover import with_found
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.logs import Journal
from cdc_platform.orchestrate.ending import Ending
from cdc_platform.orchestrate.failed import remember
from cdc_platform.orchestrate.keys import ALSO_TAG, MODE_TAG, SOURCE_TAG, target_key
from cdc_platform.orchestrate.record import Recorder
from cdc_platform.orchestrate.specs import lake_specs
from cdc_platform.orchestrate.tables import Tables
from cdc_platform.platform import holds, log_of, replica, utc_now
from cdc_platform.replicate import Drain, Failure, Replica, Until
from cdc_platform.replicate.fence import fence
from cdc_platform.signals import noted

Wanted = Mapping[Target, frozenset[Kind]]
"""What to fill: tables in a format, and which of their lake tables."""


class DrainConfig(Tables):
    """Given when assets are materialized: of the selected tables only these."""


def lake_assets(source: Source, settings: Settings) -> dg.AssetsDefinition:
    """Changelog and current state of every collection in each format, in one subsettable step."""

    @dg.multi_asset(
        name=f"{source.name}_lake",
        specs=[spec for target in source.targets for spec in lake_specs(source, settings, target)],
        can_subset=True,
    )
    def lake(context: dg.AssetExecutionContext, config: DrainConfig) -> Iterator[dg.MaterializeResult[None]]:
        now = with_found(settings, source)
        wanted = _wanted(now, context, config.of(now))
        if context.run.tags.get(MODE_TAG) == "stay":
            with fence(settings, source) as relieved:
                until = Until(
                    idle=settings.run_idle_seconds,
                    seconds=settings.run_seconds,
                    grace=settings.run_grace_seconds,
                    relieved=lambda: False,  # asked here alone: two askers would take one another for one
                )
                yield from _drain(context, source, settings, wanted, until, relieved)
        else:
            going = _without_held(context, source, settings, wanted)
            yield from _drain(context, source, settings, going, Until(caught_up=True))

    return lake


def drain_job(source: Source, lake: dg.AssetsDefinition) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        f"drain_{source.name}",
        selection=dg.AssetSelection.assets(lake).without_checks(),
        description=f"Bring tables of {source.name} to the ends that their topics have now, once.",
        tags={SOURCE_TAG: source.name},
    )


def _drain(
    context: dg.AssetExecutionContext,
    source: Source,
    settings: Settings,
    wanted: Wanted,
    until: Until,
    relieved: Callable[[], bool] = lambda: False,
) -> Iterator[dg.MaterializeResult[None]]:
    """Drain until it is over, a successor waits, or the run is terminated; then tell what the tables hold."""
    log = log_of(settings)
    recorder = Recorder(context, source, settings, staying=not until.caught_up)
    journal = Journal(source.name, run_id=context.run.run_id)
    journal.began(tables=sorted(map(str, wanted)))
    failures: list[Failure] = []
    ending = Ending(context.instance, context.run.run_id)

    def fail(failure: Failure) -> None:
        failures.append(failure)
        context.log.error(f"{failure.target} {failure.kind} stopped: {failure.error}")
        journal.stopped(failure.target, failure.kind, failure.error)
        remember(context.instance, context.run.run_id, failure.target, utc_now())

    found = _replicas(source, settings, log, wanted, fail)
    held = holds(settings, source)
    with noted(ending.note), Drain(found, log, until, held=lambda name: held.held(name) is not None) as drain:
        while drain.running:
            outcome = drain.take(timeout=0.25)
            if isinstance(outcome, Failure):
                fail(outcome)
            elif outcome:
                journal.committed(outcome)
                recorder.take(outcome)
            recorder.settle()
            if ending.asked or relieved():
                drain.stop()
    journal.ended("interrupted" if ending.asked else "failed" if failures else "done")
    failed = {failure.target for failure in failures}
    yield from recorder.results({each: kinds for each, kinds in wanted.items() if each not in failed})
    if ending.asked and ending.terminated:
        raise DagsterExecutionInterruptedError
    if failures:
        raise dg.Failure(
            "\n".join(f"{failed.target} {failed.kind}: {failed.error}" for failed in failures),
            allow_retries=False,
        )


def _replicas(
    source: Source, settings: Settings, log: KafkaLog, wanted: Wanted, fail: Callable[[Failure], None]
) -> list[Replica]:
    """One per target whose table has a topic; a table without one fails alone."""
    streams = log.streams(sorted({source.topic(target.table) for target in wanted}))
    found = []
    for target, kinds in wanted.items():
        topic = source.topic(target.table)
        if (stream := streams.get(topic)) is not None:
            found.append(replica(settings, source, target.table, stream, kinds, target.format))
            continue
        missing = Terminal(
            f"there is no topic {topic}",
            where=f"source {source.name}, Kafka at {settings.kafka_bootstrap}",
            remedy=f"deploy the connector first: cdc connector apply {source.name}",
        )
        fail(Failure(target.table, Kind.CHANGELOG, missing, target.format))
    return found


def _wanted(source: Source, context: dg.AssetExecutionContext, tables: tuple[str, ...]) -> Wanted:
    also = context.run.tags.get(ALSO_TAG, "").split(",")
    kinds = {
        target: frozenset(
            kind
            for kind in source.lake_kinds(target.table)
            if target.table in also or target_key(source, target, kind) in context.selected_asset_keys
        )
        for target in source.targets
        if target.table in tables
    }
    return {target: kinds for target, kinds in kinds.items() if kinds}


def _without_held(
    context: dg.AssetExecutionContext, source: Source, settings: Settings, wanted: Wanted
) -> Wanted:
    """What is not held back; for what is, the run says so. A staying run looks at the holds as it goes."""
    held = holds(settings, source).all()
    for name in sorted({target.table for target in wanted}):
        if hold := held.get(name):
            context.log.warning(
                f"{name} is held back since {hold.since:%Y-%m-%d %H:%M:%S} UTC ({hold.reason}) and is "
                f"skipped; to let it go on, run the job resume_{source.name}"
            )
    return {target: kinds for target, kinds in wanted.items() if target.table not in held}
