"""Kafka → changelog → current state: one step of each, and both until caught up.

    changelog:  committed → plan → read → decode → evolve → commit (rows and offsets) → receipt
    current:    committed → changelog rows past it → fold → evolve → commit (rows and offsets) → receipt

Invariants
- Each table's own commit says where it stands. A step opens the table, takes only what lies past its offsets,
  and commits against that very handle. So a batch applied twice is applied once, whoever applies it, and a
  commit whose answer was lost needs no special case: the next attempt finds the offsets moved.
- The current state is only ever made from the changelog. It needs nothing that is in memory or in Kafka, so
  catching up, rebuilding and keeping up are the same step.
- rows in = rows applied + rows superseded + dead letters, for every commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import orjson
import polars as pl
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from cdc_platform.core import columns, schema
from cdc_platform.core.errors import Conflict, EventRefused, OffsetsLost, Terminal, Transient
from cdc_platform.core.model import Handle, Kind, Lag, Limits, Policy, Receipt, Records, Stopped
from cdc_platform.core.offsets import RANGES, Offsets, Range, Ranges, Stream, describe, ends_of, plan, reached
from cdc_platform.core.ports import LakeTable, Log, Probe, no_probe
from cdc_platform.decode.documents import Layout
from cdc_platform.decode.fold import fold
from cdc_platform.decode.mongodb import Decoded, Rules, decode
from cdc_platform.replicate.letters import keep_letters
from cdc_platform.replicate.recompute import last_rows

ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Replica:
    """One source table, its two lake tables and its dead letters.

    ``now``: the wall clock, in UTC. ``kinds``: which of the tables to write. ``values``: what becomes of a
    value that does not fit.
    """

    name: str
    stream: Stream
    changelog: LakeTable
    current: LakeTable
    letters: LakeTable
    now: Callable[[], datetime]
    limits: Limits = field(default_factory=Limits)
    values: Policy = Policy.JSON
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

    @property
    def rules(self) -> Rules:
        return Rules(self.values, self.limits.record_bytes)


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


def append_changes(replica: Replica, records: Records, carried: Carried | None = None) -> Appended:
    """Commit a batch to the changelog: only its part past the changelog's offsets, if there is any.

    Dead letters are kept first, then the rows are committed with the offsets. Raises Terminal if nothing but
    dead letters came for too long; nothing is committed then.
    """
    replica.probe("after_read")
    batch = _Batch(records, replica.rules, carried or Carried())
    return replica.retrying(_append, replica, batch)


@dataclass(slots=True)
class _Batch:
    """A batch on its way, decoded again only if the table has gained columns since the last attempt."""

    records: Records
    rules: Rules
    carried: Carried
    _table: pl.Schema | None = None
    _decoded: Decoded | None = None

    def against(self, table: pl.Schema) -> Decoded:
        if self._decoded is None or self._table != table:
            self._table = table
            self._decoded = decode(self.records, table, self.rules, self.carried.layout)
        return self._decoded


def _append(replica: Replica, batch: _Batch) -> Appended:
    table = replica.changelog
    handle = table.open(replica.stream)
    if not _beyond(handle.offsets, batch.records.ranges, where=table.uri):
        return Appended(None, batch.carried)
    decoded = batch.against(handle.logical)
    carried = Carried(decoded.layout, _dead_since(decoded, batch.carried, replica))
    fresh = _beyond(handle.offsets, decoded.ranges, where=table.uri)
    if not fresh:
        return Appended(None, carried, decoded.refused)
    rows, letters = decoded.frame.filter(_within(fresh)), decoded.letters.filter(_within(fresh))
    now = replica.now()
    keep_letters(replica.letters, replica.stream, letters, fresh, now)
    fitted = _fit(handle.logical, _stamped(rows, now), replica)
    rows_in = rows.height + letters.height
    receipt = _commit(replica, Kind.CHANGELOG, handle, fitted, fresh, rows_in, letters.height)
    return Appended(receipt, carried, decoded.refused)


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
        most = min(replica.limits.current_rows, replica.limits.current_bytes // size)
        chunk = _chunk(target.offsets, source.offsets, most)
    changes = replica.changelog.read(source, chunk).collect()
    if replica.stream.partitions > source.partitions:
        # A key's changes may lie in two partitions, of which one is read further than the other.
        rows = last_rows(
            replica.changelog, source, changes[columns.KEY], {**target.offsets, **ends_of(chunk)}
        )
    else:
        rows = fold(changes).rows
    fitted = _fit(target.logical, rows, replica)
    return _commit(replica, Kind.CURRENT, target, fitted, chunk, changes.height)


def replicate(replica: Replica, log: Log) -> tuple[Receipt, ...]:
    """Bring both tables to the end the topic has now, in batches, and return what each commit did."""
    starts = replica.changelog.open(replica.stream).offsets
    available = log.available([replica.stream])[replica.stream.topic]
    ends = ends_of(plan(replica.stream, starts, available))
    receipts = []
    reader = log.reader({replica.stream: starts})
    try:
        carried: Carried | None = None
        position = dict(starts)
        while not reached(position, ends):
            for batch in reader.poll(1.0, replica.limits.batch_rows):
                if isinstance(batch, Stopped):
                    raise batch.error
                appended = append_changes(replica, batch, carried)
                if appended.refused:
                    raise appended.refused
                carried = appended.carried
                position |= ends_of(batch.ranges)
                receipts.append(appended.receipt)
    finally:
        reader.close()
    while merged := merge_changes(replica):
        receipts.append(merged)
    return tuple(receipt for receipt in receipts if receipt)


def _commit(
    replica: Replica,
    kind: Kind,
    handle: Handle,
    rows: pl.DataFrame,
    advance: Ranges,
    rows_in: int,
    dead: int = 0,
) -> Receipt:
    started = replica.now()
    applied = dict(rows.group_by(columns.OPERATION).len().sort(columns.OPERATION).iter_rows())
    before = _lag(rows, started)
    info = {
        RANGES: describe(advance),
        "cdc.rows": orjson.dumps({"in": rows_in, "applied": applied, "dead": dead}).decode(),
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
        superseded=rows_in - rows.height - dead,
        committed_at=finished,
        seconds=(finished - started).total_seconds(),
        lag=_lag(rows, finished),
        added=tuple(name for name in committed.schema if name not in handle.schema),
        dead=dead,
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


def _fit(table: pl.Schema, rows: pl.DataFrame, replica: Replica) -> pl.DataFrame:
    """The rows with the table's columns and the new ones, every value as it came, or SchemaRefused."""
    return schema.fit(rows, table, where=f"table {replica.name}")


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
