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

from typing import Final

import polars as pl

from cdc_platform.core.columns import KEY, OFFSET, PARTITION, PLATFORM, TOPIC
from cdc_platform.core.errors import StreamReplaced
from cdc_platform.core.offsets import Offsets, Range, Ranges, describe
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
from cdc_platform.verify.topic import PLACES, Topic, reread, within
from cdc_platform.verify.verdict import SHOWN_KEYS, Cause, Stage

REPAIR: Final = f'"connector":"{PLATFORM}"'.encode()
"""In the value of a repair. A document cannot hold it: in an event's JSON its quotes would be escaped."""

_PLACE: Final = PLACES.names()


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
    rows = changelog.rows().select(PARTITION, OFFSET, TOPIC, KEY)
    total = rows.select(pl.len()).collect().item()
    facts = (Fact("changelog_rows", total), Fact("committed", _offsets(committed)))
    below = pl.col(PARTITION).replace_strict(dict(committed), default=None, return_dtype=pl.Int64)
    strayed = (pl.col(OFFSET) >= below).fill_null(value=True) | (pl.col(OFFSET) < 0)
    beyond = rows.filter(strayed | (pl.col(TOPIC) != topic.stream.topic)).collect()
    if beyond.height:
        return failed(
            f"{beyond.height} rows of the changelog are not of this topic's offsets below "
            f"{_offsets(committed)}: {_named(beyond)}.{_keys(beyond)}",
            *facts,
            _stages(beyond),
        )
    doubled = _doubled(changelog, topic.step)
    if doubled.height:
        keyed = _with_keys(changelog, doubled)
        what = f"{doubled.height} records are in the changelog more than once: {_named(doubled)}."
        return failed(f"{what}{_keys(keyed)}", *facts, _stages(doubled))
    return passed(f"The changelog's {total:,} rows have a place each, below {_offsets(committed)}.", *facts)


def _doubled(changelog: Opened, step: int) -> pl.DataFrame:
    """Places that more than one row has; a partition's offsets are looked at in steps."""
    found = [pl.DataFrame(schema=PLACES)]
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
    cover = _cover(changelog.handle.begun, committed, held, topic.newest)
    if not cover and any(committed.values()) and topic.newest:
        return unknown(
            Cause.FORGOTTEN,
            "Kafka holds no record below the committed offsets any more: nothing can be compared with it.",
        )
    seen = _read(topic, cover, {p: cover[p].start if p in cover else committed.get(p, 0) for p in held})
    rows = changelog.table.read(changelog.handle, cover).select(*_PLACE, KEY).collect()
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


def _cover(begun: Offsets, committed: Offsets, held: Ranges, newest: int) -> dict[int, Range]:
    """The offsets to read again. ``begun``: the first that count."""
    ends = {p: committed.get(p, 0) for p in held}
    first = {p: max(r.start, begun.get(p, 0)) for p, r in sorted(held.items())}
    cover = {p: Range(max(start, ends[p] - newest), ends[p]) for p, start in first.items()}
    return {p: r for p, r in cover.items() if r}


def _compared(seen: pl.DataFrame, rows: pl.DataFrame, topic: Topic, cover: str) -> Part:
    """``seen``: Kafka's records; ``rows``: the places of the changelog's rows in the same offsets."""
    records = seen.filter(~pl.col("tombstone"))
    letters = topic.letters()
    elsewhere = rows.clear() if letters is None else letters.select(_PLACE).collect()
    needed = seen.filter(~pl.col("tombstone") & ~pl.col("repair"))
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
            f"{_named(missing)}.{_keys(_told(missing, topic))}",
            *facts,
            _stages(missing),
        )
    if invented.height and not topic.compacted:
        return failed(
            f"{invented.height} rows of the changelog in {cover} have no committed record in Kafka (aborted, "
            f"a tombstone, or never there): {_named(invented)}."
            f"{_keys(invented)}",
            *facts,
            _stages(invented),
        )
    gone = (
        f" Of {invented.height:,} rows the compacted topic has no record any more." if invented.height else ""
    )
    return passed(
        f"Kafka's {records.height:,} records in {cover} are in the changelog, and no others.{gone}", *facts
    )


def _read(topic: Topic, cover: Ranges, starts: Offsets) -> pl.DataFrame:
    """Place, ``record key``, ``tombstone`` and ``repair`` of every committed record in these ranges.

    ``starts``: where to begin in every partition, also one without a range. Raises Unprovable if it takes
    long.
    """
    flags = {"tombstone": pl.Boolean(), "repair": pl.Boolean()}
    found = [pl.DataFrame(schema=pl.Schema({**PLACES, "record key": pl.Binary(), **flags}))]
    found += [
        batch.frame.select(
            pl.col("partition").alias(PARTITION),
            pl.col("offset").alias(OFFSET),
            pl.col("key").alias("record key"),
            pl.col("value").is_null().alias("tombstone"),
            pl.col("value").bin.contains(REPAIR).fill_null(value=False).alias("repair"),
        )
        for batch in reread(topic, cover, starts)
    ]
    return pl.concat(found).filter(within(cover))


def _named(rows: pl.DataFrame) -> str:
    shown = rows.select(_PLACE).sort(_PLACE).head(SHOWN_KEYS).iter_rows()
    more = f" and {rows.height - SHOWN_KEYS} more" if rows.height > SHOWN_KEYS else ""
    return ", ".join(f"{partition}:{offset}" for partition, offset in shown) + more


def _keys(rows: pl.DataFrame) -> str:
    """A sentence, if there are any. ``rows``: with KEY."""
    keys = rows.sort(_PLACE)[KEY].drop_nulls().unique(maintain_order=True).head(SHOWN_KEYS)
    return f" Keys: {'; '.join(keys)}." if len(keys) else ""


def _told(records: pl.DataFrame, topic: Topic) -> pl.DataFrame:
    """The first of them, with the text of their keys."""
    shown = records.sort(_PLACE).head(SHOWN_KEYS)
    return shown.with_columns(pl.Series(KEY, [topic.key_of(key) for key in shown["record key"]], pl.String))


def _with_keys(changelog: Opened, places: pl.DataFrame) -> pl.DataFrame:
    shown = places.sort(_PLACE).head(SHOWN_KEYS).lazy()
    return changelog.rows().select(*_PLACE, KEY).join(shown, on=_PLACE, how="semi").collect()


def _stages(rows: pl.DataFrame) -> Fact:
    """Whatever is wrong here went wrong between the topic and the changelog."""
    shown = rows.select(_PLACE).sort(_PLACE).head(SHOWN_KEYS).iter_rows()
    return Fact("stages", {f"{p}:{offset}": Stage.CHANGELOG.value for p, offset in shown})


def _offsets(offsets: Offsets) -> str:
    return " ".join(f"{p}:{offset}" for p, offset in sorted(offsets.items())) or "no offset"
