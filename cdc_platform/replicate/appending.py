"""Kafka → changelog: one batch.

    committed → plan → read → decode → evolve → commit (rows and offsets) → receipt

Invariants
- The table's own commit says where it stands. A step opens it, takes only what lies past its offsets, and
  commits against that very handle. So a batch applied twice is applied once, whoever applies it, and a commit
  whose answer was lost needs no special case: the next attempt finds the offsets moved.
- Dead letters are kept before the offsets move past them.
- Events that were sent again are kept, and marked (``resends``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from cdc_platform.core import columns
from cdc_platform.core.errors import Conflict, EventRefused, Terminal
from cdc_platform.core.model import Handle, Kind, Receipt
from cdc_platform.core.offsets import Offsets, Range, Ranges
from cdc_platform.core.position import Engine, kind_of
from cdc_platform.core.row_schema import changes
from cdc_platform.decode.decoded import Decoded
from cdc_platform.decode.documents import Layout
from cdc_platform.decode.versions import Seen
from cdc_platform.replicate.batch import Batch
from cdc_platform.replicate.commit import commit, fit
from cdc_platform.replicate.letters import keep_letters
from cdc_platform.replicate.repairs import without_void
from cdc_platform.replicate.replica import Replica
from cdc_platform.replicate.resends import mark_resent
from cdc_platform.replicate.schema_history import REFUSED, TAKEN, fields_of
from cdc_platform.replicate.unsent import fill_unsent, letters_of


@dataclass(frozen=True, slots=True)
class Carried:
    """From one batch of a table to its next. Losing it loses no row.

    ``layout``: what the documents looked like, to parse faster. ``dead``: dead letters since the last good
    event.
    """

    layout: Layout = field(default_factory=Layout)
    dead: int = 0


@dataclass(frozen=True, slots=True)
class Appended:
    """``receipt`` is None when there was nothing to commit, as another writer had done it already.

    ``refused``: why the table stops before the end of the batch; what lies before it is committed.
    """

    receipt: Receipt | None
    carried: Carried
    refused: Terminal | None = None


def append_changes(replica: Replica, batch: Batch, carried: Carried | None = None) -> Appended:
    """Commit a batch to the changelog: only its part past the changelog's offsets, if there is any.

    Dead letters are kept first, then the rows are committed with the offsets. Raises Terminal if nothing but
    dead letters came for too long; nothing is committed then.
    """
    replica.probe("after_read")
    return replica.retrying(_append, replica, batch, carried or Carried())


def _append(replica: Replica, batch: Batch, before: Carried) -> Appended:
    table = replica.changelog
    handle = table.open(replica.stream)
    if not _beyond(handle.offsets, batch.records.ranges, where=table.uri):
        return Appended(None, before)
    known = replica.columns(handle)
    decoded = batch.decoded(replica.decode, known, replica.rules, before.layout)
    carried = Carried(decoded.layout, _dead_since(decoded, before, replica))
    fresh = _beyond(handle.offsets, decoded.ranges, where=table.uri)
    if not fresh:
        replica.history.keep(replica.stream, decoded.versions_refused, REFUSED, replica.now())
        return Appended(None, carried, decoded.refused)
    rows, letters = decoded.frame.filter(_within(fresh)), decoded.letters.filter(_within(fresh))
    filled = fill_unsent(replica, handle, rows, decoded.unsent)
    rows = filled.rows
    if filled.lost.height:
        letters = pl.concat([letters, letters_of(filled.lost, batch.records.frame, replica.stream.topic)])
    rows_in = rows.height + letters.height
    repairs = decoded.repairs.filter(_within(fresh))
    rows = without_void(rows, repairs, table, handle)
    now = replica.now()
    replica.history.keep(replica.stream, decoded.versions, TAKEN, now)
    replica.history.keep(replica.stream, decoded.versions_refused, REFUSED, now)
    keep_letters(replica.letters, replica.stream, letters, fresh, now)
    if letters.height:
        replica.probe("after_letters")
    marked = mark_resent(replica, handle, rows, repairs)
    fitted = fit(known, stamped(marked.rows, now), replica)
    replica.history.keep(replica.stream, _grown(replica, handle, fitted), TAKEN, now)
    receipt = commit(
        replica, Kind.CHANGELOG, handle, fitted, fresh, rows_in, letters.height, marked.positions
    )
    return Appended(receipt, carried, decoded.refused)


def _grown(replica: Replica, handle: Handle, rows: pl.DataFrame) -> list[Seen]:
    """The version that a table of MongoDB has with these rows, if they bring fields that it had not."""
    if rows.is_empty() or kind_of(rows.schema[columns.POSITION]) is not Engine.MONGODB:
        return []
    if dict(rows.schema) == dict(handle.logical):
        return []
    known, found = replica.history.known(replica.stream), fields_of(rows.schema, "_id")
    what = changes(known[-1], found) if known else ("first seen",)
    partition, offset = rows.select(columns.PARTITION, columns.OFFSET).row(0)
    return [Seen(found, partition, offset, what)]


def _dead_since(decoded: Decoded, carried: Carried, replica: Replica) -> int:
    """Dead letters since the last good event. Raises Terminal if they are too many: something is wrong with
    the stream, not with some of its events."""
    if decoded.frame.height or not decoded.letters.height:
        return 0 if decoded.frame.height else carried.dead
    dead = carried.dead + decoded.letters.height
    if dead >= replica.limits.dead_in_a_row:
        first = decoded.letters.row(0, named=True)
        raise EventRefused(
            f"{dead} events in a row cannot be decoded: {first['reason']}",
            where=f"table {replica.name}, topic {first[columns.TOPIC]}, partition "
            f"{first[columns.PARTITION]}, offset {first[columns.OFFSET]}",
            remedy=f"{first['remedy']}; to keep them all as dead letters, raise limits.dead_in_a_row",
        )
    return dead


def _beyond(committed: Offsets, ranges: Ranges, *, where: str) -> dict[int, Range]:
    """The part of the ranges that the table has not committed.

    Raises Conflict if the table stands before the batch: somebody moved it back, so the rows in between must
    be read again first.
    """
    fresh = {}
    for partition, covered in ranges.items():
        at = committed.get(partition, 0)
        if at < covered.start:
            raise Conflict(
                f"partition {partition} stands at offset {at}, before the batch's {covered.start}",
                where=where,
                remedy="the table was replaced while it was written: the next run reads from its own offsets",
            )
        if covered.end > at:
            fresh[partition] = Range(at, covered.end)
    return fresh


def _within(ranges: Ranges) -> pl.Expr:
    """Rows at or past the start of each range; a batch holds nothing past the ends."""
    starts = {p: r.start for p, r in ranges.items()}
    partition = pl.col(columns.PARTITION)
    start = partition.replace_strict(starts, default=None, return_dtype=pl.Int64)
    return (pl.col(columns.OFFSET) >= start).fill_null(value=False)


def stamped(rows: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """The rows with the two columns that say when they were written."""
    return rows.with_columns(
        pl.lit(now, dtype=columns.UTC_MICROS).alias(columns.INGESTED),
        pl.lit(now.date()).alias(columns.INGESTED_ON),
    )
