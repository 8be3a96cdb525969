"""The assets of a source, and the one body that fills its lake tables.

Invariants
- Nothing here decides what to read: the tables' own offsets do. A run that is started twice, too late or
  beside another changes no row.
- The main thread alone talks to Dagster; it may be interrupted at any bytecode, the workers never inside a
  commit.
"""

from collections.abc import Iterator

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from cdc_platform.core.columns import METADATA
from cdc_platform.core.model import Kind
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.orchestrate.fence import fence
from cdc_platform.orchestrate.keys import MODE_TAG, lake_key, source_key, topic_key
from cdc_platform.orchestrate.record import Recorder, storage_metadata
from cdc_platform.platform import lake_table, replicas
from cdc_platform.replicate import Drain, Failure, Until


def upstream_assets(source: Source) -> list[dg.AssetSpec]:
    """The collections and their topics: what the lake tables are made from. Dagster does not materialize
    them.
    """
    specs = []
    for name in source.collections:
        specs.append(
            dg.AssetSpec(
                source_key(source, name),
                description=f"Collection `{source.database}.{name}` of the source database.",
                group_name=source.name,
                kinds={"mongodb"},
            )
        )
        specs.append(
            dg.AssetSpec(
                topic_key(source, name),
                deps=[source_key(source, name)],
                description=f"Change events Debezium captures into topic `{source.topic(name)}`.",
                group_name=source.name,
                kinds={"kafka", "debezium"},
            )
        )
    return specs


def lake_assets(source: Source, settings: Settings) -> dg.AssetsDefinition:
    """Changelog and current state of every collection, in one subsettable step."""

    @dg.multi_asset(
        name=f"{source.name}_lake",
        specs=[spec for name in source.collections for spec in _lake_specs(source, settings, name)],
        can_subset=True,
    )
    def lake(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        if context.run.tags.get(MODE_TAG) == "stay":
            with fence(settings, source) as relieved:
                until = Until(
                    idle=settings.run_idle_seconds,
                    seconds=settings.run_seconds,
                    grace=settings.run_grace_seconds,
                    relieved=relieved,
                )
                yield from _drain(context, source, settings, until)
        else:
            yield from _drain(context, source, settings, Until(caught_up=True))

    return lake


def _drain(
    context: dg.AssetExecutionContext, source: Source, settings: Settings, until: Until
) -> Iterator[dg.MaterializeResult[None]]:
    wanted = _wanted(source, context)
    log = KafkaLog(settings.kafka_bootstrap)
    recorder = Recorder(context, source, settings, staying=not until.caught_up)
    failures: list[Failure] = []
    interrupted: DagsterExecutionInterruptedError | None = None
    with Drain(replicas(settings, source, log, wanted), log, until) as drain:
        while drain.running:
            try:
                outcome = drain.take(timeout=0.25)
                if isinstance(outcome, Failure):
                    failures.append(outcome)
                    context.log.error(f"{outcome.table} ({outcome.kind}) stopped: {outcome.error}")
                    _remember(context, failures)
                elif outcome:
                    recorder.take(outcome)
                recorder.settle()
            except DagsterExecutionInterruptedError as error:
                if interrupted:
                    raise
                interrupted = error
                drain.stop()
    failed = {failure.table for failure in failures}
    yield from recorder.results({name: kinds for name, kinds in wanted.items() if name not in failed})
    if interrupted and _is_canceling(context):
        raise interrupted
    if failures:
        raise dg.Failure(
            "\n".join(f"{failed.table} ({failed.kind}): {failed.error}" for failed in failures),
            allow_retries=False,
        )


def _wanted(source: Source, context: dg.AssetExecutionContext) -> dict[str, frozenset[Kind]]:
    selected = context.selected_asset_keys
    kinds = {
        name: frozenset(kind for kind in Kind if lake_key(source, name, kind) in selected)
        for name in source.collections
    }
    return {name: kinds for name, kinds in kinds.items() if kinds}


def _remember(context: dg.AssetExecutionContext, failures: list[Failure]) -> None:
    """Tables that failed stay on the run as a tag, so that the sensor backs off those alone."""
    context.instance.add_run_tags(
        context.run_id, {"cdc/failed": ",".join(sorted({failed.table for failed in failures}))}
    )


def _is_canceling(context: dg.AssetExecutionContext) -> bool:
    """True if a person terminated the run; a bare SIGTERM to the process ends the run as a success."""
    run = context.instance.get_run_by_id(context.run_id)
    return run is not None and run.status in (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


def _lake_specs(source: Source, settings: Settings, name: str) -> list[dg.AssetSpec]:
    changes, current = (lake_key(source, name, kind) for kind in (Kind.CHANGELOG, Kind.CURRENT))
    return [
        dg.AssetSpec(
            changes,
            deps=[topic_key(source, name)],
            description=f"Every change of `{source.database}.{name}`, append-only, in its topic's order.",
            group_name=source.name,
            kinds={"deltalake"},
            metadata=_static(source, settings, name, Kind.CHANGELOG),
            skippable=True,
        ),
        dg.AssetSpec(
            current,
            deps=[changes],
            description=f"`{source.database}.{name}` as it is now: one row per document, deletes applied.",
            group_name=source.name,
            kinds={"deltalake"},
            metadata=_static(source, settings, name, Kind.CURRENT),
            skippable=True,
        ),
    ]


def _static(source: Source, settings: Settings, name: str, kind: Kind) -> dict[str, dg.MetadataValue]:
    uri = lake_table(settings, source, name, kind).uri
    return storage_metadata(uri, lake_key(source, name, kind)) | {
        "cdc/metadata_columns": dg.MetadataValue.text(", ".join(METADATA)),
    }
