"""Lag as it really was: from each change's commit in the source to the lake commit that holds it.

Both times are read from the lake afterwards, so nothing depends on what a writer believed while it ran.

The check ``lag`` looks at three things, because each alone would show a stalled table as a fast one
- the connector: one that has failed sends nothing, so nothing is late (FAILED);
- what waits in Kafka: a table that nobody drains has no late commit either (LAGGING);
- the commits of the last minutes.

Invariants
- A row of a snapshot has no commit time, so it says nothing of the lag.
- No lag is negative: clocks of two machines differ.
- What ends a rest waits for a run to start: it is allowed WAKING seconds more, and is judged by itself, so
  that it can neither hide among other changes nor make them late.
- A table at rest has no changes to measure. It passes if a marker that is written into the source now comes
  into Kafka in time: a connector sends a source's changes in their order, so none of the table's waits before
  it, and what waits in Kafka is looked at after it. A connector that only says that it runs is not enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from cdc_platform.core.columns import OFFSET, OPERATION, PARTITION, READ, TIMESTAMP, UTC_MICROS
from cdc_platform.core.model import Lag, Stopped
from cdc_platform.core.offsets import Offsets, Range, Ranges, Stream, ends_of, lag, reached
from cdc_platform.core.ports import Log
from cdc_platform.verify.as_of import NOT_RESENT, Opened
from cdc_platform.verify.capturing import Capturing, Connector, connector_part
from cdc_platform.verify.finding import Check, Fact, Finding, Part, combined, failed, part, passed, unknown
from cdc_platform.verify.stretch import Place
from cdc_platform.verify.verdict import Cause

WINDOW: Final = timedelta(minutes=5)
"""Commits of this long are looked at."""

MOST_COMMITS: Final = 2_000
"""Newest versions looked at for them; a table commits about every second."""

POLL: Final = 0.5
REST: Final = timedelta(minutes=1)
"""After that long without a commit the next one ends a rest."""

WAKING: Final = 10.0
"""Seconds that what ends a rest may take beyond the limit."""

LOOKS: Final = 20
"""Polls for the first record that waits."""

_COMMITS: Final = pl.Schema(
    {"partition": pl.Int32(), "start": pl.Int64(), "end": pl.Int64(), "committed_at": UTC_MICROS}
)


@dataclass(frozen=True, slots=True)
class Stage:
    """What the lag of a table is judged by. ``limit``: seconds. ``now``: the wall clock, in UTC.

    ``pulse``: seconds that a marker takes from the source into Kafka, now; raises CdcError if that cannot be
    seen.
    """

    stream: Stream
    log: Log
    connector: Connector
    limit: float
    now: Callable[[], datetime]
    pulse: Callable[[], float]


def measure(changes: pl.LazyFrame, commits: pl.DataFrame, since: datetime, until: datetime) -> Lag | None:
    """Lag of the changes that the source committed in ``[since, until)``; None if there are none.

    ``changes``: changelog rows. ``commits``: partition, start, end and committed_at of each offset range.
    Rows of a snapshot have no commit time and are left out.
    """
    during = (pl.col(TIMESTAMP) >= since) & (pl.col(TIMESTAMP) < until)
    return _lag(changes.filter(during), commits)


def lag_check(table: str, changelog: Place, current: Place | None, stage: Stage) -> Finding:
    """The changelog's lag is judged, the current table's, if there is one, is told beside it.

    Raises CdcError if a table cannot be opened.
    """
    version = None if current is None else current.table.open(stage.stream).version
    changes = Opened(changelog.table, changelog.table.open(stage.stream))
    recorded = part(lambda: _recorded_part(changes, changelog, current, version, stage))
    waiting = part(lambda: _waiting_part(changes, changelog, stage))  # after a marker, if one was needed
    return combined(table, Check.LAG, [connector_part(stage.connector), waiting, recorded])


def _waiting_part(changes: Opened, changelog: Place, stage: Stage) -> Part:
    committed = changes.handle.offsets
    ends = stage.log.ends([stage.stream])[stage.stream.topic]
    offsets = lag(committed, ends)
    oldest = _first_waiting(committed, ends, stage) if offsets else None
    if oldest is None:
        return passed("No record waits in Kafka.", Fact("waiting_offsets", 0), Fact("waiting_seconds", 0.0))
    seconds = max(0.0, (stage.now() - oldest).total_seconds())
    facts = (Fact("waiting_offsets", offsets), Fact("waiting_seconds", seconds))
    told = f"up to {offsets:,} records wait in Kafka, the first since {seconds:.1f} s"
    allowed = stage.limit
    if seconds > allowed and not _recent(changelog, changes.handle.version, oldest - REST):
        allowed += WAKING
    if seconds > allowed:
        return failed(
            f"LAGGING: {told}; {allowed:g} s are allowed. What to do: look whether a run drains the table.",
            *facts,
        )
    return passed(f"No more than {told}.", *facts)


def _first_waiting(committed: Offsets, ends: Offsets, stage: Stage) -> datetime | None:
    """When the first record past the committed offsets came into Kafka; None if there is none up to the ends
    (markers of transactions are no records)."""
    position = {p: committed.get(p, 0) for p in range(stage.stream.partitions)}
    reader = stage.log.reader({stage.stream: dict(position)})
    found: list[int] = []
    try:
        for _ in range(LOOKS):
            for batch in reader.poll(POLL, 1_000):
                if isinstance(batch, Stopped):
                    raise batch.error
                position |= ends_of(batch.ranges)
                found += batch.frame.select(pl.col("timestamp_ms").min()).to_series().drop_nulls().to_list()
            if found or reached(position, ends):
                break
    finally:
        reader.close()
    return datetime.fromtimestamp(min(found) / 1000, UTC) if found else None


def _recorded_part(
    changes: Opened, changelog: Place, current: Place | None, version: int | None, stage: Stage
) -> Part:
    """``version``: of the current table, opened before the changelog."""
    now = stage.now()
    recent = _recent(changelog, changes.handle.version, now - WINDOW)
    merged = [] if current is None or version is None else _recent(current, version, now - WINDOW)
    minutes = WINDOW.total_seconds() / 60
    if not recent:
        return _at_rest(stage, f"Nothing was committed in the last {minutes:g} minutes")
    rows = _rows(changes, recent)
    found = _lag(rows, _frame(recent))
    beside = _lag(_rows(changes, merged), _frame(merged)) if merged else None
    facts = (*_facts("changelog", found), *_facts("current", beside), Fact("commits", len(recent)))
    if found is None:
        why = f"In the last {minutes:g} minutes no changes were committed but rows that a snapshot read"
        return _at_rest(stage, why, *facts)
    seen = (
        f"over the last {minutes:g} minutes ({len(recent)} commits) p50 {found.p50:.2f} s, p95 "
        f"{found.p95:.2f} s, at most {found.max:.2f} s from the source to the changelog{_beside(beside)}"
    )
    for commits, allowed, when in (
        ([each for each in recent if not each.wakes], stage.limit, ""),
        ([each for each in recent if each.wakes], stage.limit + WAKING, " after a rest"),
    ):
        if not commits:
            continue
        part_of = found if len(commits) == len(recent) else _lag(rows, _frame(commits))
        if part_of and part_of.p95 > allowed:
            return failed(f"LAGGING: {seen}; {allowed:g} s are allowed for p95{when}.", *facts)
    return passed(f"Changes took {seen}.", *facts)


def _at_rest(stage: Stage, why: str, *facts: Fact) -> Part:
    if stage.connector.state is not Capturing.RUNNING:
        return unknown(Cause.NOTHING_SEEN, f"{why}: there is no lag to measure.", *facts)
    seconds = stage.pulse()
    told = f"{why}. A marker that was written into the source now was in Kafka after {seconds:.2f} s"
    facts = (*facts, Fact("marker_seconds", seconds))
    if seconds > stage.limit:
        return unknown(Cause.CONNECTOR_SILENT, f"{told}; {stage.limit:g} s are allowed for changes.", *facts)
    return passed(f"{told}: no change waits before it.", *facts)


def _beside(lag: Lag | None) -> str:
    return "" if lag is None else f", p95 {lag.p95:.2f} s to the current table"


def _facts(name: str, lag: Lag | None) -> tuple[Fact, ...]:
    if lag is None:
        return ()
    return (
        Fact(f"{name}_lag_p50_seconds", lag.p50),
        Fact(f"{name}_lag_p95_seconds", lag.p95),
        Fact(f"{name}_lag_max_seconds", lag.max),
    )


@dataclass(frozen=True, slots=True)
class _Recent:
    """A commit that moved offsets. ``wakes``: it is the first one, or the first after a rest."""

    ranges: Ranges
    committed_at: datetime
    wakes: bool


def _recent(place: Place, version: int, since: datetime) -> Sequence[_Recent]:
    commits = [
        each for each in place.history.commits(max(-1, version - MOST_COMMITS), version) if each.ranges
    ]
    before = [None, *(each.committed_at for each in commits)]
    return [
        _Recent(each.ranges, each.committed_at, last is None or each.committed_at - last > REST)
        for each, last in zip(commits, before, strict=False)
        if each.committed_at >= since
    ]


def _frame(commits: Sequence[_Recent]) -> pl.DataFrame:
    rows = [
        (partition, covered.start, covered.end, commit.committed_at)
        for commit in commits
        for partition, covered in commit.ranges.items()
    ]
    return pl.DataFrame(rows, schema=_COMMITS, orient="row")


def _rows(changelog: Opened, commits: Sequence[_Recent]) -> pl.LazyFrame:
    """The changelog's rows that these commits hold."""
    spans = _frame(commits).group_by("partition").agg(pl.col("start").min(), pl.col("end").max())
    ranges = {partition: Range(start, end) for partition, start, end in spans.iter_rows()}
    return changelog.table.read(changelog.handle, ranges)


def _lag(changes: pl.LazyFrame, commits: pl.DataFrame) -> Lag | None:
    streamed = changes.filter(pl.col(OPERATION) != READ, NOT_RESENT).select(
        pl.col(PARTITION).alias("partition"), pl.col(OFFSET).alias("start"), TIMESTAMP
    )
    joined = (
        streamed.sort("start")
        .join_asof(
            commits.lazy().select("partition", "start", "end", "committed_at").sort("start"),
            on="start",
            by="partition",
            check_sortedness=False,
        )
        .filter(pl.col("start") < pl.col("end"))
    )
    seconds = (pl.col("committed_at") - pl.col(TIMESTAMP)).dt.total_microseconds() / 1e6
    p50, p95, highest = (
        joined.select(seconds.clip(lower_bound=0).alias("s"))
        .select(p50=pl.col("s").quantile(0.5), p95=pl.col("s").quantile(0.95), max=pl.col("s").max())
        .collect()
        .row(0)
    )
    return None if highest is None else Lag(p50, p95, highest)
