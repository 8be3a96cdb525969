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
- An event that has no certain place in that order (``core.position.rank``) is resent if it is held, and new
  if it is not.
- What a snapshot read has no place in that order, nor have the platform's own deletes (``repairs``): such
  rows are never resent.

Key and position (with the order in its transaction) are an event's identity. It is looked for in its own
partition; once the topic has got more of them, in all, as a connector may send again into another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from cdc_platform.core.columns import KEY, OFFSET, OPERATION, PARTITION, POSITION, READ, RESENT
from cdc_platform.core.errors import SourceReplaced
from cdc_platform.core.model import RECORD_SCHEMA, Handle, Policy, Records
from cdc_platform.core.offsets import Positions, Range, Ranges
from cdc_platform.core.position import Engine, identity, kind_of, of, rank, told
from cdc_platform.decode.decoded import Rules
from cdc_platform.decode.fold import once
from cdc_platform.replicate.growth import has_grown
from cdc_platform.replicate.replica import Replica

_PLACE: Final = [PARTITION, OFFSET]
_IDENTITY: Final = "identity"
_EVENT: Final = [PARTITION, OFFSET, KEY, POSITION]
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
    positions = {**handle.positions, **{p: rank for p, rank in highest.iter_rows() if rank is not None}}
    again, late, level = _doubtful(ranked)
    held = _held(replica, handle, late, ranked)
    if (lost := late.filter("certain").join(held, on=_PLACE, how="anti")).height:
        raise _replaced(replica, lost)
    same = _among(_tail(replica, handle, level), level) if level.height else level.select(_PLACE)
    return Marked(_with(rows, [again, held, same]), positions)


def mark_put_in(replica: Replica, handle: Handle, rows: pl.DataFrame, repairs: pl.DataFrame) -> pl.DataFrame:
    """Rows that take places below the changelog's offsets, with RESENT: by the rows before those places."""
    new = _events(rows.lazy(), repairs).collect()
    spans = new.group_by(PARTITION).agg(first=pl.col(OFFSET).min(), last=pl.col(OFFSET).max())
    below = _history(replica, handle, {p: Range(0, first) for p, first, _ in spans.iter_rows()})
    known = below.select(PARTITION, _rank(below)).group_by(PARTITION).agg(pl.col("rank").max()).drop_nulls()
    told = dict(known.collect().rows())
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
    ranked = events.with_columns(_rank(events.lazy()), known.alias("told"))
    ranked = ranked.with_columns(certain=pl.col("rank").is_not_null())
    if kind_of(events.schema[POSITION]) is Engine.POSTGRESQL:
        # Of the first transaction after a start only its own place is known: look for it, where it may be.
        possible = pl.when(pl.col("told") >= 0).then(pl.min_horizontal(of("lsn"), "told"))
        ranked = ranked.with_columns(pl.coalesce("rank", possible))
    before = pl.col("rank").cum_max().shift(1).over(PARTITION)
    return ranked.with_columns(before=pl.max_horizontal(before, "told"))


def _rank(events: pl.LazyFrame) -> pl.Expr:
    return rank(kind_of(events.collect_schema()[POSITION])).alias("rank")


def _identified(events: pl.LazyFrame) -> pl.LazyFrame:
    """With a text that two events share only if they are the same one."""
    parts = [pl.col(KEY), *identity(kind_of(events.collect_schema()[POSITION]))]
    texts = [part.cast(pl.String).fill_null("") for part in parts]
    return events.with_columns(pl.concat_str(texts, separator="|").alias(_IDENTITY))


def _doubtful(ranked: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The places of events that an earlier one of them is; the others that lie before one of them; and those
    at the very position that was told."""
    if ranked.filter(pl.col("rank") <= pl.col("before")).is_empty():
        return ranked.clear().select(_PLACE), ranked.clear(), ranked.clear()
    first = pl.struct(PARTITION, _IDENTITY).is_first_distinct()
    identified = _identified(ranked.lazy()).collect()
    others, repeated = identified.filter(first).drop(_IDENTITY), identified.filter(~first)
    late = others.filter(pl.col("rank") < pl.col("before"))
    level = others.filter((pl.col("rank") == pl.col("before")) & (pl.col("rank") == pl.col("told")))
    return repeated.select(_PLACE), late, level


def _held(replica: Replica, handle: Handle, late: pl.DataFrame, batch: pl.DataFrame) -> pl.DataFrame:
    """The places of those events that the changelog, another partition of the batch or a letter holds."""
    if late.is_empty():
        return late.select(_PLACE)
    grown = has_grown(replica, handle)
    beside: list[str] = [] if grown else [PARTITION]
    ranges = {p: Range(0, end) for p, end in handle.offsets.items() if grown or p in late[PARTITION]}
    on_time = batch.lazy().select(_EVENT).join(late.lazy(), on=_PLACE, how="anti")
    found = _among(pl.concat([_history(replica, handle, ranges), on_time]), late, beside)
    missing = late.join(found, on=_PLACE, how="anti")
    return pl.concat([found, _in_letters(replica, handle, missing, beside)])


def _in_letters(replica: Replica, handle: Handle, events: pl.DataFrame, beside: list[str]) -> pl.DataFrame:
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
    keys = unknown.select(PARTITION, texts).unique()
    return pl.concat(
        [
            _among(decoded.frame.lazy(), events, beside),
            events.join(keys, on=[*beside, KEY], how="semi").select(_PLACE),
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
        ranks = rows.select(PARTITION, _rank(rows)).drop_nulls()
        lowest = dict(ranks.group_by(PARTITION).min().collect().iter_rows())
        told = handle.positions
        if all(not r.start or lowest.get(p, told[p]) < told[p] for p, r in ranges.items()):
            return rows
        width *= 16


def _among(held: pl.LazyFrame, events: pl.DataFrame, beside: Sequence[str] = (PARTITION,)) -> pl.DataFrame:
    """The places of the events that are the same as one that is held, also by the columns ``beside``."""
    if events.is_empty():
        return events.select(_PLACE)
    same = [*beside, _IDENTITY]
    wanted = _identified(events.lazy())
    found = _identified(held).select(same).join(wanted.select(same), on=same, how="semi").collect()
    return wanted.collect().join(found, on=same, how="semi").select(_PLACE)


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
        f"the event at the source's position ({told(at, kind_of(events.schema[POSITION]))}) lies before what "
        "the table has, and is not among it: the source was restored or replaced",
        where=f"table {replica.name}, topic {replica.stream.topic}, partition {first[PARTITION]}, offset "
        f"{first[OFFSET]}, key {first[KEY]}",
        remedy=f"if that was meant, read it again as it is now: cdc rebuild {replica.name} --from source",
    )
