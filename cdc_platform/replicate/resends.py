"""Events that a connector sends again, recognised by their place in the source's history.

A connector without exactly-once support begins after a crash where it last noted its position, and sends
what came after that once more: new records, with new offsets, of old changes.

Invariants
- Each commit of the changelog tells the highest position it has seen in each partition. A connector sends in
  the source's order, so an event that lies before that is not new: the changelog holds it already, or a dead
  letter is it. Its row is kept, marked RESENT. Nothing that makes a current state looks at such rows, so no
  state goes back, not for one commit.
- An event before that which nobody holds is a change of another history: the source was restored or
  replaced. The table stops; whatever was done with the event, rows would be wrong.
- What a snapshot read has no place in that order, nor have the platform's own deletes (``repairs``): such
  rows are never resent.

Key and position (with the order in its transaction) are an event's identity. It is looked for in its own
partition; once the topic has got more of them, in all, as a connector may send again into another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from cdc_platform.core.columns import KEY, OFFSET, OPERATION, PARTITION, POSITION, READ, RESENT
from cdc_platform.core.errors import SourceReplaced
from cdc_platform.core.model import RECORD_SCHEMA, Handle, Policy, Records
from cdc_platform.core.offsets import Positions, Range, Ranges
from cdc_platform.decode.decoded import Rules
from cdc_platform.decode.fold import once
from cdc_platform.replicate.growth import has_grown
from cdc_platform.replicate.replica import Replica

_PLACE: Final = [PARTITION, OFFSET]
_IDENTITY: Final = [PARTITION, KEY, POSITION]
_ANYWHERE: Final = [KEY, POSITION]
_EVENT: Final = [PARTITION, OFFSET, KEY, POSITION]
_ORDERS: Final = 2**24
"""Events of one second that are told apart by their rank; of those beyond, the identity tells."""

_RANK: Final = (
    pl.col(POSITION).struct.field("seconds") * _ORDERS
    + pl.col(POSITION).struct.field("ord").clip(0, _ORDERS - 1)
).alias("rank")
_STREAMED: Final = pl.col(OPERATION) != READ
_TAIL: Final = 1_024
"""Offsets before a partition's end in which the rows at its highest position are looked for first."""


@dataclass(frozen=True, slots=True)
class Marked:
    """``rows``: with RESENT. ``positions``: the highest ones, with these rows."""

    rows: pl.DataFrame
    positions: Positions


def mark_resent(replica: Replica, handle: Handle, rows: pl.DataFrame, repairs: pl.DataFrame) -> Marked:
    """``rows``: what comes after the changelog's offsets at ``handle``, whose letters are kept already.
    ``repairs``: those of them that the platform itself sent, by PARTITION and OFFSET.

    Raises SourceReplaced for an event that lies before what the changelog has and is not in it.
    """
    ranked = _ranked(_events(rows.lazy(), repairs).collect(), handle.positions)
    highest = ranked.group_by(PARTITION).agg(pl.max_horizontal(pl.col("rank").max(), pl.col("told").max()))
    positions = {**handle.positions, **dict(highest.iter_rows())}
    again, late, level = _doubtful(ranked)
    held = _held(replica, handle, late, ranked)
    if (lost := late.join(held, on=_PLACE, how="anti")).height:
        raise _replaced(replica, lost)
    same = _among(_tail(replica, handle, level), level) if level.height else level.select(_PLACE)
    return Marked(_with(rows, [again, held, same]), positions)


def mark_put_in(replica: Replica, handle: Handle, rows: pl.DataFrame, repairs: pl.DataFrame) -> pl.DataFrame:
    """Rows that take places below the changelog's offsets, with RESENT: by the rows before those places."""
    new = _events(rows.lazy(), repairs).collect()
    spans = new.group_by(PARTITION).agg(first=pl.col(OFFSET).min(), last=pl.col(OFFSET).max())
    below = _history(replica, handle, {p: Range(0, first) for p, first, _ in spans.iter_rows()})
    told = dict(below.select(PARTITION, _RANK).group_by(PARTITION).agg(pl.col("rank").max()).collect().rows())
    beside = _history(replica, handle, {p: Range(first, last) for p, first, last in spans.iter_rows()})
    ranked = _ranked(pl.concat([beside.collect(), new]).sort(_PLACE), told)
    again, late, level = _doubtful(ranked)
    return _with(rows, [again, late.select(_PLACE), _among(below, level)])


def _events(rows: pl.LazyFrame, repairs: pl.DataFrame) -> pl.LazyFrame:
    streamed = rows.filter(_STREAMED).select(_EVENT)
    return streamed.join(repairs.lazy(), on=_PLACE, how="anti", maintain_order="left")


def _history(replica: Replica, handle: Handle, ranges: Ranges) -> pl.LazyFrame:
    return replica.changelog.read(handle, ranges).filter(_STREAMED, once()).select(_EVENT)


def _ranked(events: pl.DataFrame, told: Positions) -> pl.DataFrame:
    """The events with their rank; ``before``: the highest one before each of them in its partition, ``told``:
    the highest one before all of them, -1 without any. In: each partition's in the order of its offsets."""
    known = pl.col(PARTITION).replace_strict(dict(told), default=-1, return_dtype=pl.Int64)
    ranked = events.with_columns(_RANK, known.alias("told"))
    before = pl.col("rank").cum_max().shift(1).over(PARTITION)
    return ranked.with_columns(before=pl.max_horizontal(before, "told"))


def _doubtful(ranked: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The places of events that an earlier one of them is; the others that lie before one of them; and those
    at the very position that was told."""
    if ranked.filter(pl.col("rank") <= pl.col("before")).is_empty():
        return ranked.clear().select(_PLACE), ranked.clear(), ranked.clear()
    first = pl.struct(_IDENTITY).is_first_distinct()
    others = ranked.filter(first)
    late = others.filter(pl.col("rank") < pl.col("before"))
    level = others.filter((pl.col("rank") == pl.col("before")) & (pl.col("rank") == pl.col("told")))
    return ranked.filter(~first).select(_PLACE), late, level


def _held(replica: Replica, handle: Handle, late: pl.DataFrame, batch: pl.DataFrame) -> pl.DataFrame:
    """The places of those events that the changelog, another partition of the batch or a letter holds."""
    if late.is_empty():
        return late.select(_PLACE)
    grown = has_grown(replica, handle)
    identity = _ANYWHERE if grown else _IDENTITY
    ranges = {p: Range(0, end) for p, end in handle.offsets.items() if grown or p in late[PARTITION]}
    on_time = batch.lazy().select(_EVENT).join(late.lazy(), on=_PLACE, how="anti")
    found = _among(pl.concat([_history(replica, handle, ranges), on_time]), late, identity)
    missing = late.join(found, on=_PLACE, how="anti")
    return pl.concat([found, _in_letters(replica, handle, missing, identity)])


def _in_letters(replica: Replica, handle: Handle, events: pl.DataFrame, identity: list[str]) -> pl.DataFrame:
    """The places of events that a dead letter is; of one that tells no position, as far as its key tells."""
    if events.is_empty():
        return events.select(_PLACE)
    letters = replica.letters
    kept = letters.read(letters.open(replica.stream)).filter(pl.col("revision") == 0).collect()
    names = {PARTITION: "partition", OFFSET: "offset"}
    records = kept.rename(names).select(*RECORD_SCHEMA).cast(RECORD_SCHEMA)
    rules = Rules(Policy.JSON, replica.limits.record_bytes)
    decoded = replica.decode(Records(replica.stream, records, {}), replica.columns(handle), rules)
    unknown = decoded.letters.select(PARTITION, "key")
    texts = pl.Series(KEY, map(replica.decode.key_of, unknown["key"]), dtype=pl.String)
    told = unknown.select(PARTITION, texts).unique()
    keys = [name for name in identity if name != POSITION]
    return pl.concat(
        [
            _among(decoded.frame.lazy(), events, identity),
            events.join(told, on=keys, how="semi").select(_PLACE),
        ]
    )


def _tail(replica: Replica, handle: Handle, events: pl.DataFrame) -> pl.LazyFrame:
    """The changelog's rows at its partitions' highest positions, and some before them: of the events of one
    transaction, or of one bulk insert, some may be in the commit before."""
    width = _TAIL
    ends = {p: handle.offsets[p] for p in events[PARTITION].unique()}
    while True:
        ranges = {p: Range(max(0, end - width), end) for p, end in ends.items()}
        rows = _history(replica, handle, ranges)
        lowest = dict(rows.select(PARTITION, _RANK).group_by(PARTITION).min().collect().iter_rows())
        told = handle.positions
        if all(not r.start or lowest.get(p, told[p]) < told[p] for p, r in ranges.items()):
            return rows
        width *= 16


def _among(held: pl.LazyFrame, events: pl.DataFrame, identity: list[str] = _IDENTITY) -> pl.DataFrame:
    """The places of the events that are the same as one that is held."""
    if events.is_empty():
        return events.select(_PLACE)
    same = held.select(identity).join(events.lazy().select(identity), on=identity, how="semi").collect()
    return events.join(same, on=identity, how="semi").select(_PLACE)


def _with(rows: pl.DataFrame, resent: list[pl.DataFrame]) -> pl.DataFrame:
    places = pl.concat(resent).unique()
    if places.is_empty():
        return rows.with_columns(pl.lit(value=False).alias(RESENT))
    marks = places.with_columns(pl.lit(value=True).alias(RESENT))
    marked = rows.join(marks, on=_PLACE, how="left", maintain_order="left")
    return marked.with_columns(pl.col(RESENT).fill_null(value=False))


def _replaced(replica: Replica, events: pl.DataFrame) -> SourceReplaced:
    first = events.row(0, named=True)
    at = first[POSITION]
    return SourceReplaced(
        f"the event at the source's position {at['seconds']}.{at['ord']} lies before what the table has, and "
        "is not among it: the source was restored or replaced",
        where=f"table {replica.name}, topic {replica.stream.topic}, partition {first[PARTITION]}, offset "
        f"{first[OFFSET]}, key {first[KEY]}",
        remedy="move the table's folders away, delete its topic, then take a new snapshot into a new table",
    )
