"""The check ``delta_iceberg_parity``: a table's two formats, against each other and without its source.

    the current tables   both taken back to where the slower one stands, the same rows
    the changelogs       below there, the same events, by their places

Both formats are filled from the topic, each by itself: where they differ, one of them went wrong.

Invariants
- Both are compared at one place of the topic: per partition the lowest of all offsets that were committed.
- A row is its fields, its operation and the place of its event; how a format stores a value is no difference.
- An event that is a dead letter of one format is no event that its changelog lacks; its row is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from cdc_platform.core.columns import KEY, OFFSET, OPERATION, PARTITION
from cdc_platform.core.digest import BucketDigest
from cdc_platform.core.errors import CdcError
from cdc_platform.core.model import Format
from cdc_platform.core.offsets import Offsets, Range
from cdc_platform.verify.as_of import Opened, as_of_offsets, last_offsets
from cdc_platform.verify.compare import first_buckets, kinds
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
    stages_of,
)
from cdc_platform.verify.rows import digests
from cdc_platform.verify.shape import DOCUMENTS
from cdc_platform.verify.stages import stages
from cdc_platform.verify.topic import PLACES, STEP, Topic
from cdc_platform.verify.verdict import SHOWN_KEYS, DifferingKey, Kind, Stage

_PLACE: Final = PLACES.names()
_EVENT: Final = f"{OPERATION} {PARTITION}:{OFFSET}"
"""A column beside the fields, for the event that made the row. No field has such a name."""


@dataclass(frozen=True, slots=True)
class Side:
    """A table in one format. ``current``: None for a table without a key. ``topic``: how to read its topic
    again; may raise CdcError."""

    format: Format
    changelog: Opened
    current: Opened | None
    topic: Callable[[], Topic]


def delta_iceberg_parity(table: str, one: Side, other: Side) -> Finding:
    """Verdict on both. Each side's changelog was opened after its current table."""
    upto = common(one, other)
    parts = [part(lambda: _changelogs(one, other, upto))]
    if one.current is not None and other.current is not None:
        parts.insert(0, part(lambda: _currents(one, other, upto)))
    return combined(table, Check.DELTA_ICEBERG_PARITY, parts)


def common(*sides: Side) -> dict[int, int]:
    """Per partition, the lowest offset that a table of them has committed."""
    opened = [each for side in sides for each in (side.changelog, side.current) if each is not None]
    partitions = {partition for each in opened for partition in each.handle.offsets}
    return {p: min(each.handle.offsets.get(p, 0) for each in opened) for p in sorted(partitions)}


def _currents(one: Side, other: Side, upto: Offsets) -> Part:
    first, second = (_digest(_rows(side, upto)) for side in (one, other))
    where = f"At {_at(upto)}"
    facts = (
        Fact("compared_at", _at(upto)),
        Fact(f"{one.format}_rows", first.rows),
        Fact(f"{other.format}_rows", second.rows),
    )
    buckets = first.differing(second)
    if not buckets:
        return passed(f"{where} both current tables have the same {first.rows:,} rows.", *facts)
    listed = first_buckets(first, second, buckets)
    wrong = _wrong(one, other, upto, listed)
    shown = _shown(one, other, upto, wrong)
    least = "at least " if len(listed) < len(buckets) else ""
    keys = "; ".join(f"{each.key} {wrong[each.key]}{_told(each)}" for each in shown)
    return failed(
        f"{where} the current table has {first.rows} rows in {one.format} and {second.rows} in "
        f"{other.format}; {len(buckets)} of 256 buckets differ. "
        f"Differing keys ({least}{len(wrong)}): {keys}.",
        *facts,
        Fact("differing", tuple(f"{each.key} {wrong[each.key]}" for each in shown)),
        stages_of(shown),
    )


def _rows(side: Side, upto: Offsets) -> pl.LazyFrame:
    assert side.current is not None
    event = pl.concat_str(OPERATION, PARTITION, OFFSET, separator=" ").alias(_EVENT)
    return as_of_offsets(side.changelog, side.current, upto).rows.with_columns(event)


def _digest(rows: pl.LazyFrame) -> BucketDigest:
    found = BucketDigest()
    found.add(digests(rows, DOCUMENTS))
    return found


def _wrong(one: Side, other: Side, upto: Offsets, buckets: Set[int]) -> dict[str, str]:
    """What is different about each key, in words."""
    first = list(digests(_rows(one, upto), DOCUMENTS, buckets))
    second = list(digests(_rows(other, upto), DOCUMENTS, buckets))
    found: dict[str, str] = {}
    for mine, its, side in ((first, second, other), (second, first, one)):
        expected = dict(mine)
        for key, kind in kinds(expected, its).items():
            if kind is Kind.EXTRA:
                found[key] = f"twice in {side.format}" if key in expected else f"in {side.format} alone"
            elif kind is Kind.DIFFERENT:
                found.setdefault(key, "different")
    return found


def _shown(one: Side, other: Side, upto: Offsets, wrong: Mapping[str, str]) -> Sequence[DifferingKey]:
    """The first of the keys, with the hand-over at which one of the formats went wrong."""
    keys = sorted(wrong)[:SHOWN_KEYS]
    places = [last_offsets(side.changelog, frozenset(keys)) for side in (other, one)]
    last = {key: place for found in places for key, place in found.items()}
    try:
        traces = [(side.format, _stages(side, keys, upto)) for side in (one, other)]
    except CdcError as error:
        traced = dict.fromkeys(keys, (Stage.UNKNOWN, said(error)))
    else:
        traced = {key: _blamed([(name, found[key]) for name, found in traces]) for key in keys}
    named = [DifferingKey(key, Kind.DIFFERENT, *last.get(key, (None, None))) for key in keys]
    return [replace(each, stage=traced[each.key][0], told=traced[each.key][1]) for each in named]


def _stages(side: Side, keys: Sequence[str], upto: Offsets) -> Mapping[str, tuple[Stage, str] | None]:
    assert side.current is not None
    return stages(keys, side.changelog, side.current, side.topic(), upto=upto)


def _blamed(found: Sequence[tuple[Format, tuple[Stage, str] | None]]) -> tuple[Stage, str]:
    told = [(name, *each) for name, each in found if each is not None]
    for name, stage, text in sorted(told, key=lambda each: each[1] is Stage.UNKNOWN):
        return stage, f"in {name} {text}"
    return Stage.UNKNOWN, "by now each is what its own changelog and Kafka lead to"


def _told(key: DifferingKey) -> str:
    return f" (went wrong at {key.stage}: {key.told})"


def _changelogs(one: Side, other: Side, upto: Offsets) -> Part:
    lone: list[pl.DataFrame] = []
    events = 0
    for span in _spans(upto):
        first, second = (_events(side, span) for side in (one, other))
        events += first.height
        for side, mine, its in ((one, first, second), (other, second, first)):
            more = mine.join(its, on=[*_PLACE, "len"], how="anti")
            lone.append(more.with_columns(pl.lit(side.format.value).alias("format")))
    compacted = bool(lone) and one.topic().compacted
    found = _without_letters(pl.concat(lone), one, other) if lone else pl.DataFrame()
    facts = (Fact("events_compared", events),)
    if found.is_empty():
        return passed(f"Both changelogs have the same {events:,} events below there.", *facts)
    if compacted:
        return passed(
            f"{found.height:,} events are in one changelog alone: the topic is compacted, and the other "
            "may have begun when Kafka had removed them.",
            *facts,
        )
    shown = found.sort(_PLACE).head(SHOWN_KEYS)
    named = "; ".join(
        f"{partition}:{offset} of key {key} {'twice' if count > 1 else 'only'} in {name}"
        for partition, offset, key, count, name in shown.select(*_PLACE, KEY, "len", "format").iter_rows()
    )
    return failed(f"{found.height} events are not the same in both changelogs: {named}.", *facts)


def _events(side: Side, span: Mapping[int, Range]) -> pl.DataFrame:
    rows = side.changelog.table.read(side.changelog.handle, span)
    return rows.group_by(_PLACE).agg(pl.len(), pl.col(KEY).first()).collect()


def _spans(upto: Offsets) -> Iterator[dict[int, Range]]:
    for partition, end in upto.items():
        for start in range(0, end, STEP):
            yield {partition: Range(start, min(end, start + STEP))}


def _without_letters(lone: pl.DataFrame, one: Side, other: Side) -> pl.DataFrame:
    """Without those that the other format has as dead letters."""
    for side, missing in ((one, other.format), (other, one.format)):
        letters = side.topic().letters() if lone.height else None
        if letters is not None:
            places = letters.select(_PLACE).unique().collect()
            explained = lone.filter(pl.col("format") == missing.value).join(places, on=_PLACE, how="semi")
            lone = lone.join(explained, on=[*_PLACE, "format"], how="anti")
    return lone


def _at(offsets: Offsets) -> str:
    return " ".join(f"{p}:{offset}" for p, offset in sorted(offsets.items())) or "no offset"
