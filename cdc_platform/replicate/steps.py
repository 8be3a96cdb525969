"""Kafka → changelog → current state: one step of each, and both until caught up.

    changelog:  committed → plan → read → decode → evolve → commit (rows and offsets) → receipt
    current:    committed → changelog rows past it → fold → evolve → commit (rows and offsets) → receipt

Invariants
- Each table's own commit says where it stands. A step opens the table, takes only what lies past its offsets,
  and commits against that very handle. So a batch applied twice is applied once, whoever applies it, and a
  commit whose answer was lost needs no special case: the next attempt finds the offsets moved.
- The current state is only ever made from the changelog. It needs nothing that is in memory or in Kafka, so
  catching up, rebuilding and keeping up are the same step.
- rows in = rows applied + rows superseded, for every commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import orjson
import polars as pl
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from cdc_platform.core import columns, schema
from cdc_platform.core.errors import Conflict, OffsetsLost, Transient
from cdc_platform.core.model import Handle, Kind, Lag, Limits, Receipt, Records, Stopped
from cdc_platform.core.offsets import RANGES, Offsets, Range, Ranges, Stream, describe, ends_of, plan, reached
from cdc_platform.core.ports import LakeTable, Log, Probe, no_probe
from cdc_platform.decode.fold import fold
from cdc_platform.decode.mongodb import Layout, decode

ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Replica:
    """One source table and its two lake tables.

    ``now``: the wall clock, in UTC. ``kinds``: which of the tables to write.
    """

    name: str
    stream: Stream
    changelog: LakeTable
    current: LakeTable
    now: Callable[[], datetime]
    limits: Limits = field(default_factory=Limits)
    kinds: frozenset[Kind] = frozenset(Kind)
    probe: Probe = no_probe
    retrying: Retrying = field(
        default_factory=lambda: Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.05, max=5),
            retry=retry_if_exception_type(Transient),
            reraise=True,
        )
    )


def append_changes(replica: Replica, records: Records, layout: Layout | None = None) -> Appended:
    """Commit a batch to the changelog: only its part past the changelog's offsets, if there is any.

    ``layout``: what the previous batch's documents looked like, to parse faster; returned for the next.
    Raises EventRefused and SchemaRefused with topic, partition and offset; nothing is committed then.
    """
    replica.probe("after_read")
    decoded = decode(records, layout)
    return replica.retrying(_append, replica, decoded.frame, records.ranges, decoded.layout)


@dataclass(frozen=True, slots=True)
class Appended:
    """``receipt`` is None when another writer had committed the whole batch already."""

    receipt: Receipt | None
    layout: Layout


def _append(replica: Replica, changes: pl.DataFrame, ranges: Ranges, layout: Layout) -> Appended:
    table = replica.changelog
    handle = table.open(replica.stream)
    fresh = _beyond(handle.offsets, ranges, where=table.uri)
    if not fresh:
        return Appended(None, layout)
    rows = changes if fresh == ranges else changes.filter(_within(fresh))
    fitted = _fit(handle, _stamped(rows, replica.now()), replica)
    return Appended(_commit(replica, Kind.CHANGELOG, handle, fitted, fresh, rows.height), layout)


def merge_changes(replica: Replica) -> Receipt | None:
    """Bring the current state up to at most ``limits.current_rows`` of the changelog's offsets further, or as
    many as ``limits.current_bytes`` allows.

    None when the current state stands where the changelog does.
    """
    return replica.retrying(_merge, replica)


def _merge(replica: Replica) -> Receipt | None:
    # In this order: another writer may move both tables in between, and only ahead.
    target = replica.current.open(replica.stream)
    source = replica.changelog.open(replica.stream)
    ahead = {p: end for p, end in target.offsets.items() if end > source.offsets.get(p, 0)}
    if ahead:
        raise OffsetsLost(
            f"the current table stands at offsets {ahead}, past its changelog",
            where=f"{replica.current.uri} and {replica.changelog.uri}",
            remedy="the changelog was restored or replaced: rebuild both tables from a new snapshot",
        )
    chunk = _chunk(target.offsets, source.offsets, replica.limits.current_rows)
    if not chunk:
        return None
    if size := replica.changelog.row_bytes(source, chunk):
        rows = min(replica.limits.current_rows, replica.limits.current_bytes // size)
        chunk = _chunk(target.offsets, source.offsets, rows)
    changes = replica.changelog.read(source, chunk).collect()
    folded = fold(changes)
    fitted = _fit(target, folded.rows, replica)
    return _commit(replica, Kind.CURRENT, target, fitted, chunk, changes.height)


def replicate(replica: Replica, log: Log) -> tuple[Receipt, ...]:
    """Bring both tables to the end the topic has now, in batches, and return what each commit did."""
    starts = replica.changelog.open(replica.stream).offsets
    available = log.available([replica.stream])[replica.stream.topic]
    ends = ends_of(plan(replica.stream, starts, available))
    receipts = []
    reader = log.reader({replica.stream: starts})
    try:
        layout: Layout | None = None
        position = dict(starts)
        while not reached(position, ends):
            for batch in reader.poll(1.0, replica.limits.batch_rows):
                if isinstance(batch, Stopped):
                    raise batch.error
                appended = append_changes(replica, batch, layout)
                layout = appended.layout
                position |= ends_of(batch.ranges)
                receipts.append(appended.receipt)
    finally:
        reader.close()
    while merged := merge_changes(replica):
        receipts.append(merged)
    return tuple(receipt for receipt in receipts if receipt)


def _commit(
    replica: Replica, kind: Kind, handle: Handle, rows: pl.DataFrame, advance: Ranges, rows_in: int
) -> Receipt:
    started = replica.now()
    applied = dict(rows.group_by(columns.OPERATION).len().sort(columns.OPERATION).iter_rows())
    before = _lag(rows, started)
    info = {
        RANGES: describe(advance),
        "cdc.rows": orjson.dumps({"in": rows_in, "applied": applied}).decode(),
        "cdc.lag_seconds": orjson.dumps(before and [before.p50, before.p95, before.max]).decode(),
    }
    replica.probe(f"before_commit:{kind}")
    table = replica.changelog if kind is Kind.CHANGELOG else replica.current
    write = table.append if kind is Kind.CHANGELOG else table.merge
    committed = write(handle, rows, advance, info)
    replica.probe(f"after_commit:{kind}")
    finished = replica.now()
    return Receipt(
        table=replica.name,
        kind=kind,
        version=committed.version,
        ranges=advance,
        rows_in=rows_in,
        applied=applied,
        superseded=rows_in - rows.height,
        committed_at=finished,
        seconds=(finished - started).total_seconds(),
        lag=_lag(rows, finished),
        added=tuple(name for name in committed.schema if name not in handle.schema),
    )


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


def _chunk(start: Offsets, end: Offsets, rows: int) -> dict[int, Range]:
    """What to merge next: at most ``rows`` offsets, spread evenly over the partitions that are behind."""
    behind = {p: Range(start.get(p, 0), e) for p, e in end.items() if e > start.get(p, 0)}
    share = max(1, rows // max(1, len(behind)))
    return {p: Range(r.start, min(r.end, r.start + share)) for p, r in behind.items()}


def _within(ranges: Ranges) -> pl.Expr:
    """Rows at or past the start of each range; a batch holds nothing past the ends."""
    starts = {p: r.start for p, r in ranges.items()}
    partition = pl.col(columns.PARTITION)
    start = partition.replace_strict(starts, default=None, return_dtype=pl.Int64)
    return (pl.col(columns.OFFSET) >= start).fill_null(value=False)


def _stamped(rows: pl.DataFrame, now: datetime) -> pl.DataFrame:
    return rows.with_columns(
        pl.lit(now, dtype=columns.UTC_MICROS).alias(columns.INGESTED),
        pl.lit(now.date()).alias(columns.INGESTED_ON),
    )


def _fit(handle: Handle, rows: pl.DataFrame, replica: Replica) -> pl.DataFrame:
    """The rows with the table's columns and the new ones, every value as it came, or SchemaRefused."""
    return schema.fit(rows, handle.schema, where=f"table {replica.name}")


def _lag(rows: pl.DataFrame, now: datetime) -> Lag | None:
    """Seconds since the source's commit of each row, never negative.

    None without such rows: a row read by a snapshot was committed at a time that nobody knows.
    """
    streamed = rows.filter(pl.col(columns.OPERATION) != columns.READ)
    seconds = (
        (pl.lit(now, dtype=columns.UTC_MICROS) - pl.col(columns.TIMESTAMP)).dt.total_microseconds() / 1e6
    ).clip(lower_bound=0)
    p50, p95, highest = streamed.select(
        p50=seconds.quantile(0.5), p95=seconds.quantile(0.95), max=seconds.max()
    ).row(0)
    return None if highest is None else Lag(p50, p95, highest)
