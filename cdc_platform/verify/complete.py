"""The check ``offsets_complete``: every record below the committed offsets is in the changelog, once.

    by itself     no place (partition, offset) has two rows, none lies at or beyond the committed offsets
    its commits   the rows that each of them wrote are still there, and the last one ended where the table's
                  offsets stand: a table that was moved back keeps its offsets, not its rows
    Kafka         of the newest offsets of each partition: what Kafka still holds is there, and what is there
                  Kafka holds

Invariants
- Offsets need not be contiguous. Markers of transactions, aborted and compacted records leave holes that only
  Kafka can tell from lost rows, so Kafka is asked, by reading committed records again.
- The changelog is opened before the topic's ends are read: what is committed meanwhile is not looked at.
- Tombstones are records without a row. Dead letters are records whose row is elsewhere. A repair, a delete
  that the platform itself wrote into the topic, has a row only if it did not come too late.
- The result says which offsets were covered. Nothing is claimed of others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import polars as pl

from cdc_platform.core.columns import OFFSET, PARTITION, PLATFORM, TOPIC
from cdc_platform.core.errors import StreamReplaced
from cdc_platform.core.model import Stopped
from cdc_platform.core.offsets import Offsets, Range, Ranges, Stream, describe, ends_of, reached
from cdc_platform.core.ports import Log
from cdc_platform.verify.as_of import Opened
from cdc_platform.verify.committed import commits_are_whole
from cdc_platform.verify.finding import (
    Check,
    Fact,
    Finding,
    Part,
    combined,
    failed,
    part,
    passed,
    said,
    unknown,
)
from cdc_platform.verify.stretch import Place
from cdc_platform.verify.verdict import SHOWN_KEYS, Cause, Unprovable

STEP: Final = 5_000_000
"""Offsets of a partition whose rows are held at once to find doubled ones, 12 bytes each."""

POLL: Final = 0.5
POLL_ROWS: Final = 20_000

REPAIR: Final = f'"connector":"{PLATFORM}"'.encode()
"""In the value of a repair. A document cannot hold it: in an event's JSON its quotes would be escaped."""

_PLACES: Final = pl.Schema({PARTITION: pl.Int32(), OFFSET: pl.Int64()})
_PLACE: Final = _PLACES.names()


@dataclass(frozen=True, slots=True)
class Topic:
    """``newest``: how many offsets of each partition are read again, at most. ``compacted``: Kafka may remove
    records that have a newer one with the same key. ``letters``: where the places (PARTITION, OFFSET) of dead
    letters are, if there are any. ``clock``: seconds that only grow; reading ends after ``deadline`` of them.
    ``step``: offsets of a partition whose rows are held at once.
    """

    stream: Stream
    log: Log
    newest: int
    clock: Callable[[], float]
    deadline: float = 120.0
    compacted: bool = False
    letters: Callable[[], pl.LazyFrame | None] = lambda: None
    step: int = STEP


def offsets_complete(table: str, changelog: Place, topic: Topic) -> Finding:
    """Raises CdcError if the changelog cannot be opened."""
    try:
        opened = Opened(changelog.table, changelog.table.open(topic.stream))
    except StreamReplaced as error:
        return combined(table, Check.OFFSETS_COMPLETE, [failed(said(error))])
    looks = [
        part(lambda: _places_are_single(opened, topic)),
        part(lambda: commits_are_whole(opened, changelog.history)),
        part(lambda: _kafka_agrees(opened, topic)),
    ]
    return combined(table, Check.OFFSETS_COMPLETE, looks)


def _places_are_single(changelog: Opened, topic: Topic) -> Part:
    committed = changelog.handle.offsets
    rows = changelog.rows().select(PARTITION, OFFSET, TOPIC)
    total = rows.select(pl.len()).collect().item()
    facts = (Fact("changelog_rows", total), Fact("committed", _offsets(committed)))
    below = pl.col(PARTITION).replace_strict(dict(committed), default=None, return_dtype=pl.Int64)
    strayed = (pl.col(OFFSET) >= below).fill_null(value=True) | (pl.col(OFFSET) < 0)
    beyond = rows.filter(strayed | (pl.col(TOPIC) != topic.stream.topic)).collect()
    if beyond.height:
        return failed(
            f"{beyond.height} rows of the changelog are not of this topic's offsets below "
            f"{_offsets(committed)}: {_named(beyond)}.",
            *facts,
        )
    doubled = _doubled(changelog, topic.step)
    if doubled.height:
        what = f"{doubled.height} records are in the changelog more than once: {_named(doubled)}."
        return failed(what, *facts)
    return passed(f"The changelog's {total:,} rows have a place each, below {_offsets(committed)}.", *facts)


def _doubled(changelog: Opened, step: int) -> pl.DataFrame:
    """Places that more than one row has; a partition's offsets are looked at in steps."""
    found = [pl.DataFrame(schema=_PLACES)]
    for partition, end in changelog.handle.offsets.items():
        for start in range(0, end, step):
            span = {partition: Range(start, min(end, start + step))}
            rows = changelog.table.read(changelog.handle, span).select(_PLACE)
            found.append(rows.group_by(_PLACE).len().filter(pl.col("len") > 1).select(_PLACE).collect())
    return pl.concat(found)


def _kafka_agrees(changelog: Opened, topic: Topic) -> Part:
    committed = changelog.handle.offsets
    held = topic.log.available([topic.stream])[topic.stream.topic]
    if wrong := _impossible(committed, held):
        return failed(wrong)
    cover = _cover(committed, held, topic.newest)
    if not cover and any(committed.values()) and topic.newest:
        return unknown(
            Cause.FORGOTTEN,
            "Kafka holds no record below the committed offsets any more: nothing can be compared with it.",
        )
    seen = _read(topic, cover, {p: cover[p].start if p in cover else committed.get(p, 0) for p in held})
    rows = changelog.table.read(changelog.handle, cover).select(_PLACE).collect()
    return _compared(seen, rows, topic, describe(cover) or "no offset")


def _impossible(committed: Offsets, held: Ranges) -> str:
    """What is wrong if a committed offset is not within what the topic has, or at its end."""
    for partition, there in sorted(held.items()):
        at = committed.get(partition, 0)
        if at > there.end:
            return (
                f"Partition {partition} is committed up to {at}, and the topic ends at {there.end}: the "
                "broker lost data, or the table is of another topic."
            )
        if at < there.start:
            return (
                f"Kafka removed offsets {at} to {there.start - 1} of partition {partition} before they were "
                "committed: their records are lost to the lake."
            )
    return ""


def _cover(committed: Offsets, held: Ranges, newest: int) -> dict[int, Range]:
    """The offsets to read again."""
    ends = {p: committed.get(p, 0) for p in held}
    cover = {p: Range(max(r.start, ends[p] - newest), ends[p]) for p, r in sorted(held.items())}
    return {p: r for p, r in cover.items() if r}


def _compared(seen: pl.DataFrame, rows: pl.DataFrame, topic: Topic, cover: str) -> Part:
    """``seen``: Kafka's records; ``rows``: the places of the changelog's rows in the same offsets."""
    records = seen.filter(~pl.col("tombstone")).select(_PLACE)
    letters = topic.letters()
    elsewhere = rows.clear() if letters is None else letters.select(_PLACE).collect()
    needed = seen.filter(~pl.col("tombstone") & ~pl.col("repair")).select(_PLACE)
    missing = needed.join(rows, on=_PLACE, how="anti").join(elsewhere, on=_PLACE, how="anti")
    invented = rows.join(records, on=_PLACE, how="anti")
    facts = (
        Fact("kafka_checked", cover),
        Fact("kafka_records", records.height),
        Fact("tombstones", seen.height - records.height),
        Fact("dead_letters", elsewhere.height),
    )
    if missing.height:
        return failed(
            f"{missing.height} records that Kafka holds in {cover} are not in the changelog: "
            f"{_named(missing)}.",
            *facts,
        )
    if invented.height and not topic.compacted:
        return failed(
            f"{invented.height} rows of the changelog in {cover} have no committed record in Kafka (aborted, "
            f"a tombstone, or never there): {_named(invented)}.",
            *facts,
        )
    gone = (
        f" Of {invented.height:,} rows the compacted topic has no record any more." if invented.height else ""
    )
    return passed(
        f"Kafka's {records.height:,} records in {cover} are in the changelog, and no others.{gone}", *facts
    )


def _read(topic: Topic, cover: Ranges, starts: Offsets) -> pl.DataFrame:
    """Place, ``tombstone`` and ``repair`` of every committed record in these ranges.

    ``starts``: where to begin in every partition, also one without a range. Raises Unprovable if it takes
    long.
    """
    found = [pl.DataFrame(schema=pl.Schema({**_PLACES, "tombstone": pl.Boolean(), "repair": pl.Boolean()}))]
    if not cover:
        return found[0]
    position = dict(starts)
    until = topic.clock() + topic.deadline
    reader = topic.log.reader({topic.stream: starts})
    try:
        while not reached(position, ends_of(cover)):
            if topic.clock() > until:
                raise Unprovable(
                    Cause.LAGGING,
                    f"Kafka did not hand out {describe(cover)} within {topic.deadline:.0f} s",
                    where=f"topic {topic.stream.topic}",
                    remedy="check again, or fewer offsets (CDC_VERIFY_OFFSETS)",
                )
            for batch in reader.poll(POLL, POLL_ROWS):
                if isinstance(batch, Stopped):
                    raise batch.error
                position |= ends_of(batch.ranges)
                found.append(
                    batch.frame.select(
                        pl.col("partition").alias(PARTITION),
                        pl.col("offset").alias(OFFSET),
                        pl.col("value").is_null().alias("tombstone"),
                        pl.col("value").bin.contains(REPAIR).fill_null(value=False).alias("repair"),
                    )
                )
    finally:
        reader.close()
    return pl.concat(found).filter(_within(cover))


def _within(cover: Ranges) -> pl.Expr:
    inside = [
        (pl.col(PARTITION) == p) & pl.col(OFFSET).is_between(r.start, r.end, closed="left")
        for p, r in cover.items()
    ]
    return pl.any_horizontal(pl.lit(value=False), *inside)


def _named(rows: pl.DataFrame) -> str:
    shown = rows.select(_PLACE).sort(_PLACE).head(SHOWN_KEYS).iter_rows()
    more = f" and {rows.height - SHOWN_KEYS} more" if rows.height > SHOWN_KEYS else ""
    return ", ".join(f"{partition}:{offset}" for partition, offset in shown) + more


def _offsets(offsets: Offsets) -> str:
    return " ".join(f"{p}:{offset}" for p, offset in sorted(offsets.items())) or "no offset"
