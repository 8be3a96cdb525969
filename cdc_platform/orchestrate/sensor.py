"""The sensor that keeps one run per source alive while there is something to read.

One list-offsets call a tick. It starts no run per batch and moves no cursor of record: the tables' offsets
are the truth, and a run that is requested twice waits at the fence and finds nothing left to do.

A table that cannot be looked at counts as behind: the run that is started for it says what is wrong with it,
and the tick's other tables are not held up. A tick that finds a service down fails, with the reason; those
after it are skipped at once, with the same reason, until the service is tried again (``dependency``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import dagster as dg
import orjson

from cdc_platform.core.errors import CdcError
from cdc_platform.core.model import Format, Kind, Target
from cdc_platform.core.offsets import Offsets, Stream, lag, reached
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.orchestrate.dependency import Down, dependency
from cdc_platform.orchestrate.failed import resting
from cdc_platform.orchestrate.keys import ALSO_TAG, MODE_TAG, SOURCE_TAG, target_keys, topic_key
from cdc_platform.orchestrate.reachable import Lakes
from cdc_platform.orchestrate.reloading import reload
from cdc_platform.orchestrate.running import working
from cdc_platform.orchestrate.turn import Situation, turn, worth_looking
from cdc_platform.orchestrate.watching import Look, Watch
from cdc_platform.platform import holds, lake_table, log_of

OBSERVE_EVERY = 30.0
"""Seconds between two observations of a topic's lag."""


def keep_draining(source: Source, settings: Settings) -> dg.SensorDefinition:
    log = _once(lambda: log_of(settings))
    kafka = dependency(settings, "Kafka", settings.kafka_bootstrap)
    watch = Watch(settings, source)
    lakes = Lakes(settings)

    keys = [key for target in source.targets for key in target_keys(source, target)]

    @dg.sensor(
        name=f"drain_{source.name}",
        target=dg.AssetSelection.assets(*keys) if keys else None,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Keeps one run alive that drains the topics of {source.name} into the lake, while there "
        f"is something to read. Looks for collections that are new or gone. When it starts no run, it tells "
        f"which tables stand still and why.",
        tags={SOURCE_TAG: source.name},
    )
    def drain(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now = time.time()
        due = _observation_is_due(context.cursor, now)
        look = watch.look(log(), at_all=due)
        notes = [*look.notes, *_read_anew(source, look)]
        lakes_down = lakes.look(look.source)
        notes += lakes_down.values()
        targets = [each for each in look.source.targets if each.format not in lakes_down]
        runs = working(context.instance, look.source, settings, now)
        looked = targets if due else worth_looking(targets, runs, now, settings.run_seconds)
        try:
            ends = kafka.call(lambda: _ends(log(), source, [each.table for each in looked]))
        except Down as down:
            return dg.SkipReason(_together(str(down), notes))
        if not targets:
            return dg.SkipReason(_together("no lake table can be reached", notes))
        behind = {
            each: _behind(settings, source, each, *ends[each.table]) for each in looked if each.table in ends
        }
        held = holds(settings, source).all()
        seen = Situation(
            targets=targets,
            runs=runs,
            behind={each: 1 if count is None else count for each, count in behind.items()},
            missing=frozenset(each for each in looked if each.table not in ends),
            held={each: held[each.table].reason for each in targets if each.table in held},
            resting=resting(context.instance, look.source, now),
        )
        if seen.missing == frozenset(targets):
            return dg.SkipReason(_together(f"no topics yet: cdc connector apply {source.name}", notes))
        found = turn(seen, now, settings.run_seconds)
        requests = run_requests(source, found.targets)
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(_together(found.reason, notes)),
            asset_events=_observations(source, behind) if due else [],
            cursor=orjson.dumps({"observed": now}).decode() if due else context.cursor,
        )

    return drain


def _read_anew(loaded: Source, look: Look) -> list[str]:
    """Have the definitions read anew if collections were found since; what to say of it.

    In the tick after they are found: the run of this one is planned with the definitions that it began with.
    """
    if look.fresh or set(loaded.collections) == set(look.source.collections) or reload(look.source):
        return []
    return ["new collections become assets when the code location is reloaded; they are drained already"]


def _together(reason: str, notes: Sequence[str]) -> str:
    return "; ".join([reason, *notes])


def run_requests(loaded: Source, targets: Sequence[Target]) -> list[dg.RunRequest]:
    """A staying run. Its checks are not planned: they would look unfinished as long as it stays.

    Of a source without any loaded table there is nothing to select, until its definitions are read anew.
    """
    known = [target for target in targets if target.table in loaded.collections]
    if not known:
        return []
    also = list(dict.fromkeys(each.table for each in targets if each not in known))
    tags = {SOURCE_TAG: loaded.name, MODE_TAG: "stay"}
    return [
        dg.RunRequest(
            asset_selection=[key for target in known for key in target_keys(loaded, target)],
            asset_check_keys=[],
            tags=tags | ({ALSO_TAG: ",".join(also)} if also else {}),
        )
    ]


def _ends(log: KafkaLog, source: Source, names: Sequence[str]) -> dict[str, tuple[Stream, Offsets]]:
    if not names:
        return {}
    streams = log.streams(sorted({source.topic(name) for name in names}))
    ends = log.ends(list(streams.values()))
    return {name: (streams[topic], ends[topic]) for name in names if (topic := source.topic(name)) in streams}


def _behind(settings: Settings, source: Source, target: Target, stream: Stream, ends: Offsets) -> int | None:
    """Offsets the changelog lacks, or 1 if only the current state lags behind its changelog; None if the
    tables cannot say.
    """
    changelog, current = (
        lake_table(settings, source, target.table, kind, target.format)
        for kind in (Kind.CHANGELOG, Kind.CURRENT)
    )
    try:
        committed = changelog.open(stream).offsets if changelog.exists() else {}
        missing = lag(committed, ends)
        merged = current.open(stream).offsets if current.exists() else {}
    except CdcError:
        return None
    return missing or int(not reached(merged, committed))


def _observation_is_due(cursor: str | None, now: float) -> bool:
    """The cursor only remembers when the topics' lag was last observed."""
    return not cursor or now - float(orjson.loads(cursor).get("observed", 0)) >= OBSERVE_EVERY


def _observations(source: Source, behind: Mapping[Target, int | None]) -> list[dg.AssetObservation]:
    """Per topic, how many offsets the format lacks that is furthest behind, and each by itself."""
    known: dict[str, dict[Format, int]] = {}
    for target, count in behind.items():
        if count is not None:
            known.setdefault(target.table, {})[target.format] = count
    return [
        dg.AssetObservation(
            topic_key(source, name),
            metadata={
                "cdc/lag_offsets": dg.MetadataValue.int(max(counts.values())),
                **{f"cdc/lag_offsets_{each}": dg.MetadataValue.int(n) for each, n in counts.items()},
            },
        )
        for name, counts in known.items()
    ]


def _once(make: Callable[[], KafkaLog]) -> Callable[[], KafkaLog]:
    """The first admin connection takes seconds; it is kept for the code server's life."""
    made: list[KafkaLog] = []

    def get() -> KafkaLog:
        if not made:
            made.append(make())
        return made[0]

    return get
