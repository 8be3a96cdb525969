"""The sensor that keeps one run per source alive while there is something to read.

One list-offsets call a tick. It starts no run per batch and moves no cursor of record: the tables' offsets
are the truth, and a run that is requested twice waits at the fence and finds nothing left to do.

A run that is nearly out of time gets its successor before it ends, always with all of the source's tables: a
table that happens to be caught up at this tick would otherwise stay without a run until the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import dagster as dg
import orjson

from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Offsets, Stream, lag, reached
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.orchestrate.keys import MODE_TAG, SOURCE_TAG, lake_key, topic_key
from cdc_platform.platform import lake_table

HAND_OVER = 8.0
"""Seconds before a run's end at which its successor is started: start-up takes about 3 s, a tick 5 s."""

OBSERVE_EVERY = 30.0
"""Seconds between two observations of a topic's lag."""

BUSY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def keep_draining(source: Source, settings: Settings) -> dg.SensorDefinition:
    log = _once(lambda: KafkaLog(settings.kafka_bootstrap, timeout=10))

    @dg.sensor(
        name=f"drain_{source.name}",
        target=dg.AssetSelection.assets(
            *(lake_key(source, name, kind) for name in source.collections for kind in Kind)
        ),
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Keeps one run draining the topics of {source.name} while there is lag.",
    )
    def drain(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        ends = _ends(log(), source)
        if not ends:
            return dg.SkipReason(f"no topics yet: cdc connector apply {source.name}")
        behind = {name: _behind(settings, source, name, *found) for name, found in ends.items()}
        now = time.time()
        tired = resting(context.instance, source, now)
        request, reason = decide(context.instance, source, settings, behind, tired, now)
        events, cursor = _observe(source, behind, context.cursor)
        return dg.SensorResult(
            run_requests=[request] if request else [],
            skip_reason=None if request else dg.SkipReason(reason),
            asset_events=events,
            cursor=cursor,
        )

    return drain


def decide(
    instance: dg.DagsterInstance,
    source: Source,
    settings: Settings,
    behind: dict[str, int],
    tired: set[str],
    now: float,
) -> tuple[dg.RunRequest | None, str]:
    """A request for a run of all tables that are not ``tired``, or None and why not. ``now``: epoch
    seconds.
    """
    runs = instance.get_run_records(
        dg.RunsFilter(statuses=BUSY, tags={SOURCE_TAG: source.name, MODE_TAG: "stay"}), limit=10
    )
    if len(runs) > 1:
        return None, "a run is draining and its successor is ready"
    if runs:
        started = runs[0].start_time
        if started is None or now - started < settings.run_seconds - HAND_OVER:
            return None, f"run {runs[0].dagster_run.run_id[:8]} is draining"
    elif not any(count for name, count in behind.items() if name not in tired):
        waiting = f"; stopped: {', '.join(sorted(tired))}" if tired else ""
        return None, f"the lake stands at the ends of all topics{waiting}"
    keys = [lake_key(source, name, kind) for name in source.collections if name not in tired for kind in Kind]
    return (
        dg.RunRequest(
            asset_selection=keys,
            asset_check_keys=[],
            tags={SOURCE_TAG: source.name, MODE_TAG: "stay"},
        ),
        "",
    )


def _ends(log: KafkaLog, source: Source) -> dict[str, tuple[Stream, Offsets]]:
    streams = log.streams([source.topic(name) for name in source.collections])
    ends = log.ends(list(streams.values()))
    return {
        name: (streams[topic], ends[topic])
        for name in source.collections
        if (topic := source.topic(name)) in streams
    }


def _behind(settings: Settings, source: Source, name: str, stream: Stream, ends: Offsets) -> int:
    """Offsets the changelog lacks, or 1 if only the current state lags behind its changelog."""
    changelog, current = (lake_table(settings, source, name, kind) for kind in (Kind.CHANGELOG, Kind.CURRENT))
    committed = changelog.open(stream).offsets if changelog.exists() else {}
    missing = lag(committed, ends)
    merged = current.open(stream).offsets if current.exists() else {}
    return missing or int(not reached(merged, committed))


def resting(instance: dg.DagsterInstance, source: Source, now: float) -> set[str]:
    """Tables whose last run failed for them, for a time that doubles with each failure in a row, to 5 min."""
    records = instance.get_run_records(
        dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE],
            tags={SOURCE_TAG: source.name, MODE_TAG: "stay"},
        ),
        limit=8,
    )
    tired = set()
    for name in source.collections:
        failures = _failures_in_a_row(records, name)
        ended = failures[0].end_time if failures else None
        if ended and now - ended < min(300, 5 * 2 ** len(failures)):
            tired.add(name)
    return tired


def _failures_in_a_row(records: Sequence[dg.RunRecord], name: str) -> list[dg.RunRecord]:
    failures = []
    for record in records:
        if name not in record.dagster_run.tags.get("cdc/failed", "").split(","):
            break
        failures.append(record)
    return failures


def _observe(
    source: Source, behind: dict[str, int], cursor: str | None
) -> tuple[list[dg.AssetObservation], str | None]:
    """The lag of every topic, now and then. The cursor only remembers when that was."""
    now = time.time()
    if cursor and now - float(orjson.loads(cursor).get("observed", 0)) < OBSERVE_EVERY:
        return [], cursor
    events = [
        dg.AssetObservation(
            topic_key(source, name), metadata={"cdc/lag_offsets": dg.MetadataValue.int(count)}
        )
        for name, count in behind.items()
    ]
    return events, orjson.dumps({"observed": now}).decode()


def _once(make: Callable[[], KafkaLog]) -> Callable[[], KafkaLog]:
    """The first admin connection takes seconds; it is kept for the code server's life."""
    made: list[KafkaLog] = []

    def get() -> KafkaLog:
        if not made:
            made.append(make())
        return made[0]

    return get
